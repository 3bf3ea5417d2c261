"""Tests that runs which share their passes find what runs one after the other find, with fewer calls of the defense."""

import pytest
import torch

from purebench.attacks.adaptive import off_manifold
from purebench.attacks.best import Best, first_rows
from purebench.attacks.gradient import apgd, md, pgd
from purebench.attacks.gradient.runs import Wave, waves
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

CLASSES, IMAGES = 6, 12
LINF, L2, L1 = ThreatModel("linf", 0.03), ThreatModel("l2", 0.06), ThreatModel("l1", 0.06)


def one_after_the_other(view, best, x, aims):
    """The runs of `waves`, each alone."""
    for number, aim in enumerate(aims):
        left = best.open.nonzero().squeeze(1)
        if len(left):
            pool, attacked = (x, left) if number else (x[left], torch.arange(len(left)))
            yield Wave(left, x[left], aim[left], number == 0, 1, pool, attacked)


@pytest.fixture
def wavy():
    """A defense whose logits have many maxima, a view of it, images with the answers as labels, and sizes of calls."""
    with seeded("wavy"):
        slow, fast = 6 + 6 * torch.rand(CLASSES, 1, 2, 2), 60 + 40 * torch.rand(CLASSES, 1, 2, 2)
        one, other = 6 * torch.rand(2, CLASSES, 1, 2, 2)
        x = 0.2 + 0.6 * torch.rand(40 * IMAGES, 1, 2, 2)
    sizes = []

    def classifier(images):
        sizes.append(len(images))
        parts = (torch.sin(slow * images[:, None] + one) + 0.25 * torch.sin(fast * images[:, None] + other)).flatten(2)
        return parts[:, :, 0] + parts[:, :, 1] + parts[:, :, 2] + parts[:, :, 3]  # equal in batches of all sizes

    defense = as_defense(Defense(classifier, Function(lambda images: images, random=False)))
    logits = defense(x)
    first, second = logits.topk(2, dim=1).values.unbind(1)
    clear = (first - second).argsort(descending=True)[24 * torch.arange(IMAGES)]  # from hard to easy ones
    return exact(defense), x[clear], logits[clear].argmax(1), sizes


CASES = {
    "pgd, targets": (pgd, pgd.PGD(loss="cw", steps=4, targets=5), LINF),
    "pgd, restarts": (pgd, pgd.PGD(steps=4, restarts=6), LINF),
    "pgd, momentum": (pgd, pgd.PGD(steps=4, restarts=6, momentum=0.9), LINF),
    "apgd, targets": (apgd, apgd.APGD(loss="dlr", steps=4, targets=5, restarts=2), LINF),
    "apgd, restarts": (apgd, apgd.APGD(steps=4, restarts=6), LINF),
    "apgd, l1": (apgd, apgd.APGD(steps=8, restarts=6), L1),
    "apgd, l2": (apgd, apgd.APGD(steps=4, restarts=6), L2),
    "md": (md, md.MD(steps=4, restarts=6), LINF),
    "off-manifold": (off_manifold, off_manifold.OffManifold(steps=4, restarts=6), LINF),
}


@pytest.mark.parametrize("name", CASES)
def test_runs_that_share_their_passes_find_the_same_with_fewer_calls(wavy, monkeypatch, name):
    """Equal images are broken; the points of those that are not broken, which the largest loss decides, are equal."""
    module, attack, threat = CASES[name]
    view, x, y, sizes = wavy

    def attacked():
        sizes.clear()
        with seeded("runs"):
            found = attack(view, x, y, threat)
        calls = len(sizes)
        return found, view.defense(found).argmax(1) != y, calls, max(sizes)

    found, broken, calls, largest = attacked()
    monkeypatch.setattr(module, "waves", one_after_the_other)
    expected, expected_broken, more_calls, _ = attacked()
    assert broken.tolist() == expected_broken.tolist()
    assert torch.equal(found[~broken], expected[~broken])
    assert 0 < int(broken.sum()) < IMAGES
    assert calls < 0.7 * more_calls
    assert largest <= view.batch.size


def kept_open(count, *, random=False):
    """A view, and the best points of IMAGES images of which `count` are still attacked."""
    view = exact(as_defense(lambda x: x.flatten(1), random=random))
    x = torch.zeros(IMAGES, 1, 1, 2)
    best = Best(view, x, torch.zeros(IMAGES, dtype=torch.long))
    best.open[count:] = False
    return view, best, x


@pytest.mark.parametrize(("left", "size", "expected"), [(3, 4, [1, 4, 2]), (3, 32, [1, 6]), (7, 4, [1] * 7)])
def test_as_many_runs_share_their_passes_as_the_block_or_a_device_batch_has_places(left, size, expected):
    view, best, x = kept_open(left)
    view.batch.size = size
    found = list(waves(view, best, x, [best.y] * 7))
    assert [wave.runs for wave in found] == expected
    assert [wave.first for wave in found] == [True] + [False] * (len(expected) - 1)
    assert found[1].index.tolist() == list(range(left)) * expected[1]


def test_each_run_on_a_random_view_is_alone_and_draws_starts_for_the_images_that_are_left():
    view, best, x = kept_open(2, random=True)
    found = list(waves(view, best, x, [best.y] * 3))
    assert [wave.runs for wave in found] == [1, 1, 1]
    assert [len(wave.pool) for wave in found] == [2, 2, 2]


def test_the_starts_of_a_run_do_not_depend_on_the_images_that_are_left():
    starts = {}
    for left in (2, 5):
        view, best, x = kept_open(left)
        first, *others = waves(view, best, x, [best.y] * 3)
        with seeded("starts"):
            drawn = torch.cat([wave.random_start(LINF) for wave in others])
        starts[left] = drawn.view(2, left, -1)
        assert len(first.random_start(LINF)) == left
    assert torch.equal(starts[2], starts[5][:, :2])
    assert not torch.equal(starts[2][0], starts[2][1])


def test_a_broken_image_leaves_with_all_its_rows_and_keeps_the_point_of_the_first():
    _, best, _ = kept_open(IMAGES)
    index = torch.tensor([0, 1, 0, 1, 0])
    points = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 1, 2)
    right = torch.tensor([True, True, False, True, False])
    logits = torch.stack([right.float(), 1 - right.float()], 1)[:, None]
    stay = best.see(index, points, torch.zeros(5), logits, scored=True)
    assert stay.tolist() == [False, True, False, True, False]
    assert best.points()[:2, 0, 0, 0].tolist() == [2, 0]
    assert best.open[:2].tolist() == [False, True]


def test_the_largest_loss_of_the_rows_of_an_image_decides_and_of_equal_ones_the_first():
    _, best, _ = kept_open(IMAGES)
    points = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 1, 2)
    loss = torch.tensor([1.0, 5.0, 3.0, 5.0, torch.nan, 2.0])
    best.settle(torch.tensor([0, 1, 0, 1, 0, 2]), points, loss)
    assert best.points()[:3, 0, 0, 0].tolist() == [2, 1, 5]
    assert best.top[:3].tolist() == [3, 5, 2]


def test_first_rows():
    assert first_rows(torch.tensor([3, 1, 3, 0, 1])).tolist() == [True, True, False, True, False]
    assert first_rows(torch.tensor([], dtype=torch.long)).tolist() == []
