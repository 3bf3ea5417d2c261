"""Provenance of a result: versions, commit, device."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMPILED = "compiled"
"""Name of the networks that the attacks called compiled; a record without an entry has none."""
PACKAGES = (
    "purebench",
    "torch",
    "torchvision",
    "numpy",
    "diffusers",
    "foolbox",
    "adversarial-robustness-toolbox",
    "pyautoattack",
    "robustbench",
)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide results; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """Return the commit of purebench's own checkout, with `+` if files differ from it; empty without a checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != Path(__file__).resolve().parents[2]:
            return ""
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def device_name(device: str) -> str:
    """Return the name of a device for display: a GPU's model, else `cpu`."""
    import torch

    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device
