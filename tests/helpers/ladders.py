"""Builders of ladders of rising effort with known accuracies, for the tests of convergence."""

from dataclasses import replace

import numpy as np

from purebench.boards.board import AttackChoice
from purebench.boards.derived.effort_board import NOISE, effort_board
from purebench.boards.effort_settings import EffortSettings
from purebench.core.registry import Spec
from purebench.records.outcome import Outcome
from purebench.results.grading.ladder import Ladder, Tried

from synthetic import make_board, make_record, merge  # isort: skip

RUNGS = ("rung-1", "rung-2", "rung-3", "rung-4")


def tried(name, accuracy, images, rng, *, draws=1, ease=None, another=False, attack=None):
    """Returns an attack with this expected accuracy; with `ease` [images], the same images are easy for every attack.

    A deterministic defense is right on the images whose ease is below the accuracy; a random one has a probability that
    falls with the ease, from 1 to 0 around the accuracy.
    """
    ease = rng.random(images) if ease is None else ease
    sure = ease < accuracy if draws == 1 else np.clip(4 * (accuracy - ease) + 0.5, 0, 1)
    return Tried(name, attack, rng.random((images, draws)) < np.asarray(sure, dtype=float)[:, None], another)


def ladder(accuracies, others, images, seed, *, draws=1, same_images=True):
    """Returns a ladder with these expected accuracies: of the rungs from random noise on, and of the other attacks.

    The row itself has the accuracy of the last rung, on other draws.
    """
    rng = np.random.default_rng(seed)
    ease = rng.random(images) if same_images else None
    rungs = [
        tried(f"rung-{number}", accuracy, images, rng, draws=draws, ease=ease)
        for number, accuracy in enumerate(accuracies)
    ]
    extra = [
        tried(name, accuracy, images, rng, draws=draws, ease=ease, another=True) for name, accuracy in others.items()
    ]
    row = tried("row", accuracies[-1], images, rng, draws=draws, ease=ease)
    return Ladder(tuple(range(images)), rungs, extra, row.right.mean(axis=1))


def ladder_results(broken, *, own=None, row="row", images=100, draws=1, skipped=("surrogate",), warnings=None):
    """Returns the results of a row on its own board and on that of the ladder, from the images that attacks break.

    Args:
        broken: the number of images, the first ones, that each attack of the ladder breaks on every draw.
        own: the same of the attacks of the own board; `apgd` breaks as many as the last rung by default.
        row: the name of the row.
        images: number of images.
        draws: verification draws; one for a deterministic row.
        skipped: attacks of the ladder that do not apply.
        warnings: warnings of the records by attack of the ladder.
    """
    own = {"clean": 0, "apgd": broken.get("rung-4", 0)} if own is None else own
    board = make_board((), (row,), images, images, draws, effort=EffortSettings(images=images))
    attacks = tuple(own_attack(name) for name in own)
    board = replace(board, attacks=attacks)
    climbing = effort_board(board)
    given = {attack.name: broken.get(attack.name, broken[NOISE]) for attack in climbing.attacks}
    none = {attack.name for attack in climbing.attacks if attack.name in skipped or attack.name == "margin"}
    records = [
        make_record(
            climbing,
            row,
            name,
            0,
            [Outcome.SKIPPED] * images if name in none else answers(count, images, draws),
            random=draws > 1,
            warnings=(warnings or {}).get(name, []),
        )
        for name, count in given.items()
    ]
    mine = [
        make_record(board, row, name, 0, answers(count, images, draws), random=draws > 1) for name, count in own.items()
    ]
    (result,), (climbed,) = merge(board, mine), merge(climbing, records)
    return result, climbed


def own_attack(name):
    """Returns an attack of the own board: clean, and white-box or blind by its name."""
    if name == "clean":
        return AttackChoice("clean", Spec("clean"))
    view = "blind" if "blind" in name else "none" if "square" in name else "exact"
    return AttackChoice(
        name, Spec("square" if view == "none" else "apgd", {"steps": 3} if view != "none" else {}), view
    )


def answers(count, images, draws):
    """Returns answers that are wrong on every draw of the first `count` images, and right on the others."""
    return ["0" * draws if image < count else "1" * draws for image in range(images)]
