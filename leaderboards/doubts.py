"""Signs that an accuracy is high because gradients are masked (Athalye et al. 2018, arXiv:1802.00420).

Two signs are looked for: what an attack noted of its own gradients, and an attack that follows no gradient but beats
those that do (Carlini et al. 2019, arXiv:1902.06705, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from purebench.leaderboards.results import ANSWERED, CLEAN, AttackResult, DefenseResult
from purebench.records import Outcome
from purebench.statistics import mcnemar

DISTRUST = "distrust a high accuracy"
"""How every note of an attack ends that says its gradients mislead."""
BEATEN = (
    "{} follows no gradient of the defense, but beats every attack that does: gradients may be masked "
    "(Carlini et al. 2019)"
)
WITHOUT = ("none", "blind")
"""Views that show no gradient of the defense itself."""
LEVEL = 0.05
"""Of the test of all attacks without gradients together."""


def doubts(result: DefenseResult) -> tuple[str, ...]:
    """Why the accuracy of a defense may be too high, a sentence each; none where no image holds anyway."""
    if not any(_held(outcomes) for outcomes in zip(*(attack.outcomes for attack in result.attacks), strict=True)):
        return ()
    asked = [attack for attack in result.attacks if not (attack.skipped or attack.failed)]
    following = [attack for attack in asked if attack.gradient.partition("(")[0] not in WITHOUT]
    others = [attack for attack in asked if attack not in following and attack.name != CLEAN and not attack.certified]
    return (*_noted(following), *(() if result.cascade else _beaten(following, others)))


def _held(outcomes: Sequence[Outcome]) -> bool:
    return Outcome.HELD in outcomes and not {Outcome.BROKEN, Outcome.ERRORED} & set(outcomes)


def _noted(following: Sequence[AttackResult]) -> Iterator[str]:
    """What attacks noted of their gradients, unless another one found better ones and broke more images."""
    notes = {attack.name: [note for note in attack.notes if DISTRUST in note] for attack in following}
    noted = [attack for attack in following if notes[attack.name]]
    most = max((attack.count(Outcome.BROKEN) for attack in noted), default=0)
    if any(attack.count(Outcome.BROKEN) > most for attack in following if attack not in noted):
        return
    for first in dict.fromkeys(notes[attack.name][0] for attack in noted):
        yield f"{', '.join(attack.name for attack in noted if notes[attack.name][0] == first)}: {first}"


def _beaten(following: Sequence[AttackResult], others: Sequence[AttackResult]) -> Iterator[str]:
    """Attacks that break more of the same images than each that follows a gradient, by McNemar's exact test.

    Corrected by Bonferroni for the number of `others`; not for a cascade, where the images are not the same.
    """
    for attack in others if following else ():
        pairs = [_discordant(attack, other) for other in following]
        if all(more > fewer and mcnemar(more, fewer) < LEVEL / len(others) for more, fewer in pairs):
            yield BEATEN.format(attack.name)


def _discordant(one: AttackResult, other: AttackResult) -> tuple[int, int]:
    """Images that only the one broke, and only the other, of those for which both answered."""
    pairs = zip(one.outcomes, other.outcomes, strict=True)
    answered = [(a is Outcome.BROKEN, b is Outcome.BROKEN) for a, b in pairs if a in ANSWERED and b in ANSWERED]
    return sum(a and not b for a, b in answered), sum(b and not a for a, b in answered)
