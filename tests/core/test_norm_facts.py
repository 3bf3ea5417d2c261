"""Tests that the facts about each norm agree with its geometry and that no other module has a table of norms."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from purebench.core.norms.norm_facts import NORM_FACTS, NORM_NAMES
from purebench.core.norms.norms import NORMS

ROOT = Path(__file__).resolve().parents[2]
TABLE = re.compile(r"""["']linf["']: (?!bounded|minimum)|\(["']linf["'], ["']l[12]["']""")
ALLOWED = {"suite/core/norms/norm_facts.py", "suite/core/norms/norms.py", "attacks/black_box/square.py"}
"""Files that may list norms: the tables themselves, and Square, which has one algorithm per norm."""


def test_both_tables_have_the_same_norms() -> None:
    assert tuple(NORMS) == NORM_NAMES
    assert all(NORMS[name].name == name for name in NORMS)


@pytest.mark.parametrize("name", NORM_NAMES)
def test_the_facts_agree_with_the_geometry(name: str) -> None:
    facts, norm = NORM_FACTS[name], NORMS[name]
    delta = torch.randn(5, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm.size(delta), torch.linalg.vector_norm(delta.flatten(1), ord=facts.order, dim=1))
    assert facts.largest(24) == pytest.approx(float(norm.size(torch.ones(1, 2, 4, 3))))
    assert facts.sparse == (int((norm.direction(delta) != 0).flatten(1).sum(1).max()) == 1)


@pytest.mark.parametrize("name", NORM_NAMES)
def test_the_ball_inside_an_l2_ball_touches_it(name: str) -> None:
    """The longest perturbation in the ball has all components equal or a single nonzero component."""
    radius = NORM_FACTS[name].inside_l2(2.0, 24)
    longest = []
    for delta in (torch.ones(1, 24), torch.eye(24)[:1]):
        longest.append(float((radius * delta / NORMS[name].size(delta)).norm()))
    assert max(longest) == pytest.approx(2.0)


def test_no_other_module_lists_the_norms() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("suite", "attacks", "leaderboards")
        for path in (ROOT / folder).rglob("*.py")
        if TABLE.search(path.read_text(encoding="utf-8"))
    }
    assert found <= ALLOWED


def test_the_facts_do_not_import_torch() -> None:
    code = "import sys, purebench.core.threat; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
