"""Tests of the tracker that keeps the nearest adversarial example of each image."""

import pytest
import torch

from purebench.attacks.min_norm.fmn import FMN
from purebench.attacks.min_norm.nearest_search import ALLOWED, RANDOM, NearestSearch
from purebench.attacks.views.gradient_modes import blind, exact
from purebench.core.defense import Defense, Function, as_defense, frozen
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

SHAPE = (1, 2, 2)


def images(*levels):
    """Images [N,1,2,2], each of one grey level."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, *SHAPE).clone()


def threshold(x):
    """Logits that predict class 1 if the mean level is above 0.5, with a margin of four times the excess."""
    excess = x.flatten(1).mean(1) - 0.5
    return torch.stack([-2 * excess, 2 * excess], 1)


def chance(x):
    """Random logits that predict class 1 with the mean level as probability."""
    wrong = (torch.rand(len(x)) < x.flatten(1).mean(1)).float()
    return torch.stack([1 - wrong, wrong], 1)


def tracker(x, function=threshold, **options):
    view = exact(as_defense(function, random=function is chance))
    with seeded("tracker"):
        return NearestSearch(view, x, torch.zeros(len(x), dtype=torch.long), "linf", **options)


def observe(nearest, index, points):
    """Query the points and pass their scores to the tracker's `see`."""
    return nearest.see(torch.tensor(index), points, nearest.view.scores(points))


def test_the_nearest_misclassified_point_is_kept():
    nearest = tracker(images(0.2, 0.2))
    assert observe(nearest, [0, 1], images(0.8, 0.4)).tolist() == [True, False]
    assert observe(nearest, [1], images(0.9)).tolist() == [True]
    assert observe(nearest, [0], images(0.6)).tolist() == [True]
    assert observe(nearest, [0], images(0.7)).tolist() == [True]  # misclassified, but farther
    torch.testing.assert_close(nearest.distance, torch.tensor([0.4, 0.7]))
    assert torch.equal(nearest.found, images(0.6, 0.9))


def test_answer_moves_points_to_the_boundary():
    nearest = tracker(images(0.2, 0.1))
    observe(nearest, [0], images(0.9))
    answer = nearest.answer()
    assert answer.nearest
    assert answer.claims.tolist() == [True, False]
    assert torch.equal(answer.images[1:], images(0.1))
    assert answer.images[0].mean() > 0.5
    assert nearest.distance[0].item() == pytest.approx(0.3, rel=3e-3)  # bisected to 0.7 / 2^10


def test_a_misclassified_image_has_distance_0_and_is_not_open():
    nearest = tracker(images(0.7, 0.2))
    assert nearest.open().tolist() == [1]
    answer = nearest.answer()
    assert answer.claims.tolist() == [True, False]
    assert torch.equal(answer.images, images(0.7, 0.2))


def test_confidence_requires_a_margin():
    nearest = tracker(images(0.2, 0.6), confidence=0.8)
    assert nearest.open().tolist() == [0, 1]  # a wrong answer with a margin of 0.4 does not count
    assert observe(nearest, [0, 1], images(0.65, 0.75)).tolist() == [False, True]
    answer = nearest.answer()
    assert answer.images[1].mean().item() == pytest.approx(0.7, abs=1e-3)


def test_a_point_that_fails_confirmation_is_moved_outwards():
    nearest = tracker(images(0.2))
    nearest.found, nearest.distance = images(0.49), torch.tensor([0.29])
    answer = nearest.answer()
    assert answer.claims.all()
    assert nearest.distance.item() == pytest.approx(0.3, rel=3e-3)


def test_a_point_that_is_never_misclassified_is_discarded():
    nearest = tracker(images(0.2), lambda x: threshold(0 * x))
    nearest.found, nearest.distance = images(0.4), torch.tensor([0.2])
    answer = nearest.answer()
    assert not answer.claims.any()
    assert torch.equal(answer.images, images(0.2))


def test_settle_restores_the_last_confirmed_point_if_the_new_one_fails():
    nearest = tracker(images(0.2, 0.2))
    observe(nearest, [0], images(0.8))
    assert nearest.settle().tolist() == [False, False]
    held = nearest.found.clone()
    torch.testing.assert_close(nearest.distance, torch.tensor([0.3, torch.inf]), rtol=3e-3, atol=0)  # bisected
    nearest.found, nearest.distance = images(0.4, 0.4), torch.tensor([0.2, 0.2])
    assert nearest.settle().tolist() == [True, True]
    torch.testing.assert_close(nearest.distance, torch.tensor([0.3, torch.inf]), rtol=3e-3, atol=0)
    assert torch.equal(nearest.found, held)


def test_a_wrong_answer_of_a_random_defense_is_confirmed_on_fresh_draws():
    count = 400
    nearest = tracker(images(*[0.0] * count), chance)
    wrong = torch.tensor([[[0.0, 1.0]]]).expand(count, 1, 2)  # a wrong answer by chance
    with seeded("lucky"):
        half = nearest.see(torch.arange(count), images(*[0.5] * count), wrong)
    assert half.float().mean() <= 0.02
    assert nearest.view.forwards < count * 20  # most are rejected after the first four draws
    with seeded("earned"):
        sure = nearest.see(torch.arange(count), images(*[0.95] * count), wrong)
    assert sure.float().mean() >= 0.9


def test_a_point_that_is_hardly_nearer_costs_no_fresh_draws():
    nearest = tracker(images(0.0), chance)
    with seeded("worth"):
        assert observe(nearest, [0], images(1.0)).all()
        before = nearest.view.forwards
        wrong = torch.tensor([[[0.0, 1.0]]])
        assert nearest.see(torch.tensor([0]), images(0.5 + RANDOM.worth / 2), wrong).all()
    assert nearest.view.forwards == before
    assert nearest.distance.item() == 1.0


def test_answer_finds_the_level_at_which_a_random_defense_reaches_the_allowed_accuracy():
    """The accuracy at the result is close to the allowed share and rarely above it."""
    count = 100
    nearest = tracker(images(*[0.0] * count), chance)
    with seeded("level"):
        observe(nearest, list(range(count)), images(*[1.0] * count))
        answer = nearest.answer()
    right = 1 - answer.images.flatten(1).mean(1)
    assert answer.claims.all()
    assert (right > ALLOWED + 0.15).float().mean() <= 0.02
    assert 0.1 < right.mean() < ALLOWED


def test_distance_0_requires_that_a_random_defense_is_almost_always_wrong():
    nearest = tracker(images(*[0.5] * 200, *[0.95] * 200), chance)
    wrong = nearest.distance == 0
    assert wrong[:200].float().mean() <= 0.02
    assert wrong[200:].float().mean() >= 0.8


def test_a_blind_view_claims_by_the_classifier_alone(small):
    """The classifier alone is fooled, although the purifier maps every image to the same output."""
    case = small()
    defense = as_defense(Defense(case.net, Function(torch.zeros_like, random=False)))
    answer = FMN(steps=30)(blind(defense), case.x, case.y, ThreatModel("l2", 0.1))
    assert answer.claims.all()
    assert (case.net(answer.images).argmax(1) != case.y).all()


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_misclassification_in_bf16_is_confirmed_in_float32(small, norm):
    case = small(images=20)
    view = exact(case.defense)
    view.precision = "bf16"
    answer = FMN(steps=30)(view, case.x, case.y, ThreatModel(norm, 0.1))
    assert answer.claims.all()
    assert (case.defense(answer.images).argmax(1) != case.y).all()


def test_a_frozen_defense_whose_noise_depends_on_the_layout_of_the_batch_is_refused():
    random = as_defense(chance, random=True)
    x, y = images(0.2, 0.4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(PurebenchError, match=r"frozen\(defense, seed, size=1\)"):
        NearestSearch(exact(frozen(random, seed=0)), x, y, "linf")
    assert len(NearestSearch(exact(frozen(random, seed=0, size=1)), x, y, "linf").found) == 2
