"""Tests of the verdict files beside results, and of the badges that are read from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import make_results

from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import make_console
from purebench.leaderboards.evidence.badge_text import badge_text, verification_text
from purebench.leaderboards.terminal import board_table, print_board
from purebench.results.files.export import export_results, load_results
from purebench.results.files.verdicts import (
    Badge,
    Verdict,
    load_badges,
    load_verdicts,
    record_verdict,
    result_hash,
)
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult

ANSWERS = {"plain": {"clean": ["1", "1", "1", "0"]}, "noisy": {"clean": ["1111", "1110", "0000", "1011"]}}


def verdict(result: str, badge: Badge = Badge.VERIFIED, seed: int = 1) -> Verdict:
    return Verdict(
        badge=badge,
        result=result,
        bundle="b" * 64,
        seed=seed,
        attacked=20,
        broken=[],
        claims=[],
        remarks=["a remark"],
        purebench="0.5.0",
        day="2026-01-31",
    )


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, DefenseResult]]:
    _, _, results = make_results(ANSWERS)
    export_results(tmp_path, results, None)
    return tmp_path, {one.name: one for one in load_results(tmp_path)}


def test_the_badge_of_a_row_is_that_of_its_result_file(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, found = published
    own = result_hash(found["plain"])
    place = record_verdict(folder, "plain", verdict(own))
    assert place == folder / "verdicts" / "plain.json"
    badges = load_badges(folder, found.values())
    assert badges["plain"].badge is Badge.VERIFIED
    assert badges["plain"].verdict == load_verdicts(folder, "plain")[0] == verdict(own)
    assert badges["noisy"].badge is Badge.UNVERIFIED
    assert load_badges(None, found.values())["plain"].badge is Badge.UNVERIFIED
    assert [one.name for one in load_results(folder)] == ["noisy", "plain"]  # the verdicts are no results


def test_a_verdict_of_another_result_does_not_count_but_its_version_does(
    published: tuple[Path, dict[str, DefenseResult]],
) -> None:
    folder, found = published
    record_verdict(folder, "plain", verdict(result_hash(found["plain"]), Badge.REFUTED))
    _, _, (other,) = make_results({"plain": {"clean": ["1", "1", "0", "0"]}})
    export_results(folder, [other], None)
    now = load_badges(folder, load_results(folder))["plain"]
    assert (now.badge, now.verdict, now.versions, now.refuted_versions) == (Badge.UNVERIFIED, None, 2, 1)
    assert badge_text(now) == "unverified (2 versions submitted, 1 of them refuted)"
    record_verdict(folder, "plain", verdict(result_hash(other)))
    now = load_badges(folder, load_results(folder))["plain"]
    assert (now.badge, now.versions, now.refuted_versions) == (Badge.VERIFIED, 2, 1)


@pytest.mark.parametrize(
    ("badges", "counts"),
    [
        ([Badge.VERIFIED, Badge.REPRODUCED], Badge.VERIFIED),
        ([Badge.REFUTED, Badge.VERIFIED], Badge.REFUTED),
        ([Badge.UNDECIDED, Badge.REPRODUCED], Badge.REPRODUCED),
        ([Badge.VERIFIED, Badge.UNDECIDED], Badge.VERIFIED),
    ],
)
def test_a_refuted_result_stays_refuted_and_the_strongest_other_verdict_counts(
    published: tuple[Path, dict[str, DefenseResult]], badges: list[Badge], counts: Badge
) -> None:
    folder, found = published
    for badge in badges:
        record_verdict(folder, "plain", verdict(result_hash(found["plain"]), badge))
    now = load_badges(folder, found.values())["plain"]
    assert (now.badge, now.versions) == (counts, 1)


def test_a_verdict_is_recorded_only_beside_its_result(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, _ = published
    with pytest.raises(PurebenchError, match=r"plain\.json: expected the result of the bundle"):
        record_verdict(folder, "plain", verdict("0" * 64))
    with pytest.raises(PurebenchError, match=r"absent\.json: expected the result of the row"):
        record_verdict(folder, "absent", verdict("0" * 64))
    assert not (folder / "verdicts").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, "a later version"),
        ({"row": "noisy"}, "about 'noisy'"),
        ({"verdicts": [{}]}, "expected verdicts about a row"),
        ({"more": 1}, "expected verdicts about a row"),
    ],
)
def test_damaged_verdicts_are_refused(
    published: tuple[Path, dict[str, DefenseResult]], change: dict[str, object], told: str
) -> None:
    folder, found = published
    place = record_verdict(folder, "plain", verdict(result_hash(found["plain"])))
    place.write_text(json.dumps(json.loads(place.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(PurebenchError, match=told):
        load_badges(folder, found.values())


def test_the_terminal_names_the_badge_of_every_row(
    published: tuple[Path, dict[str, DefenseResult]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found = published
    board, _, _ = make_results(ANSWERS)
    rows = rank(list(found.values()))
    assert verification_text(rows, {}) == "verification: all rows are unverified (purebench verify)"
    assert verification_text(rows[:1], {}) == "verification: the row is unverified (purebench verify)"
    record_verdict(folder, "plain", verdict(result_hash(found["plain"])))
    badges = load_badges(folder, found.values())
    print_board(board, found.values(), make_console(width=100), badges=badges)
    assert "verification: plain verified; noisy unverified" in capsys.readouterr().out
    print_board(board, found.values(), make_console(width=100))
    assert "verification: all rows are unverified" in capsys.readouterr().out
    assert board_table(board, [])  # an empty board has no badge
