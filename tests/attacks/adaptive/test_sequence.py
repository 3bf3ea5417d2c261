"""Tests of sequences of attacks: each part attacks what is left, from the best points if it is told to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from purebench.attacks.adaptive.sequence import Sequence
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import exact, no_gradient
from purebench.core.answers import Inapplicable
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import LOCAL
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode

THREAT = ThreatModel("linf", 0.2)


class Sum(nn.Module):
    """Class 1 where the sum of the pixels is above a bound."""

    def __init__(self, bound: float):
        super().__init__()
        self.bound = bound

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x.flatten(1).sum(1) - self.bound
        return torch.stack([-value, value], 1)


@pytest.fixture
def seen():
    """Registers attacks that move all pixels by a step, and records what they were given."""
    calls: list[tuple[int, torch.Tensor | None]] = []

    def mover(step: float = 0.1):
        def attack(view, x, y, threat):
            calls.append((len(x), view.start))
            return (x if view.start is None else view.start) + step

        attack.knowledge = None
        return attack

    def inapplicable():
        def attack(view, x, y, threat):
            raise Inapplicable("not for this defense")

        return attack

    LOCAL["attacks"] |= {"mover": mover, "inapplicable": inapplicable}
    yield calls
    for name in ("mover", "inapplicable"):
        LOCAL["attacks"].pop(name)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of class 0 with the sums 8 and 7."""
    return torch.stack([torch.full((1, 4, 4), 8 / 16), torch.full((1, 4, 4), 7 / 16)]), torch.zeros(2, dtype=torch.long)


def test_broken_images_leave_and_points_are_inside_the_threat_model(seen) -> None:
    x, y = images()
    attack = Sequence(parts=["mover(step=0.1)", "mover(step=0.5)"])
    found = attack.run(no_gradient(Defense(Sum(9.0))), x, y, THREAT)
    assert [count for count, _ in seen] == [2, 1]  # 0.1 · 16 added to 8 is above 9, added to 7 it is not
    torch.testing.assert_close(found[0], x[0] + 0.1)
    torch.testing.assert_close(found[1], x[1] + 0.2)


def test_a_part_starts_from_the_best_points_if_it_is_told_to(seen) -> None:
    x, y = images()
    parts = [{"use": "mover(step=0.05)"}, {"use": "mover(step=0.05)", "start": "found"}]
    found = Sequence(parts=parts).run(no_gradient(Defense(Sum(20.0))), x, y, THREAT)
    assert seen[0][1] is None
    torch.testing.assert_close(seen[1][1], x + 0.05)
    torch.testing.assert_close(found, x + 0.1)


def test_worse_points_do_not_replace_better_ones(seen) -> None:
    x, y = images()
    found = Sequence(parts=["mover(step=0.1)", "mover(step=-0.1)"]).run(no_gradient(Defense(Sum(20.0))), x, y, THREAT)
    torch.testing.assert_close(found, x + 0.1)


def test_parts_that_do_not_apply_are_left_out_with_a_note(seen) -> None:
    x, y = images()
    view = no_gradient(Defense(Sum(20.0)))
    found = Sequence(parts=["inapplicable", "mover"]).run(view, x, y, THREAT)
    torch.testing.assert_close(found, x + 0.1)
    assert view.notes == ["left out of the sequence: inapplicable: not for this defense"]
    with pytest.raises(Inapplicable, match="not for this defense"):
        Sequence(parts=["inapplicable"]).run(view, x, y, THREAT)


def test_passes_of_the_parts_are_counted() -> None:
    x, y = images()
    view = no_gradient(Defense(Sum(20.0)))
    Sequence(parts=[{"use": "pgd(steps=3)", "gradient": "exact"}]).run(view, x, y, THREAT)
    alone = exact(Defense(Sum(20.0)))
    PGD(steps=3).run(alone, x, y, THREAT)
    assert view.backwards == alone.backwards == 6
    assert view.forwards == alone.forwards + 2 + 2  # the sequence judges the images and the points


@pytest.mark.parametrize("attack", [APGD(steps=1), PGD(steps=1, step=1e-9)])
def test_attacks_start_from_given_points(attack) -> None:
    x, y = images()
    view = exact(Defense(Sum(20.0)))
    view.start = x + 0.15
    found = attack.run(view, x, y, THREAT)
    assert (found - x).min() >= 0.15 - 1e-6


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "a list of attacks"),
        ([{"gradient": "exact"}], "each of parts as a mapping with use"),
        ([{"use": "pgd", "view": "exact"}], "key 'view' of a part is unknown"),
        ([{"use": "pgd", "eot": 0}], "expected eot"),
        ([{"use": "pgd", "start": "there"}], "image or found"),
        ([{"use": "pgdd"}], "did you mean 'pgd'"),
        ([{"use": "pgd(stepz=3)"}], "stepz"),
    ],
)
def test_invalid_parts_are_rejected(parts, message) -> None:
    with pytest.raises(PurebenchError, match=message):
        Sequence(parts=parts)


def test_warnings_and_notes_of_the_parts_are_those_of_the_sequence() -> None:
    """A part on a gradient of zero warns of masked gradients as it does alone, with the counts of all parts added."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = Sum(20.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inside(x.detach()) + 0 * x.flatten(1).sum(1, keepdim=True)

    x, y = images()
    alone = exact(Defense(Flat()))
    PGD(steps=2).run(alone, x, y, THREAT)
    (expected,) = alone.warnings
    assert expected.code is WarningCode.ZERO_GRADIENT
    view = no_gradient(Defense(Flat()))
    parts = [{"use": "pgd(steps=2)", "gradient": "exact"}] * 2
    parts += [{"use": "pgd(steps=2)", "gradient": "inner(module=classifier.inside)"}]
    Sequence(parts=parts).run(view, x, y, THREAT)
    (found,) = view.warnings
    assert (found.code, found.count, found.of) == (expected.code, 2 * expected.count, 2 * expected.of)
    assert "attacks a part of the defense in its place: classifier.inside" in view.notes
