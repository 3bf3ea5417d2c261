"""Tests of the attack with known randomness against closed forms, and of the attack that starts from its points."""

import pytest
import torch

from purebench.attacks.adaptive.known_randomness import SEEDS, KnownRandomness, frozen_view
from purebench.attacks.views.gradient_modes import blind, bpda, exact
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, Function, as_defense, frozen
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.seeds import at_seed, seeded
from purebench.core.threat import ThreatModel

A, B, EPS = 0.8, 0.15, 0.05
V = torch.linspace(-1, 1, 16)
THREAT = ThreatModel("linf", EPS)


def linear_gaussian():
    """P(x) = A x + B noise; two classes with logits ± V·(p - A/2); all images are of class 0.

    At mid grey, V·x = 0; the images reach from the boundary under attack to well inside class 0.
    """
    classifier = lambda p: torch.stack([(p - A / 2).flatten(1) @ V, -((p - A / 2).flatten(1) @ V)], 1)  # noqa: E731
    margins = torch.linspace(0.2, 1.2, 40) * EPS * V.abs().sum()
    x = 0.5 + (margins[:, None] * V / V.square().sum()).view(-1, 1, 4, 4)
    defense = Defense(classifier, Function(lambda x: A * x + B * torch.randn_like(x), random=True))
    return as_defense(defense), x, torch.zeros(len(x), dtype=torch.int64)


def drawn_seeds(count):
    with seeded("known"):
        return torch.randint(SEEDS, (count,)).tolist()


def run(attack, defense, x, y, threat=THREAT, batch=None, view=exact, eot=8):
    made = view(defense, eot=eot)
    made.batch = DeviceBatch(batch or 128)
    with seeded("known"):
        return attack(made, x, y, threat), made


@pytest.mark.parametrize("batch", [128, 7])
def test_known_noise_of_a_linear_gaussian_purifier_has_the_closed_form_accuracy(batch):
    """The image is right under noise n if A V·x + B V·n > A EPS |V|_1, whatever the attack."""
    defense, x, y = linear_gaussian()
    found, _ = run(KnownRandomness(seeds=8, then=0), defense, x, y, batch=batch)
    right = torch.zeros(len(x), dtype=torch.int64)
    for seed in drawn_seeds(8):
        noise = []
        for part in x.split(batch):  # the layout of the batch: each part starts from the seed
            with at_seed(seed):
                noise.append(torch.randn_like(part))
        signal = A * (x - 0.5).flatten(1) @ V + B * torch.cat(noise).flatten(1) @ V
        right += signal > A * EPS * V.abs().sum()
    assert found.known_right == right.tolist()
    assert found.known_seeds == 8
    assert 0 < sum(found.known_right) < 8 * len(x)


def test_known_noise_is_never_better_for_the_defense_than_unknown_noise():
    """In expectation for each image: here both are Φ of the signal over the noise, at the same corner."""
    defense, x, y = linear_gaussian()
    seeds = 64
    found, _ = run(KnownRandomness(seeds=seeds, then=0), defense, x, y)
    signal = A * ((x - 0.5).flatten(1) @ V - EPS * V.abs().sum()) / (B * V.norm())
    unknown = torch.distributions.Normal(0, 1).cdf(signal)
    share = torch.tensor(found.known_right) / seeds
    assert bool((share <= unknown + 4 * (unknown * (1 - unknown) / seeds).sqrt() + 1 / seeds).all())
    assert abs(float(share.mean() - unknown.mean())) < 4 * 0.5 / (seeds * len(x)) ** 0.5


def conflict(k=40.0):
    """u → s u with a random sign s; class 0 is wrong if k s u > 1: each draw is broken by one sign of u only."""

    def purify(x):
        sign = 2.0 * torch.randint(2, (len(x), 1, 1, 1)) - 1
        return 0.5 + sign * (x - 0.5)

    def classify(p):
        wrong = k * (p.flatten(1).mean(1) - 0.5) - 1
        return torch.stack([torch.zeros_like(wrong), wrong], 1)

    x = torch.full((24, 1, 1, 1), 0.5)
    return as_defense(Defense(classify, Function(purify, random=True))), x, torch.zeros(24, dtype=torch.int64)


def test_where_draws_conflict_known_randomness_leaves_nothing_and_unknown_one_half():
    defense, x, y = conflict()
    found, view = run(KnownRandomness(seeds=8), defense, x, y)
    assert found.known_right == [0] * 24
    with seeded("fresh"):
        right = (view.scores(found.images, 400).argmax(2) == y[:, None]).float().mean(1)
    # no point breaks more than one half of the draws
    assert bool(((right - 0.5).abs() < 4 * 0.5 / 400**0.5).all())


def test_the_points_for_unknown_noise_start_from_the_frozen_examples():
    """Without further steps, the frozen examples themselves are returned: in the conflict they are off the centre."""
    defense, x, y = conflict()
    found, _ = run(KnownRandomness(seeds=8, then=0), defense, x, y)
    assert bool(((found.images - x).abs().flatten() > 1 / 40).all())
    defense, x, y = linear_gaussian()
    found, view = run(KnownRandomness(seeds=2, then=20), defense, x, y)
    corner = x - EPS * V.sign().view(1, 1, 4, 4)
    with seeded("fresh"):
        share, best = ((view.scores(p, 400).argmax(2) == y[:, None]).float().mean() for p in (found.images, corner))
    assert share < best + 0.02


def test_no_image_leaves_and_all_passes_are_counted():
    """Each seed costs `steps` passes forward and backward, one verification and the draws that choose the start."""
    defense, x, y = linear_gaussian()
    seen = []
    purifier = defense.purifier.function
    defense.purifier.function = lambda images: seen.append(len(images)) or purifier(images)
    _, view = run(KnownRandomness(seeds=3, steps=5, then=0), defense, x, y)
    assert view.forwards == sum(seen)
    assert view.backwards == 3 * 5 * len(x)
    assert seen.count(len(x)) == 3 * 6


def test_a_batch_that_shrinks_starts_the_seed_again():
    """Memory runs out after four steps, when images that are wrong under the noise of that layout have stopped."""
    defense, x, y = linear_gaussian()
    attack = KnownRandomness(seeds=2, steps=4, then=0)
    clean, calls = defense.purifier.function, []

    def limited(images):
        calls.append(len(images))
        if len(calls) == 5 and len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return clean(images)

    expected, _ = run(attack, defense, x, y, batch=20)
    defense.purifier.function = limited
    found, view = run(attack, defense, x, y, batch=40)
    assert view.batch.size == 20
    assert found.known_right == expected.known_right


def test_a_frozen_view_is_the_view_of_the_frozen_defense():
    defense, x, y = linear_gaussian()
    loss = lambda logits, labels: logits[:, 1] - logits[:, 0]  # noqa: E731
    for view in (exact, bpda):
        one, other = frozen_view(view(defense, eot=4), 5), view(frozen(defense, 5))
        first, second = one.look(x, y, loss), other.look(x, y, loss)
        assert torch.equal(first.gradient, second.gradient)
        assert torch.equal(first.logits, second.logits)
        assert (one.random, one.draws, one.forwards) == (False, 1, len(x))


def test_it_does_not_apply_to_deterministic_defenses_and_needs_a_view_of_the_whole_defense():
    defense, x, y = linear_gaussian()
    with pytest.raises(Inapplicable, match="no randomness"):
        run(KnownRandomness(), as_defense(defense.classifier), x, y)
    with pytest.raises(PurebenchError, match="but got l1; use apgd"):
        run(KnownRandomness(), defense, x, y, threat=ThreatModel("l1", 1.0))
    random = as_defense(Defense(lambda x: defense.classifier(x + torch.randn_like(x)), defense.purifier, random=True))
    with pytest.raises(PurebenchError, match="but got one without the purifier; use gradient exact or bpda"):
        run(KnownRandomness(), random, x, y, view=blind)
