"""Tests of the comparison of suites of attacks, with a plain PGD as a reference."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from purebench.attacks.views.gradient_modes import exact
from purebench.boards.parse import load_board
from purebench.core.defense import as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.execution.board_run import run_board
from purebench.results.attack_result import AttackResult
from purebench.results.merge import merge
from purebench.results.scores import per_image

BOARD = """
name: small
title: Two attacks on noise
dataset: {use: fashion-mnist, images: 4, block: 4}
classifier: fashion-resnet
threat: {norm: linf, radius: 16/255}
verify: {draws: 8}
attacks:
  clean: {use: clean}
  apgd: {use: apgd(steps=2), gradient: exact, eot: 2}
  blind: {use: apgd(steps=2), gradient: blind}
defenses:
  noise: gaussian-noise(sigma=0.1)
"""


def result(draws):
    """An attack with these verification draws, one string of 0 and 1 per image."""
    some = dict.fromkeys(("outcomes", "distances", "nearest", "claims", "reasons", "skips", "notes", "pictures"), ())
    return AttackResult(
        name="a", spec={}, gradient="exact", eot=1, source=None, draws=tuple(draws), forwards=0, backwards=0, **some
    )


def test_the_worst_attack_is_picked_and_scored_on_separate_draws(script):
    """Among attacks that are equally good, the pick does not lower the score: there is no winner's curse."""
    rng = np.random.default_rng(0)
    several = [result(["".join(row) for row in rng.choice(["0", "1"], (2000, 16))]) for _ in range(8)]
    suites = script("suites")
    assert abs(suites.worst(several).mean() - 0.5) < 4 * 0.5 / (2000 * 16) ** 0.5
    better = result(["0" * 16] * 1000 + ["1" * 16] * 1000)
    assert np.array_equal(suites.worst([better, result(["1" * 16] * 2000)]), [0.0] * 1000 + [1.0] * 1000)


def test_the_plain_pgd_reaches_the_corner_of_a_linear_classifier(script):
    x, y = torch.full((6, 1, 4, 4), 0.5), torch.zeros(6, dtype=torch.long)
    weights = torch.linspace(-1, 1, 16).view(1, 1, 4, 4) + 0.01

    def noisy(images):
        score = (weights * (images + 0.05 * torch.randn_like(images))).flatten(1).sum(1)
        return torch.stack([score, -score], 1)

    attack = script("attack_parts.plain_pgd").PlainPGD(steps=20, draws=2)
    with seeded("plain"):
        found = attack(exact(as_defense(noisy, random=True)), x, y, ThreatModel("linf", 0.1))
    assert torch.allclose(found, x - 0.1 * weights.sign(), atol=1e-6)


def test_a_board_is_compared_with_its_references(script, tmp_path, monkeypatch):
    suites = script("suites")
    quick = tuple(
        replace(one, use=replace(one.use, params={**one.use.params, "steps": 2, "draws": 2}))
        for one in suites.REFERENCES["plain-pgd"]
    )
    monkeypatch.setitem(suites.REFERENCES, "plain-pgd", quick)
    (tmp_path / "board.yaml").write_text(BOARD, encoding="utf-8")
    flags = ["--board", str(tmp_path / "board.yaml"), "--store", str(tmp_path / "s.sqlite"), "--workers", "1"]
    suites.main([*flags, "--threads", "1", "--reference", "plain-pgd", "--json", str(tmp_path / "found.json")])
    told = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    table, singles = told["tables"].values()
    assert [row["name"] for row in table] == [
        "headline",
        "suite",
        "headline − plain-pgd",
        "without apgd",
        "without blind",
    ]
    assert [bar["limit"] for bar in told["bars"]] == [2.0, 3.0, 3.0]
    chosen = load_board(tmp_path / "board.yaml")
    context, records = run_board(chosen, tmp_path / "s.sqlite", workers=1)  # all in the store
    [alone] = merge(context.board, records)  # picked without the references
    drawn = (4 * 96) ** -0.5 + per_image(alone).size ** -0.5 * 32**-0.5
    assert abs(table[0]["accuracy"] - per_image(alone).mean()) < 3 * 0.5 * drawn
    passes = {row["name"]: row["passes"] for row in table}
    assert passes["suite"] is None
    assert passes["without apgd"] > passes["without blind"] > 0  # two draws a step instead of one
    assert [row["accuracy"] for row in singles] == sorted(row["accuracy"] for row in singles)


def test_single_attacks_are_compared_with_the_best_one_without_a_winners_curse(script):
    """Of equally good attacks none differs from the best; a stronger one is 50 points below a useless one."""
    rng = np.random.default_rng(0)
    equal = {str(number): result(["".join(row) for row in rng.choice(["0", "1"], (2000, 16))]) for number in range(8)}
    rows = script("suites").alone(equal, 0)
    assert max(abs(float(row["difference"].split()[0])) for row in rows) < 100 * 4 * (2 * 0.25 / (2000 * 16)) ** 0.5
    stronger = {"useless": result(["1" * 16] * 10), "strong": result(["0011" * 4] * 10)}
    first, second = script("suites").alone(stronger, 0)
    assert (first["name"], first["difference"]) == ("strong", "+0.0 [+0.0, +0.0]")
    assert (second["name"], second["difference"]) == ("useless", "+50.0 [+50.0, +50.0]")


def test_a_reference_of_two_attacks_is_picked_on_verification_draws_and_scored_on_fresh_ones(script):
    found = [result(["0000", "1111"]), result(["1111", "0000"])]
    fresh = [np.array([0.75, 0.0]), np.array([0.0, 0.5])]
    suites = script("suites")
    assert suites.reference("guideline", fresh, found).tolist() == [0.75, 0.5]  # not the lower fresh share
    assert suites.reference("plain-pgd", fresh, found).tolist() == [0.375, 0.25]


def test_the_attacks_that_the_docs_call_the_guideline_are_those_of_the_comparison(script):
    suites = script("suites")
    page = (Path(__file__).resolve().parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    sentence = page[page.index("The guideline of the literature") :].partition(".\n")[0]
    told = [Spec.parse(text) for text in re.findall(r"`(pgd\(.*?\))`", sentence)]
    assert told == [one.use for one in suites.REFERENCES["guideline"]]
    assert "both with `eot: 20`" in sentence
    assert {one.eot for one in suites.REFERENCES["guideline"]} == {20}


def test_a_block_without_an_image_is_refused(script, capsys):
    assert script("suites").main(["--block", "0"]) != 0
    told = capsys.readouterr()
    assert "--block: expected at least 1 image per job, but got 0" in told.out + told.err


def test_an_unknown_row_is_not_left_out_in_silence(script, capsys):
    assert script("grades").main(["--only", "--rows", "nonsense"]) != 0
    told = capsys.readouterr()
    assert "--rows: ['nonsense'] are no rows" in told.out + told.err
