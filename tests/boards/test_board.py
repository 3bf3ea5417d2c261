"""Tests of parsing board.yaml files and of the keys of jobs, which depend on everything that affects a result."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from purebench.boards.bundled import bundled
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import Job, WorstCaseJob, plan
from purebench.boards.parse import load_board, parse_board
from purebench.boards.selection import choose
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml

from boards import write_board  # isort: skip

GOOD: dict[str, Any] = {
    "name": "small",
    "dataset": {"use": "fashion-mnist", "images": 20, "block": 8},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "8/255"},
    "verify": {"draws": 4},
    "attacks": {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=3)", "gradient": "exact", "eot": 2}},
    "defenses": {"none": "none", "noise": {"gaussian-noise": {"sigma": 0.1}}},
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    board = copy.deepcopy(GOOD)
    place = board
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return board


def keys(board: dict[str, Any], data: str = "d", weights: str = "w", version: str = "1") -> set[str]:
    parsed = parse_board(board)
    prints = {row.name: weights for row in parsed.defenses}
    jobs = plan(parsed, [data] * parsed.blocks, prints, version, code_of_board(parsed))
    return {job.key for job in jobs}


def test_a_board_survives_conversion_to_yaml() -> None:
    board = parse_board(GOOD)
    assert parse_board(board.to_dict()) == board
    assert parse_board(yaml.safe_load(yaml.safe_dump(board.to_dict(), sort_keys=False))) == board
    assert board.threat.radius == pytest.approx(8 / 255)
    assert board.blocks == 3


def test_a_stopping_rule_survives_conversion_and_changes_no_key() -> None:
    for rule in ({"half_width": 0.02}, {"decided": True}, {"half_width": 0.1, "decided": True, "max_images": 100}):
        board = parse_board(changed("stop", to=rule))
        assert board.to_dict()["stop"] == rule
        assert parse_board(board.to_dict()) == board
        assert keys(changed("stop", to=rule)) == keys(GOOD)
    assert "stop" not in parse_board(GOOD).to_dict()
    assert keys(changed("stop", to={"max_images": 17})) < keys(GOOD)  # two blocks of eight


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "expected at least one of half_width, decided and max_images"),
        ({"half_width": 2}, "stop.half_width: expected a number in"),
        ({"half_width": 0.5}, "stop.half_width"),
        ({"decided": "yes"}, "stop.decided: expected true or false"),
        ({"max_images": 7}, "stop.max_images: expected a whole number of at least 8"),
        ({"until": "decided"}, "stop: the key 'until' is unknown"),
        ("decided", "stop: expected a mapping"),
    ],
)
def test_invalid_stopping_rules_are_rejected(rule: object, message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        parse_board(changed("stop", to=rule))


@pytest.mark.parametrize("name", bundled())
def test_bundled_boards_are_named_after_their_folder_and_survive_conversion(name: str) -> None:
    board = choose(name, None, None)
    assert board.name == name
    assert parse_board(board.to_dict()) == board
    assert board.attacks[0].name == "clean"


@pytest.mark.parametrize(
    ("board", "message"),
    [
        (changed("treat", to=1), "'threat'"),
        (changed("dataset", "image", to=3), "'images'"),
        (changed("verify", "draw", to=3), "'draws'"),
        (changed("attacks", "apgd", to={"use": "apgd", "gradiant": "exact"}), "'gradient'"),
        (changed("attacks", "apgd", to={"use": "apgd", "gradient": "exakt"}), "'exact'"),
        (changed("attacks", "apgd", to={"use": "apgd", "only": "determinstic"}), "'deterministic'"),
        (changed("attacks", "apgd", to={"gradient": "exact"}), "'use'"),
        (changed("threat", "radius", to=0), "above 0"),
        (changed("threat", "radius", to="-8/255"), "above 0"),
        (changed("threat", "norm", to="l3"), "l2"),
        (changed("threat", to={"norm": "linf"}), "'radius'"),
        (changed("dataset", "images", to=0), "at least 1"),
        (changed("dataset", "block", to="many"), "whole number"),
        (changed("confidence", to=95), "0.95"),
        (changed("attacks", to={}), "attacks"),
        (changed("attacks", to=["apgd"]), "mapping"),
        (changed("defenses", to={"a b": "none"}), "names"),
        (changed("defenses", to={"x": "none("}), "defenses.x"),
        (changed("name", to="Has Spaces"), "lower-case letters"),
        ([1], "mapping"),
        (None, "mapping"),
    ],
)
def test_invalid_boards_are_rejected_with_one_line_that_names_the_key(board: Any, message: str) -> None:
    with pytest.raises(PurebenchError) as caught:
        parse_board(board)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_keys_are_named() -> None:
    for key in ("name", "dataset", "classifier", "threat", "attacks", "defenses"):
        board = {name: value for name, value in GOOD.items() if name != key}
        with pytest.raises(PurebenchError, match=key):
            parse_board(board)


def test_errors_of_malformed_yaml_and_missing_files_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text("a: [1\nb: }", encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"board\.yaml.*YAML"):
        load_board(path)
    with pytest.raises(PurebenchError, match="absent"):
        load_board(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "attacks:\n  pgd: {use: pgd(steps=10, restarts=2), gradient: exact}",
            "line 2: expected quotes around a value with commas in braces, but got pgd(steps=10, restarts=2); "
            "write 'pgd(steps=10, restarts=2)'.",
        ),
        ("a: {use: pgd(steps=10, loss='ce', restarts=2)}", """write "pgd(steps=10, loss='ce', restarts=2)"."""),
        ("defenses: {mix: vote(alphas=[0.1, 0.2])}", "put a spec with commas, brackets or colons in quotes"),
    ],
)
def test_a_spec_with_a_comma_in_braces_needs_quotes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "board.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PurebenchError) as caught:
        load_board(tmp_path / "board.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ["{a: 'b(', c: }", "{a: b(c), d: }", "{a: b(c, d: e}", "{a: b, c: , d)}", "a: b(c\nd:"]
)
def test_other_brackets_in_braces_are_parsed_as_yaml(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


def test_the_plan_contains_every_row_and_attack_on_every_block_once() -> None:
    board = parse_board(GOOD)
    jobs = plan(board, ["d"] * 3, {"none": "w", "noise": "w"}, "1", code_of_board(board))
    assert len(jobs) == len({job.key for job in jobs}) == 3 * 2 * (2 + 1)
    for job in jobs:
        if isinstance(job, WorstCaseJob):
            same = [j.key for j in jobs if isinstance(j, Job) and (j.block, j.defense) == (job.block, job.defense)]
            assert job.needs == tuple(same)
    assert [job.block for job in jobs] == sorted(job.block for job in jobs)


@pytest.mark.parametrize(
    "other",
    [
        changed("threat", "radius", to="4/255"),
        changed("threat", "norm", to="l2"),
        changed("seed", to=1),
        changed("verify", "draws", to=5),
        changed("classifier", to="fashion-resnet(weights=other)"),
        changed("dataset", "block", to=7),
        changed(
            "attacks", to={"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=4)", "gradient": "exact", "eot": 2}}
        ),
    ],
)
def test_keys_depend_on_everything_that_affects_a_result(other: dict[str, Any]) -> None:
    assert keys(GOOD) - keys(other), "at least the changed jobs have other keys"
    assert keys(GOOD, data="e").isdisjoint(keys(GOOD))
    assert keys(GOOD, weights="v").isdisjoint(keys(GOOD))
    assert keys(GOOD, version="2").isdisjoint(keys(GOOD))


def test_keys_do_not_depend_on_titles_other_rows_or_added_images() -> None:
    """Titles, other defenses, and images added after whole blocks change no existing job."""
    assert keys(changed("title", to="Other")) == keys(GOOD)
    assert keys(changed("defenses", to={"none": "none"})) < keys(GOOD)
    assert len(keys(changed("dataset", "images", to=24)) & keys(GOOD)) == 2 * (4 + 2)


def test_added_attacks_and_changed_fresh_draws_repeat_only_the_worst_case_jobs() -> None:
    more = changed("attacks", "square", to={"use": "square(queries=1)"})
    for other, new in ((more, 2), (changed("verify", "fresh", to=8), 1)):
        board = parse_board(other)
        jobs = plan(board, ["d"] * 3, {"none": "w", "noise": "w"}, "1", code_of_board(board))
        again = [job for job in jobs if job.key not in keys(GOOD)]
        assert len(again) == 3 * 2 * new
        assert sum(isinstance(job, WorstCaseJob) for job in again) == 3 * 2


def test_random_streams_do_not_depend_on_names() -> None:
    """Equal models get equal random numbers, independent of the names of the board, the row and the attack."""
    renamed = changed("name", to="other")
    renamed["defenses"] = {f"{name}-2": use for name, use in GOOD["defenses"].items()}
    renamed["attacks"] = {f"{name}-2": attack for name, attack in GOOD["attacks"].items()}

    def streams(data: dict[str, Any]) -> list[str]:
        board = parse_board(data)
        prints = {row.name: "w" for row in board.defenses}
        return [job.stream for job in plan(board, ["d", "e", "f"], prints, "1", code_of_board(board))]

    assert streams(renamed) == streams(GOOD)
    assert len(set(streams(GOOD))) == 3 * (2 + 1)  # blocks × (attacks and the worst case), the same for both rows
    assert set(streams(changed("seed", to=1))).isdisjoint(streams(GOOD))


def test_choose_selects_rows_specs_and_fewer_images() -> None:
    board = choose("fashion-quick", ["none", "gaussian-blur(sigma=2)"], 10)
    # `vae` is added because its adversarial examples are reused
    assert [row.name for row in board.defenses] == ["none", "gaussian-blur-sigma-2", "vae"]
    assert board.dataset.images == 10
    (row, *_) = choose("fashion-quick", ["gaussian-noise(sigma=0.1)"], None).shown
    assert row.name == "noise"
    with pytest.raises(PurebenchError, match="fashion-quick"):
        choose("fashion-quik", None, None)


def test_identical_attacks_are_rejected() -> None:
    def board(other: dict[str, Any]) -> dict[str, Any]:
        return changed("attacks", "again", to=other)

    same = GOOD["attacks"]["apgd"]
    with pytest.raises(
        PurebenchError, match=r"attacks\.again: .*attacks\.apgd.*for restarts, use the parameter: apgd\(restarts=2\)"
    ):
        parse_board(board(same))
    with pytest.raises(PurebenchError, match=r"attacks\.again: .*attacks\.clean.*another seed"):
        parse_board(board({"use": "clean()", "gradient": "none()"}))
    source = {"source": {"defense": "none", "attack": "apgd"}}
    for other in ({"use": "apgd(steps=4)"}, {"gradient": "bpda"}, {"eot": 3}, {"use": "transfer", **source}):
        parse_board(board({**same, **other}))
    twins = {f"{only}": {**same, "only": only} for only in ("random", "deterministic")}
    parse_board(changed("attacks", to=twins))  # no defense is attacked by both
    parse_board(changed("defenses", to={"one": "none", "two": "none"}))


def test_eps_is_an_alias_of_radius(tmp_path: Path) -> None:
    """Both give the same board; a board with both keys is rejected."""
    boards = [
        load_board(
            write_board(tmp_path / name, threat={"norm": "linf", name: "8/255"}, defenses={"plain": "none"}),
        )
        for name in ("eps", "radius")
    ]
    assert boards[0] == boards[1]
    both = write_board(tmp_path / "both", threat={"norm": "linf", "eps": "8/255", "radius": "8/255"})
    with pytest.raises(PurebenchError, match=r"threat: expected either radius or eps, .* remove one"):
        load_board(both)
    with pytest.raises(PurebenchError, match="threat: expected the key 'radius', but it is missing"):
        load_board(write_board(tmp_path / "neither", threat={"norm": "linf"}))


def test_a_board_with_the_same_attack_twice_runs_no_file_that_it_names(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    use = f"{tmp_path / 'evil.py'}:attack"
    board = write_board(tmp_path / "board", attacks={"a": {"use": use}, "b": {"use": use}})
    with pytest.raises(PurebenchError, match="they are equal"):
        load_board(board)
    assert not ran.exists()
