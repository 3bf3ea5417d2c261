"""Tests of the verdict files beside results, and of the badges that are read from them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_results
from verdict_builder import verdict_about

from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import make_console
from purebench.leaderboards.badge_text import badge_text, verification_text
from purebench.leaderboards.terminal import board_table, print_board
from purebench.results.files import verdicts
from purebench.results.files.export import export_results, load_results
from purebench.results.files.verdict import BROKEN, CLEAN_IMAGES, ROBUST
from purebench.results.files.verdicts import (
    Badge,
    load_badges,
    load_verdicts,
    record_verdict,
)
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult

ANSWERS = {"plain": {"clean": ["1", "1", "1", "0"]}, "noisy": {"clean": ["1111", "1110", "0000", "1011"]}}


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, DefenseResult]]:
    _, _, results = make_results(ANSWERS)
    export_results(tmp_path, results, None)
    return tmp_path, {one.name: one for one in load_results(tmp_path)}


def test_the_badge_of_a_row_is_that_of_its_result_file(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, found = published
    own = verdict_about(found["plain"])
    place = record_verdict(folder, "plain", own)
    assert place.parent == folder / "verdicts" / "plain"
    badges = load_badges(folder, found.values())
    assert badges["plain"].badge is Badge.VERIFIED
    assert badges["plain"].verdict == load_verdicts(folder, "plain")[0] == own
    assert badges["noisy"].badge is Badge.UNVERIFIED
    assert load_badges(None, found.values())["plain"].badge is Badge.UNVERIFIED
    assert [one.name for one in load_results(folder)] == ["noisy", "plain"]  # the verdicts are no results


def test_a_verdict_of_another_result_does_not_count_but_its_version_does(
    published: tuple[Path, dict[str, DefenseResult]],
) -> None:
    folder, found = published
    record_verdict(folder, "plain", verdict_about(found["plain"], Badge.REFUTED))
    _, _, (other,) = make_results({"plain": {"clean": ["1", "1", "0", "0"]}})
    export_results(folder, [other], None)
    now = load_badges(folder, load_results(folder))["plain"]
    assert (now.badge, now.verdict, now.versions, now.refuted_versions) == (Badge.UNVERIFIED, None, 2, 1)
    assert badge_text(now) == "unverified (2 versions submitted, 1 of them refuted)"
    record_verdict(folder, "plain", verdict_about(other))
    now = load_badges(folder, load_results(folder))["plain"]
    assert (now.badge, now.versions, now.refuted_versions) == (Badge.VERIFIED, 2, 1)


@pytest.mark.parametrize(
    ("badges", "counts", "undecided"),
    [
        ([Badge.VERIFIED, Badge.REPRODUCED], Badge.VERIFIED, ""),
        ([Badge.REFUTED, Badge.VERIFIED], Badge.REFUTED, ""),
        ([Badge.UNDECIDED, Badge.REPRODUCED], Badge.REPRODUCED, " (1 verification undecided)"),
        ([Badge.UNDECIDED, Badge.VERIFIED, Badge.UNDECIDED], Badge.VERIFIED, " (2 verifications undecided)"),
        ([Badge.UNDECIDED, Badge.UNDECIDED], Badge.UNDECIDED, " (1 other verification undecided)"),
    ],
)
def test_a_refuted_result_stays_refuted_and_the_strongest_other_verdict_counts(
    published: tuple[Path, dict[str, DefenseResult]], badges: list[Badge], counts: Badge, undecided: str
) -> None:
    folder, found = published
    for seed, badge in enumerate(badges):
        record_verdict(folder, "plain", verdict_about(found["plain"], badge, seed))
    now = load_badges(folder, found.values())["plain"]
    assert (now.badge, now.versions) == (counts, 1)
    assert badge_text(now) == f"{counts}{undecided}"


def test_a_verdict_is_recorded_only_beside_its_result(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, found = published
    other = verdict_about(found["plain"]).model_copy(update={"result": "0" * 64})
    with pytest.raises(PurebenchError, match=r"plain\.json: expected the result of the bundle"):
        record_verdict(folder, "plain", other)
    with pytest.raises(PurebenchError, match=r"absent\.json: expected the result of the row"):
        record_verdict(folder, "absent", other)
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
    place = record_verdict(folder, "plain", verdict_about(found["plain"]))
    earlier = place.parent.with_name("plain.json")
    earlier.write_text(json.dumps(json.loads(place.read_text(encoding="utf-8")) | change), encoding="utf-8")
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
    record_verdict(folder, "plain", verdict_about(found["plain"]))
    badges = load_badges(folder, found.values())
    print_board(board, found.values(), make_console(width=100), badges=badges)
    assert "verification: plain verified; noisy unverified" in capsys.readouterr().out
    print_board(board, found.values(), make_console(width=100))
    assert "verification: all rows are unverified" in capsys.readouterr().out
    assert board_table(board, [])  # an empty board has no badge


# ---- evidence


def edited(place: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a verdict file, and gives it the name that its content asks for."""
    plain = json.loads(place.read_text(encoding="utf-8"))
    change(plain["verdicts"][0])
    text = json.dumps(plain)
    place.unlink()
    place.with_name(f"{hashlib.sha256(text.encode()).hexdigest()}.json").write_text(text, encoding="utf-8")


def of(which: str, **parts: Any) -> Callable[[dict[str, Any]], None]:
    """Changes one claim."""

    def change(plain: dict[str, Any]) -> None:
        next(claim for claim in plain["claims"] if claim["name"] == which).update(parts)

    return change


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        plain["claims"] = [claim for claim in plain["claims"] if claim["name"] != name]

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plain: plain.update(claims=[], attacked=0), "its claims give undecided, but it says verified"),
        (lambda plain: plain.update(badge="refuted"), "its claims give verified or undecided, but it says refuted"),
        (of(ROBUST, p_value=0.0), "its claims give refuted, but it says verified"),
        (of(ROBUST, bound=0.2), "its claims give undecided, but it says verified"),
        (of(ROBUST, bound=0.2, margin=1.0), "expected the margin 0.05, but got 1"),
        (of(ROBUST, found=0.0), "is below the difference of claimed and found accuracy"),
        (of(ROBUST, claimed=0.9, found=0.9), "is not the 0.7500 of the result"),
        (without(ROBUST), "its claims give undecided, but it says verified"),
        (without(CLEAN_IMAGES), "expected the claim 'clean accuracy' of the result, but it is missing"),
        (without(BROKEN), "on 20 images that were attacked again"),
        (lambda plain: plain.update(attacked=0), "on 0 images that were attacked again"),
        (lambda plain: plain.update(broken=[1, 2, 3]), "3 broken images contradict the bound"),
        (of(ROBUST, name="another"), "expected each claim once"),
    ],
)
def test_a_verdict_that_contradicts_its_evidence_does_not_count(
    published: tuple[Path, dict[str, DefenseResult]],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    told: str,
) -> None:
    folder, found = published
    place = record_verdict(folder, "plain", verdict_about(found["plain"]))
    assert load_badges(folder, found.values())["plain"].badge is Badge.VERIFIED
    assert not capsys.readouterr().err
    edited(place, change)
    now = load_badges(folder, found.values())["plain"]
    assert (now.badge, now.verdict, now.contradictory) == (Badge.UNVERIFIED, None, 1)
    assert badge_text(now) == "unverified; a verdict does not follow from the evidence"
    err = capsys.readouterr().err
    assert err.startswith("plain: a verdict does not follow from its evidence and does not count: ")
    assert told in err


def test_a_verdict_without_evidence_is_not_recorded(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, found = published
    with pytest.raises(PurebenchError, match="plain: expected a verdict that follows from its evidence"):
        record_verdict(folder, "plain", verdict_about(found["plain"], claims=[]))


def test_a_changed_file_of_a_verdict_is_refused(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, found = published
    place = record_verdict(folder, "plain", verdict_about(found["plain"], Badge.REFUTED))
    place.write_text(place.read_text(encoding="utf-8").replace("a remark", "another"), encoding="utf-8")
    with pytest.raises(PurebenchError, match="whose sha256 is the name of the file, but its content was changed"):
        load_badges(folder, found.values())


def test_verifications_at_the_same_time_lose_no_verdict(
    published: tuple[Path, dict[str, DefenseResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All writers have looked at the folder before the first of them writes."""
    folder, found = published
    ready, whole = threading.Barrier(8), verdicts.write_files

    def together(files: Any) -> None:
        ready.wait(timeout=30)
        whole(files)

    monkeypatch.setattr(verdicts, "write_files", together)
    own = found["plain"]
    every = [verdict_about(own, Badge.REFUTED if seed == 0 else Badge.VERIFIED, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: record_verdict(folder, "plain", one), every))
    assert sorted(one.seed for one in load_verdicts(folder, "plain")) == list(range(8))
    assert load_badges(folder, [own])["plain"].badge is Badge.REFUTED


def test_a_refuted_verdict_is_kept_without_its_result(published: tuple[Path, dict[str, DefenseResult]]) -> None:
    folder, found = published
    refuted = verdict_about(found["plain"], Badge.REFUTED).model_copy(update={"result": "0" * 64})
    record_verdict(folder, "plain", refuted, beside=False)
    now = load_badges(folder, found.values())["plain"]
    assert badge_text(now) == "unverified (2 versions submitted, 1 of them refuted)"
