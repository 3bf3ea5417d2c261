"""Tests of the counts of an attack's looks: by hand, and against closed forms for a constant probability."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import blind, exact
from purebench.attacks.views.look_counters import LookCounters
from purebench.core.answers import LookCount
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

THREAT = ThreatModel("linf", 0.05)


def chance(q):
    """A random defense that is right (class 0) with the probability q, or with the image's mean if q is None."""

    def classify(x):
        right = torch.rand(len(x)) < (x.detach().flatten(1).mean(1) if q is None else q)
        return torch.stack([torch.where(right, 1.0, -1.0), torch.zeros(len(x))], 1) + 0 * x.flatten(1).sum(1)[:, None]

    return as_defense(classify, random=True)


def counted(attack, defense, x, eot=10, view=exact):
    made, y = view(defense, eot=eot), torch.zeros(len(x), dtype=torch.int64)
    with seeded("counted"):
        made.count_looks(len(x))
        points = attack(made, x, y, THREAT)
        clean = None if made.counters is None else made.counters.at_clean(made, x, y)
    return made, points, clean


def test_looks_are_counted_image_by_image():
    counters = LookCounters(3)
    classes = torch.eye(3)
    counters.see(torch.tensor([0, 2]), classes[torch.tensor([[0, 0, 1, 2], [1, 1, 0, 0]])], torch.tensor([0, 0]))
    counters.see(torch.tensor([2]), classes[torch.tensor([[2, 2, 0]])], torch.tensor([0]))
    counters.see(torch.tensor([0]), classes[torch.tensor([[0, 0, 0, 0]])], torch.tensor([0]))
    assert counters.by_image() == [
        LookCount(2, 8, 2, 0.5, plurality_wrong=False),
        LookCount(0, 0, 0, 0.0, plurality_wrong=False),
        LookCount(2, 7, 4, 2 / 3, plurality_wrong=True),  # in the first look both classes have two draws: not wrong
    ]


@pytest.mark.parametrize(("attack", "looks"), [(PGD(steps=12), 12), (APGD(steps=12), 13)])
def test_a_constant_probability_gives_the_closed_forms_of_the_printed_figures(attack, looks):
    """The largest of L binomial shares, and no wrong draw in L·D draws."""
    q, draws, images = 0.95, 8, 1500
    made, _, _ = counted(attack, chance(q), torch.full((images, 1, 2, 2), 0.5), eot=draws)
    found = made.counters.by_image()
    assert {one.looks for one in found} == {looks}
    assert {one.draws for one in found} == {looks * draws}
    largest = binom.cdf(np.arange(draws + 1), draws, 1 - q) ** looks  # P(largest count ≤ m)
    mean, second = (float((1 - largest[:-1]) @ weights) for weights in (np.ones(draws), 2 * np.arange(draws) + 1))
    spread = (second - mean**2) ** 0.5 / draws / images**0.5
    assert abs(np.mean([one.most for one in found]) - mean / draws) < 4 * spread
    never = q ** (looks * draws)
    assert abs(np.mean([one.wrong == 0 for one in found]) - never) < 4 * (never * (1 - never) / images) ** 0.5
    wrong = sum(one.wrong for one in found)
    assert abs(wrong / (images * looks * draws) - (1 - q)) < 4 * (q * (1 - q) / (images * looks * draws)) ** 0.5
    majority = binom.cdf(draws / 2, draws, 1 - q) ** looks  # with two classes; class 0 wins a tie
    assert abs(np.mean([not one.plurality_wrong for one in found]) - majority) < 4 * (0.25 / images) ** 0.5


def test_the_clean_counterpart_of_an_attack_that_does_not_move_is_equal_in_distribution():
    """The probability differs from image to image; the attack's gradient is zero, so that every look is at x."""
    x = torch.linspace(0.8, 1, 1200).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    made, points, clean = counted(PGD(steps=6, random=False), chance(None), x)
    assert torch.equal(points, x)
    attacked, unmoved = made.counters.by_image(), clean.by_image()
    assert [(one.looks, one.draws) for one in attacked] == [(one.looks, one.draws) for one in unmoved]
    for of in (lambda one: one.most, lambda one: float(one.wrong == 0), lambda one: one.wrong / one.draws):
        differences = np.array([of(a) - of(b) for a, b in zip(attacked, unmoved, strict=True)])
        assert abs(differences.mean()) < 4 * differences.std() / len(differences) ** 0.5


def test_images_that_leave_early_have_fewer_looks_also_at_the_clean_image():
    x = torch.cat([torch.full((5, 1, 2, 2), 0.0), torch.full((5, 1, 2, 2), 0.9)])
    made, _, clean = counted(PGD(steps=20, random=False), chance(None), x)
    looks = [one.looks for one in made.counters.by_image()]
    assert max(looks[:5]) < min(looks[5:]) == 20  # always wrong at 0
    assert [one.looks for one in clean.by_image()] == looks


def test_counting_changes_no_point_and_its_clean_looks_are_counted_as_passes():
    x = torch.linspace(0.5, 0.9, 12).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    defense = as_defense(
        Defense(lambda p: p.flatten(1)[:, :2], Function(lambda x: x + 0.1 * torch.randn_like(x), random=True))
    )
    made, points, _ = counted(PGD(steps=5), defense, x)
    alone = exact(defense, eot=10)
    with seeded("counted"):
        expected = PGD(steps=5)(alone, x, torch.zeros(12, dtype=torch.int64), THREAT)
    assert torch.equal(points, expected)
    assert made.forwards == alone.forwards + sum(one.draws for one in made.counters.by_image())
    assert made.backwards == alone.backwards


def test_nothing_is_counted_where_the_draws_are_not_those_of_the_defense():
    x = torch.full((2, 1, 2, 2), 0.5)
    purified = Defense(lambda p: p.flatten(1)[:, :2], Function(lambda x: x + torch.randn_like(x), random=True))
    assert counted(PGD(steps=2), as_defense(purified), x, view=blind)[0].counters is None
    assert counted(PGD(steps=2), as_defense(purified.classifier), x)[0].counters is None
