"""Tests the boards that are derived from a board for its controls, of which the board's own jobs are independent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.derived.controls_board import companion_name, controls_board, references_board
from purebench.boards.parse import load_board, parse_board
from purebench.boards.selection import at_radius, choose
from purebench.boards.trust import local_files
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.execution.context import prepare

PLAIN = {
    "name": "small",
    "dataset": {"use": "fashion-mnist", "images": 6, "block": 3},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "16/255"},
    "cascade": True,
    "stop": {"max_images": 3},
    "attacks": {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=2)", "gradient": "exact"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}},
    },
    "defenses": {"none": "none", "jpeg": "jpeg"},
}
CONTROLS = {"decoy": "masked(fault=decoy, classifier=fashion-trades)", "coin": "coin"}


def with_controls() -> Board:
    return parse_board({**PLAIN, "controls": CONTROLS})


def test_keys_of_the_boards_own_jobs_do_not_depend_on_its_controls() -> None:
    plain, controlled = parse_board(PLAIN), with_controls()
    assert plain == controlled
    keys = [job.key for job in prepare(plain).jobs()]
    assert keys == [job.key for job in prepare(controlled).jobs()]


def test_the_controls_survive_a_store_and_a_file() -> None:
    board = with_controls()
    again = parse_board(yaml.safe_load(yaml.safe_dump(board.to_dict(), sort_keys=False)))
    assert [(one.name, str(one.use)) for one in again.controls] == [(one.name, str(one.use)) for one in board.controls]
    assert "controls" not in parse_board(PLAIN).to_dict()


def test_controls_get_every_attack_on_the_images_of_the_board_and_its_sources() -> None:
    board = with_controls()
    derived = controls_board(board)
    assert derived is not None
    assert derived.name == "small-controls"
    assert [row.name for row in derived.shown] == ["decoy", "coin"]
    assert [row.name for row in derived.defenses if row.only_source] == ["none"]
    assert derived.attacks[:-1] == board.attacks
    assert derived.attacks[-1].use == Spec("known-truth")
    assert (derived.dataset.images, derived.seed, derived.draws) == (3, board.seed, board.draws)
    assert derived.stop is None
    assert not derived.cascade
    assert not derived.controls
    assert parse_board(derived.to_dict()).name == derived.name


def test_a_board_without_controls_has_no_board_of_controls() -> None:
    assert controls_board(parse_board(PLAIN)) is None
    assert references_board(parse_board(PLAIN), []) is None


def test_references_are_attacked_by_autoattack_where_the_board_has_it() -> None:
    short, reference = with_controls(), "before(purifier='none', classifier='fashion-trades')"
    long = parse_board({**PLAIN, "attacks": {"aa": {"use": "autoattack:apgd-ce", "gradient": "exact"}}})
    for board, expected in ((short, False), (long, True)):
        derived = references_board(board, [reference, reference])
        assert derived is not None
        assert len(derived.defenses) == 1
        assert ("autoattack:standard" in [attack.use.name for attack in derived.attacks]) == expected
        parse_board(derived.to_dict())


def test_names_keep_the_radius_at_the_end() -> None:
    assert companion_name("small", "controls") == "small-controls"
    derived = controls_board(at_radius(with_controls(), "8/255"))
    assert derived is not None
    assert derived.name == "small-controls@8-255"
    assert derived.threat.radius == pytest.approx(8 / 255)


def test_a_control_may_not_have_the_name_of_a_row() -> None:
    with pytest.raises(PurebenchError, match=r"controls\.jpeg.*known-jpeg"):
        parse_board({**PLAIN, "controls": {"jpeg": "coin"}})


def test_files_of_controls_need_trust_and_are_found_beside_the_board(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def mine(classifier): return classifier\n", encoding="utf-8")
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump({**PLAIN, "controls": {"mine": "own.py:mine"}}, sort_keys=False), encoding="utf-8")
    board = load_board(path)
    assert [file.resolve() for file in local_files(board)] == [tmp_path / "own.py"]


@pytest.mark.parametrize("name", ["fashion-quick", "fashion-linf", "fashion-l2", "fashion-certified"])
def test_controls_of_the_bundled_boards_can_be_made(name: str) -> None:
    derived = controls_board(choose(name, None, None))
    assert derived is not None
    rows = (*derived.defenses, DefenseChoice("none-again", Spec("none")))
    context = prepare(replace(derived, defenses=rows, dataset=replace(derived.dataset, images=2, block=2)))
    assert not context.left_out
    masked = [row for row in derived.shown if row.use.name == "masked"]
    trained = ("fashion-trades", "fashion-pgd-at", "fashion-verified")  # against attacks, with weights of their own
    assert 2 * sum(row.use.params["classifier"] in trained for row in masked) >= len(masked)


def test_equal_controls_are_refused() -> None:
    name, use = next(iter(CONTROLS.items()))
    with pytest.raises(PurebenchError, match=f"controls.again: expected a control that differs from controls.{name}"):
        parse_board({**PLAIN, "controls": {**CONTROLS, "again": use}})
