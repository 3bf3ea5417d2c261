"""Builders of sites for tests: a board of few rows, one of 500, and one whose every text is hostile."""

from dataclasses import replace

import numpy as np

from purebench.boards.board import AttackChoice, DefenseChoice
from purebench.core.registry import Spec
from purebench.leaderboards.site.cards import Card, Catalogue
from purebench.leaderboards.site.source import board_source
from purebench.results.ranking.standing import RankInterval, Standing

from synthetic import judged, make_board, make_record, make_results, merge  # isort: skip

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"&'`${1}"


def small_source(folder, name="small"):
    """Returns a board of two random and two deterministic rows on 40 images, one row with an errored image."""
    rng = np.random.default_rng(1)

    def answers(draws, accuracy):
        return ["".join("01"[int(one)] for one in rng.random(draws) < accuracy) for _ in range(40)]

    given = {
        "robust": {"clean": ["1"] * 40, "apgd": answers(1, 0.85)},
        "weak": {"clean": ["1"] * 40, "apgd": ["0"] * 36 + ["1"] * 4},
        "random-a": {"clean": ["1" * 4] * 40, "apgd": answers(4, 0.6)},
        "random-b": {"clean": ["1" * 4] * 40, "apgd": answers(4, 0.5)},
    }
    board, _, results = make_results(given, name=name, title=f"The board {name}")
    return board_source(board, folder, results)


def large_source(folder, rows=500, images=20):
    """Returns a board of many deterministic rows with long names; the comparisons of pairs are constants."""
    rng = np.random.default_rng(2)
    attacks = ("clean", *(f"attack-{number}" for number in range(11)))
    names = tuple(f"a-defense-with-a-rather-long-name-{number:03d}" for number in range(rows))
    board = make_board(attacks, names, images, images, name="large", title="A board of 500 rows")
    records = []
    for name in names:
        level = rng.random()
        for attack in attacks:
            given = ["01"[int(one)] for one in rng.random(images) < (0.9 if attack == "clean" else level)]
            records.append(make_record(board, name, attack, 0, given, random=False))
    results = merge(board, judged(board, records))
    places = {name: RankInterval(1 + number // 2, rows, "a", 1 / rows, images) for number, name in enumerate(names)}
    standing = Standing(places, {}, images, "constant", 0.95)
    import purebench.leaderboards.site.source as module

    original, module.stored_standing = module.stored_standing, lambda folder, known, compute: standing
    try:
        return board_source(board, folder, results)
    finally:
        module.stored_standing = original


def hostile_source(folder):
    """Returns a board whose title, description, rows, specs, notes and provenance are hostile."""
    board = make_board(("clean", "attack"), (HOSTILE, "plain"), 4, 4, name="hostile", title=HOSTILE, about=HOSTILE)
    board = replace(
        board,
        attacks=(AttackChoice("clean", Spec("clean")), AttackChoice("attack", Spec("pgd", {"x": HOSTILE}), "exact")),
        defenses=tuple(DefenseChoice(name, Spec("vae", {"x": HOSTILE})) for name in (HOSTILE, "plain")),
    )
    records = []
    for row in board.defenses:
        for attack in board.attacks:
            record = make_record(board, row.name, attack.name, 0, ["1", "0", "1", "0"], notes=[HOSTILE])
            of = {"device": HOSTILE, "commit": HOSTILE, "versions": {"purebench": HOSTILE}}
            records.append(replace(record, provenance=record.provenance | of))
    return board_source(board, folder, merge(board, judged(board, records)))


def hostile_catalogue():
    """Returns a catalogue whose card of `vae` is hostile in every field."""
    fields = (
        "paper",
        "title",
        "venue",
        "year",
        "code",
        "licence",
        "family",
        "gradient",
        "extra_data",
        "forwards",
        "ms",
    )
    card = Card(**dict.fromkeys(fields, HOSTILE), url="javascript:alert(1)")
    return Catalogue({"vae": card})
