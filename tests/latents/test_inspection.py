"""Tests `inspect_defense` on purifiers whose latents have closed forms."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from purebench.attacks.gradient.losses import margin
from purebench.cli.commands.models.inspection_tables import table
from purebench.core import registry
from purebench.core.defense import Defense, Function, LatentPurifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.data.pictures import to_bytes
from purebench.latents.inspection import inspect_defense, latent_defenses, latents_of, mean, mean_difference
from purebench.latents.resampling import resample

LOST = math.sqrt(8) * 0.5
"""l2 distance between a dark left half of 4×4 pixels and a bright one."""


class Sides(LatentPurifier):
    """Latent 0 is the mean of the left half, latent 1 the pixels of the right half; they are independent.

    The prior of latent 0 is dark or bright with equal probability, or always the opposite; that of latent 1 is uniform.
    """

    random = True

    def __init__(self, other: bool = False):
        super().__init__()
        self.other = other

    @property
    def kept(self):
        return [1.0, 0.25]

    def autoencode(self, x, mix):
        mean = x[..., :2].mean((1, 2, 3), keepdim=True)
        coin = 1 - mean if self.other else 0.25 + 0.5 * (torch.rand_like(mean) < 0.5)
        left = mix(0, mean, coin)
        right = mix(1, x[..., 2:], torch.rand_like(x[..., 2:]))
        return torch.cat([left.expand(-1, 1, 4, 2), right], 3)

    def forward(self, x):
        return self.autoencode(x, resample([1]))


class Residual(LatentPurifier):
    """Latent 0 is the mean of the image, latent 1 the residual of the mixed latent 0, which undoes its resampling."""

    random = False

    @property
    def kept(self):
        return [1.0, 1.0]

    def autoencode(self, x, mix):
        mean = x.mean((1, 2, 3), keepdim=True)
        coarse = mix(0, mean, 1 - mean)
        fine = mix(1, x - coarse, torch.zeros_like(x))
        return coarse + fine

    def forward(self, x):
        return self.autoencode(x, resample([]))


class Left(nn.Module):
    """Predicts class 1 if the left half is bright; the logits of dark (0.25) and bright (0.75) differ by 2."""

    def forward(self, x):
        bright = 4 * (x[..., :2].mean((1, 2, 3)) - 0.5)
        return torch.stack([-bright, bright], 1)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (60,), generator=generator)
    x = torch.rand(60, 1, 4, 4, generator=generator)
    x[..., :2] = 0.25 + 0.5 * y.view(-1, 1, 1, 1)
    return SimpleNamespace(x=x, y=y)


def inspected(images, purifier, classifier=None, **options):
    defense = as_defense(Defense(classifier or Left(), purifier))
    return inspect_defense(defense, images.x, images.y, **options)


@pytest.fixture(scope="module")
def sides(images):
    return inspected(images, Sides(), draws=8, pictures=[3, 5, 8])


def test_resampling_a_latent_that_the_classifier_ignores_changes_nothing(sides):
    _, right = sides.latents
    for rate in (sides.clean, sides.reconstructed, sides.purified, right.resampled, right.from_here):
        assert rate.value == 1
    assert (right.difference.value, right.change.value, right.change.high, right.slope.value) == (0, 0, 0, 0)
    assert right.alone.value == sides.latents[0].resampled.value  # with two latents, all but this one is the other


def test_resampling_the_latent_of_the_class_leaves_chance_accuracy(sides):
    left, _ = sides.latents
    flips = 1 - left.resampled.value
    assert abs(flips - 0.5) < 4 * 0.5 / math.sqrt(60 * 8)
    assert left.difference.value == pytest.approx(-flips)
    assert left.change.value == pytest.approx(4 * flips)  # the difference of the logits changes its sign
    assert left.distance.value == pytest.approx(LOST * flips, rel=1e-5)
    assert abs(left.slope.value - 2) < 4 * 2 / math.sqrt(60 * 8)  # an independent sample of the same prior
    assert left.alone.value == 1
    assert left.from_here == sides.generated
    assert abs(sides.generated.value - 0.5) < 4 * 0.5 / math.sqrt(60 * 8)


def test_distance_agrees_with_the_closed_form(sides, images):
    """The mean squared difference of two uniform numbers is 1/6; by Jensen the mean distance is slightly smaller."""
    _, right = sides.latents
    squared = (images.x[..., 2:] - 0.5).square().sum((1, 2, 3)) + 8 / 12
    assert right.distance.value < float(squared.sqrt().mean())
    assert right.distance.value > 0.9 * float(squared.sqrt().mean())


def test_the_slope_along_a_linear_path_is_the_change(images):
    left, right = inspected(images, Sides(other=True), draws=2).latents
    assert (left.resampled.value, left.difference.value, left.difference.low) == (0, -1, -1)
    assert left.change.value == pytest.approx(4)
    assert left.slope.value == pytest.approx(4)
    assert right.slope.value == 0


def test_finer_latents_undo_resampling_unless_they_are_held(images):
    x, y = images.x.clone(), images.y
    x[..., 2:] = x[..., :2]
    flat = SimpleNamespace(x=x, y=y)
    mended, _ = inspected(flat, Residual()).latents
    assert mended.resampled.value == 1
    assert mended.distance.value < 1e-6
    assert mended.slope.value < 1e-6
    held = inspected(flat, Residual(), hold=True)
    assert held.reconstructed.value == 1
    assert held.latents[0].resampled.value == 0
    assert held.latents[0].distance.value == pytest.approx(math.sqrt(2) * LOST, rel=1e-5)
    assert held.latents[0].slope.value == pytest.approx(4, rel=1e-5)
    assert held.to_dict()["kept"] != inspected(flat, Residual()).to_dict()["kept"]


def test_the_seed_decides_and_the_global_generator_is_unchanged(images, sides):
    before = torch.get_rng_state()
    again = inspected(images, Sides(), draws=8, pictures=[3, 5, 8])
    assert torch.equal(torch.get_rng_state(), before)
    assert again.to_dict() == sides.to_dict()
    np.testing.assert_array_equal(again.pictures.images, sides.pictures.images)
    other = inspected(images, Sides(), draws=8, seed=1).to_dict()
    assert other["latents"][0]["resampled"]["value"] != sides.latents[0].resampled.value
    json.dumps(other, allow_nan=False)


def test_progress_reports_every_pass(images):
    told = []
    inspected(images, Sides(), draws=3, progress=lambda what, done, total: told.append((done, total)))
    # clean and reconstruction once; left, right, both, purified and gradients three times each
    assert told == [(k + 1, 2 + 5 * 3) for k in range(17)]


def test_a_classifier_that_passes_no_gradient_has_no_slope(images):
    steps = Function(lambda x: Left()(x.detach()), random=False)
    found = inspected(images, Sides(), classifier=steps, draws=1).latents
    assert [one.slope for one in found] == [None, None]
    assert found[0].change.value > 0


def test_a_random_classifier_is_evaluated_on_all_draws(images):
    noisy = as_defense(Defense(lambda x: torch.randn(len(x), 2), Sides(), random=True))
    found = inspect_defense(noisy, images.x, images.y, draws=8)
    for rate in (found.clean, found.reconstructed, found.latents[1].resampled):
        assert rate.method == "gaffke"
        assert abs(rate.value - 0.5) < 4 * 0.5 / math.sqrt(60 * 8)


def test_margin_is_negative_for_correct_predictions():
    logits = torch.tensor([[1.0, 3.0, 2.5], [1.0, 3.0, 2.5], [-1.0, -3.0, -2.0]])
    assert margin(logits, torch.tensor([1, 2, 0])).tolist() == [-0.5, 0.5, -1.0]


def test_the_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2.0, size=25)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    found = mean(values, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.value, found.n) == (pytest.approx(values.mean()), 25)


def test_the_interval_of_a_difference_covers_it():
    rng, covered = np.random.default_rng(1), 0
    for _ in range(200):
        a, b = rng.random(40) < 0.6, rng.random(40) < 0.8
        found = mean_difference(a.astype(float), b.astype(float), 0.9)
        covered += found.low <= -0.2 <= found.high
        assert found.value == pytest.approx(a.mean() - b.mean())
    assert covered >= 200 * 0.9 - 3 * math.sqrt(200 * 0.9 * 0.1)


def test_the_picture_shows_images_and_reconstructions(sides, images):
    drawn = table(sides, ["dark", "bright", "bright"])
    assert len(drawn.cells) == 3 + 1
    assert [len(row) for row in drawn.cells] == [5] * 4
    for row, place in enumerate((3, 5, 8)):
        whole = images.x[place, 0]
        rebuilt = torch.cat([whole[:, :2].mean().expand(4, 2), whole[:, 2:]], 1)
        for column, image in enumerate((whole, rebuilt)):
            np.testing.assert_array_equal(drawn.cells[row][column], to_bytes(image.numpy())[None])
    changes = sides.pictures.changes
    assert changes[0].max() == 0
    assert changes[1].max() == pytest.approx(0, abs=1e-6)
    assert changes[3][:, 2:].max() == 0  # latent 0 is the left half, latent 1 the right one
    assert changes[4][:, :2].max() == 0
    assert sides.pictures.distances[3:] == pytest.approx([one.distance.value for one in sides.latents])


def test_a_purifier_without_latents_is_rejected_by_name():
    blur = Defense(Left(), Function(lambda x: x, random=False))
    with pytest.raises(
        PurebenchError, match=r"mixes latents, but got Function; registered defenses that do: .*mlvgm-hvae"
    ):
        latents_of(blur)
    with pytest.raises(PurebenchError, match="no purifier"):
        latents_of(Defense(Left()))


def test_defenses_with_latents_are_listed_without_creating_them(monkeypatch):
    def makes() -> Sides | None:
        raise AssertionError("made")

    def unknown() -> Nowhere:  # noqa: F821
        raise AssertionError("made")

    local = {"one": Sides, "two": makes, "three": unknown, "four": Left}
    monkeypatch.setitem(registry.LOCAL, "defenses", local)
    makes.__annotations__["return"] = Sides | None
    found = latent_defenses()
    assert {"one", "two", "mlvgm-hvae"} <= set(found)
    assert not {"three", "four", "vae", "none", "gaussian-blur"} & set(found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"images": 1}, "at least 2 images"),
        ({"draws": 0}, "1 draw"),
        ({"label": 2}, "2 and the labels go up to 2"),
        ({"classifier": nn.Linear(3, 2)}, r"it fails on images of shape \[1, 4, 4\]"),
    ],
)
def test_invalid_images_draws_labels_and_classifiers_are_rejected(images, change, told):
    y = torch.full_like(images.y, change.get("label", 0))
    defense = as_defense(Defense(change.get("classifier", Left()), Sides()))
    count = change.get("images", 60)
    with pytest.raises(PurebenchError, match=told):
        inspect_defense(defense, images.x[:count], y[:count], draws=change.get("draws", 1))
