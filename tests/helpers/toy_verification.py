"""Attacks of the toy board, and verifications of honest and forged bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from forged_bundles import forged

from purebench.checks.verification.verification import Verification, verify_bundle

STRONG = {"use": {"pgd": {"steps": 10, "step": 0.2, "random": False}}, "gradient": "exact"}
WEAK = {"use": {"pgd": {"steps": 1, "step": 0.2, "random": False}}, "gradient": "exact"}


def attacks(pgd: dict[str, Any]) -> dict[str, Any]:
    return {"clean": {"use": "clean"}, "pgd": pgd}


def verified(path: Path, seed: int = 1, **options: Any) -> Verification:
    return verify_bundle(path, seed=seed, **{"trust": True} | options)


def changed(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Writes a forged bundle beside an honest one."""
    made = path.with_name("forged.zip")
    made.write_bytes(forged(path.read_bytes(), edit))
    return made
