"""Tests that attacks that cannot run on a board are rejected before a run, and that valid attacks are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.checks.attack_variants import in_units
from purebench.cli.commands.show import _made_by
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.execution.early_checks import check_attacks

from boards import write_board  # isort: skip

NORMS = {"linf": "8/255", "l2": 1, "l1": 10}


def board(folder: Path, use: object, norm: str = "linf", gradient: str = "exact") -> Board:
    threat = {"norm": norm, "radius": NORMS[norm]}
    return load_board(write_board(folder, attacks={"a": {"use": use, "gradient": gradient}}, threat=threat))


@pytest.mark.parametrize("name", bundled())
def test_the_attacks_of_every_bundled_board_are_accepted(name: str) -> None:
    check_attacks(choose(name, None, None))


@pytest.mark.parametrize(
    ("use", "norm", "told"),
    [
        ("pgd", "l1", "expected the norm linf or l2, but got l1"),
        ("square", "l1", "expected the norm linf or l2, but got l1"),
        ("cw", "linf", "expected the norm l2, but got linf"),
        ("deepfool", "l1", "expected the norm linf or l2, but got l1"),
        ("foolbox:L2PGD", "linf", "expected the norm l2, but the board's is linf"),
        ("art:DeepFool", "linf", "expected the norm l2, but the board's is linf"),
        ("art:SquareAttack(p_init=5)", "linf", "expected parameters that ART accepts, but got {'p_init': 5}: .*p_init"),
        ("art:HopSkipJump(max_eval=1, init_eval=5)", "l2", "maximum number of evaluations must be larger"),
        ("foolbox:BoundaryAttack(step_adaptation=x)", "l2", "step_adaptation: expected a number"),
        ("fmn(alpha=null)", "l2", "alpha: expected a number"),
        ("apgd(steps=yes)", "l2", "steps: expected a whole number"),
    ],
)
def test_attacks_that_cannot_run_are_rejected_by_name(tmp_path: Path, use: str, norm: str, told: str) -> None:
    with pytest.raises(PurebenchError, match=rf"^attacks\.a: .*{told}"):
        check_attacks(board(tmp_path, use, norm))


@pytest.mark.parametrize("use", ["pgd", "apgd", "fmn", "foolbox:LinfPGD", "art:ProjectedGradientDescent", "autoattack"])
def test_an_attack_that_needs_gradients_is_rejected_in_gradient_mode_none(tmp_path: Path, use: str) -> None:
    with pytest.raises(PurebenchError, match=r"attacks\.a\.gradient: .* needs gradients; choose exact"):
        check_attacks(board(tmp_path, use, gradient="none"))
    check_attacks(board(tmp_path, use, gradient="bpda"))


@pytest.mark.parametrize(
    ("use", "norm"),
    [
        ("square", "l2"),
        ("clean", "l1"),
        ("foolbox:HopSkipJumpAttack", "linf"),
        ("art:HopSkipJump", "l2"),
        ("art:PixelAttack", "linf"),  # has its own norm; its images are measured in the board's norm
        ("autoattack:square", "l1"),
    ],
)
def test_an_attack_without_gradients_is_accepted_in_gradient_mode_none(tmp_path: Path, use: str, norm: str) -> None:
    state = torch.get_rng_state()
    check_attacks(board(tmp_path, use, norm, "none"))
    assert torch.equal(state, torch.get_rng_state())


def test_a_sequence_needs_no_gradient_mode_because_its_parts_have_their_own(tmp_path: Path) -> None:
    check_attacks(board(tmp_path, "sequence", gradient="none"))


def test_a_custom_attack_without_checks_is_accepted(tmp_path: Path) -> None:
    check_attacks(board(tmp_path, f"{tmp_path}/attacks.py:random", gradient="none"))


def test_an_attack_of_another_norm_is_rejected_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="cw: expected the norm l2"):
        run_board(board(tmp_path, "cw"), tmp_path / "new" / "s", workers=1)
    assert not (tmp_path / "new").exists()


def test_boards_cannot_give_the_images_of_a_transfer_attack(tmp_path: Path) -> None:
    attacks = {
        "clean": {"use": "clean"},
        "t": {"use": "transfer(found=1)", "source": {"defense": "none", "attack": "clean"}},
    }
    with pytest.raises(PurebenchError, match=r"expected no `found`: .* but got 1; leave it out"):
        check_attacks(load_board(write_board(tmp_path, attacks=attacks)))


def test_radii_are_written_in_the_units_of_the_board() -> None:
    assert in_units(32 / 255, "8/255") == "32/255"
    assert in_units(0.25, "0.5") == "0.25"
    assert in_units(0.25, "8/x") == "0.25"


def test_the_boards_of_checks_are_marked_in_the_list_of_a_store() -> None:
    plans = {
        "quick": ({"threat": {"radius": "8/255"}}, []),
        "quick@0.5": ({"threat": {"radius": 0.5}}, []),
        "quick-checks": ({"threat": {"radius": "8/255"}}, []),
        "quick-checks@0.125490": ({"threat": {"radius": 32 / 255}}, []),
        "quick-checks-steps": ({"threat": {"radius": "8/255"}}, []),
    }
    made = " (made by purebench check)"
    at = " (made by purebench check, at radius 32/255)"
    assert [_made_by(name, plans) for name in plans] == ["", "", made, at, made]
