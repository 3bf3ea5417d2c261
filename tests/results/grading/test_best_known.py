"""Tests attacks that are bespoke to rows: the common suite, its keys and its ranks stay, the best known has them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.code_identity import BoardCode, CodeIdentity
from purebench.boards.jobs import AnyJob, plan
from purebench.boards.parse import load_board, parse_board
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.execution.board_run import run_board
from purebench.leaderboards.charts.frame import of_defenses
from purebench.leaderboards.page import render
from purebench.leaderboards.terminal import print_board
from purebench.records.outcome import BEST_KNOWN, WORST_CASE, Outcome
from purebench.results.files.export import export_results, load_results
from purebench.results.grading.best_known import best_known, with_bespoke
from purebench.results.merge import merge
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult
from purebench.statistics import RUNGS, contenders, picked

from boards import write_board  # isort: skip
from reading import Page, table_rows, words  # isort: skip
from synthetic import make_board, make_record, merge as merge_judged  # isort: skip

OWN = {"use": "apgd(steps=10, loss=cw, stop=false)", "gradient": "exact", "eot": 2}
ATTACKS: dict[str, Any] = {
    "clean": {"use": "clean"},
    "apgd": {"use": "apgd(steps=2)", "gradient": "exact", "eot": 2},
    "square": {"use": "square(queries=5)"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Runs a board without and with an attack that is bespoke to one row, into one store."""
    folder = tmp_path_factory.mktemp("bespoke")
    boards = []
    for name, attacks in (("plain", ATTACKS), ("own", {**ATTACKS, "own": {**OWN, "rows": ["noise"]}})):
        board = load_board(write_board(folder / name, images=8, block=4, attacks=attacks, **_rows(folder)))
        records = run_board(board, folder / "store.sqlite", workers=1)[1]
        boards.append((board, records, merge(board, records)))
    return boards[0], boards[1]


def _rows(folder: Path) -> dict[str, Any]:
    """Returns the rows of the first board's files, so that both boards have the same ones."""
    return {"defenses": {"none": "none", "noise": f"{folder / 'plain'}/defenses.py:honest"}}


def test_bespoke_attacks_change_no_key_of_the_common_suite(ran: tuple[Any, Any]) -> None:
    plain, own = ({record.key: record for record in records} for _, records, _ in ran)
    added = {(one.defense, one.attack) for key, one in own.items() if key not in plain}
    assert plain.keys() < own.keys()
    assert added == {("noise", "own"), ("none", "own"), ("noise", BEST_KNOWN)}


def test_bespoke_attacks_change_no_rank_and_no_robust_accuracy(ran: tuple[Any, Any]) -> None:
    plain, own = (rank(results) for _, _, results in ran)
    for before, after in zip(plain, own, strict=True):
        assert (before.name, before.rank, before.robust, before.bracket) == (
            after.name,
            after.rank,
            after.robust,
            after.bracket,
        )
        assert (before.strongest, before.ranks, before.warnings) == (after.strongest, after.ranks, after.warnings)
        assert (after.best_known is not None) == (after.name == "noise")


def test_other_rows_skip_the_attack_with_its_reason(ran: tuple[Any, Any]) -> None:
    (none,) = (result for result in ran[1][2] if result.name == "none")
    attack = none.attacks[-1]
    assert set(attack.outcomes) == {Outcome.SKIPPED}
    assert attack.skips == ("bespoke to noise",)


def test_the_best_known_picks_among_all_attacks_and_has_its_own_fresh_draws(ran: tuple[Any, Any]) -> None:
    (noise,) = (result for result in ran[1][2] if result.name == "noise")
    assert noise.best_known is not None
    assert "own" in noise.best_known.picked
    assert "own" not in noise.worst_case.picked
    assert {len(draws) for draws in noise.best_known.draws} == {noise.fresh_draws}
    whole = with_bespoke(noise)
    assert best_known(noise) == whole.robust
    assert (len(whole.common), len(noise.common)) == (4, 3)


def test_results_with_a_bespoke_attack_survive_export(ran: tuple[Any, Any], tmp_path: Path) -> None:
    results = ran[1][2]
    export_results(tmp_path, results)
    assert load_results(tmp_path) == sorted(results, key=lambda one: one.name)
    text = (tmp_path / "none.json").read_text(encoding="utf-8")
    assert "best_known" not in text


def test_a_promoted_attack_keeps_the_key_of_its_row(ran: tuple[Any, Any], tmp_path: Path) -> None:
    """Without `rows` the attack joins the common suite; the job on the row that it was bespoke to is not repeated."""
    board, records, _ = ran[1]
    common = replace(board, attacks=tuple(replace(attack, rows=()) for attack in board.attacks))
    again = run_board(common, tmp_path / "store.sqlite", workers=1)[1]
    keys = {(one.defense, one.attack, one.block): one.key for one in again}
    for one in records:
        if one.attack != WORST_CASE and one.attack != BEST_KNOWN:
            same = keys[one.defense, one.attack, one.block] == one.key
            assert same == ((one.defense, one.attack) != ("none", "own"))


def test_a_board_with_bespoke_attacks_survives_conversion(ran: tuple[Any, Any]) -> None:
    board = ran[1][0]
    assert parse_board(yaml.safe_load(yaml.safe_dump(board.to_dict(), sort_keys=False))) == board
    for path in bundled().values():
        assert not any("rows" in attack for attack in load_board(path).to_dict()["attacks"].values())


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        (["nois"], {}, r"attacks\.own\.rows: 'nois' is unknown; did you mean 'noise'"),
        ([], {}, "rows: expected a list of rows, such as"),
        ("noise", {}, "rows: expected a list of rows, such as"),
        (
            ["noise"],
            {"copy": {"use": "transfer", "source": {"defense": "none", "attack": "own"}}},
            "copy.source: expected an attack that runs on none, but own is bespoke to noise",
        ),
    ],
)
def test_invalid_rows_are_rejected(rows: Any, more: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_board(tmp_path, attacks={**ATTACKS, "own": {**OWN, "rows": rows}, **more})
    with pytest.raises(PurebenchError, match=message):
        load_board(path)


@pytest.mark.parametrize("name", [WORST_CASE, BEST_KNOWN])
def test_names_of_picks_are_reserved(name: str, tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="reserved for the picked adversarial examples"):
        load_board(write_board(tmp_path, attacks={name: {"use": "clean"}}))


def synthetic(own: dict[str, list[Any]], cascade: bool = False) -> tuple[Any, list[DefenseResult]]:
    """Returns a board and the results of two rows, from the answers of an attack that is bespoke to the first."""
    board = make_board(("clean", "apgd", "own"), ("one", "two"), images=4, block=4, draws=1, cascade=cascade)
    attacks = (*board.attacks[:2], replace(board.attacks[2], rows=("one",)))
    board = replace(board, attacks=attacks)
    answers = {"clean": list("1111"), "apgd": list("1110")}
    records = []
    for row in ("one", "two"):
        for attack in ("clean", "apgd", "own"):
            given = {**answers, **own}[attack] if row == "one" or attack != "own" else [Outcome.SKIPPED] * 4
            records.append(make_record(board, row, attack, 0, given, random=False))
    for row in ("one", "two"):
        picks = make_record(board, row, WORST_CASE, 0, list("1110"), random=False)
        records.append(replace(picks, picked=["clean", "clean", "clean", "apgd"]))
    low = [one if one in ("0", "1") and one < two else two for one, two in zip(own["own"], "1110", strict=True)]
    picks = make_record(board, "one", BEST_KNOWN, 0, low, random=False)
    records.append(replace(picks, picked=["own" if a != b else n for a, b, n in _names(low)]))
    return board, merge_judged(board, records)


def _names(low: list[str]) -> list[tuple[str, str, str]]:
    return list(zip(low, "1110", ["clean", "clean", "clean", "apgd"], strict=True))


def test_the_table_and_the_page_show_the_best_known_only_where_it_exists() -> None:
    board, results = synthetic({"own": list("0001")})
    file = io.StringIO()
    print_board(board, results, Console(file=file, width=100))
    text = words(file.getvalue())
    assert "best known" in text
    known = "best known: with attacks that are bespoke to the row, or at the examples of a challenge; not ranked"
    assert f"{known}: one 0.0 % [" in text
    one = next(line for line in file.getvalue().splitlines() if " one " in line)
    assert "75.0 % [" in one
    assert "0.0 %" in one
    head, rows = table_rows(Page(render(board, results, (), {})))
    place = [name for _, name in head].index("Best known")
    assert {cells[1][1].split()[2]: cells[place][1].split()[0] for cells in rows} == {"one": "0.0", "two": "75.0"}
    frame = of_defenses(rank(results)).set_index("defense")
    assert frame["best_known"]["one"] == 0
    assert np.isnan(frame["best_known"]["two"])


def test_boards_without_bespoke_attacks_have_no_column() -> None:
    board, results = synthetic({"own": list("0001")})
    plain = replace(board, attacks=board.attacks[:2])
    header = {**results[0].board, "attacks": {name: results[0].board["attacks"][name] for name in ("clean", "apgd")}}
    less = [replace(one, board=header, attacks=one.attacks[:2], best_known=None) for one in results]
    file = io.StringIO()
    print_board(plain, less, Console(file=file, width=100))
    assert "best known" not in file.getvalue()
    assert "Best known" not in render(plain, less, (), {})


def test_errors_of_a_bespoke_attack_leave_the_rank_and_hide_the_best_known() -> None:
    _, results = synthetic({"own": [Outcome.ERRORED, *"001"]})
    one = next(row for row in rank(results) if row.name == "one")
    assert (one.rank, one.robust.value if one.robust else None, one.errored) == (1, 0.75, 0)
    assert one.best_known is None


def test_in_a_cascade_bespoke_attacks_spare_no_image_from_the_common_suite() -> None:
    _, results = synthetic({"own": list("0001")}, cascade=True)
    (one,) = (result for result in results if result.name == "one")
    assert not one.spared(one.attacks[1]).any()
    late = replace(one, attacks=(one.attacks[2], *one.attacks[:2]))
    assert not late.spared(late.attacks[2]).any()


WORLDS = {
    "alike": lambda rng: np.full((4, 48), 0.5),
    "spread": lambda rng: 1 / (1 + np.exp(-(rng.normal(0, 2, (1, 48)) + rng.normal(0, 1, (4, 48))))),
    "own is stronger": lambda rng: np.concatenate([np.full((3, 48), 0.6), np.full((1, 48), 0.3)]),
}


def scored(q: np.ndarray, rng: np.random.Generator, right: np.ndarray) -> tuple[float, float]:
    """Returns the score on fresh draws at the picks among the attacks of q [attacks, images], and its expectation."""
    draws, counts = np.full(q.shape, 16), np.ones(q.shape, dtype=bool)
    for rung in RUNGS:
        again = contenders(right, draws, counts, rung.keep)
        right = right + np.where(again, rng.binomial(rung.draws, q), 0)
        draws = draws + np.where(again, rung.draws, 0)
    picks = picked(right, draws, counts)
    at = q[picks, np.arange(q.shape[1])]
    return float(rng.binomial(32, at).mean() / 32), float(at.mean())


@pytest.mark.parametrize("world", WORLDS)
def test_the_best_known_is_unbiased_and_not_above_the_headline_in_expectation(world: str) -> None:
    """300 boards of 48 images with three common attacks and one of a row: both scores are unbiased for their picks."""
    rng = np.random.default_rng(0)
    errors, differences = [], []
    for _ in range(300):
        q = WORLDS[world](rng)
        columns = rng.binomial(16, q)  # the draws of the attack jobs, which both picks use
        common, _ = scored(q[:3], rng, columns[:3])
        score, expected = scored(q, rng, columns)
        errors.append(score - expected)
        differences.append(score - common)
    assert abs(np.mean(errors)) <= 3 * np.std(errors) / len(errors) ** 0.5
    assert np.mean(differences) <= 3 * np.std(differences) / len(differences) ** 0.5


@pytest.mark.parametrize("cascade", [False, True])
def test_a_bespoke_attack_listed_first_changes_no_key_of_the_common_suite(cascade: bool, tmp_path: Path) -> None:
    """In a cascade, too: the attacks after it still attack the images that it breaks."""
    plain = replace(load_board(write_board(tmp_path, attacks=ATTACKS)), cascade=cascade)
    own = replace(plain.attacks[1], name="own", use=Spec("apgd", {"steps": 9}), rows=("noise",))
    before, after = (
        {job.key: job for job in planned(replace(plain, attacks=attacks))}
        for attacks in (plain.attacks, (own, *plain.attacks))
    )
    assert before.keys() < after.keys()
    added = {(job.defense.name, job.label) for key, job in after.items() if key not in before}
    assert added == {("noise", BEST_KNOWN), *((row.name, "own") for row in plain.defenses)}


def planned(board: Board) -> list[AnyJob]:
    """Returns the plan of a board whose code does not change."""
    one = CodeIdentity("d", "1", "s")
    rows, attacks = [row.name for row in board.defenses], [attack.name for attack in board.attacks]
    same = [dict.fromkeys(names, one) for names in (rows, attacks, attacks)]
    blocks = [str(number) for number in range(board.blocks)]
    return plan(board, blocks, dict.fromkeys(rows, "w"), "1", BoardCode(one, one, one, one, *same))
