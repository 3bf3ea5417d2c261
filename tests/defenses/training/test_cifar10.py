"""Tests the recipes of small models of CIFAR-10: losses against their formulas, precision and card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.defense import Purifier
from purebench.core.seeds import seeded
from purebench.data.image_set import ImageSet
from purebench.data.jpeg_copy.cifar10 import DEV_IMAGES, cifar10_jpeg
from purebench.defenses import checkpoints
from purebench.defenses.training.cifar10 import classifier, purifiers, robust
from purebench.defenses.training.precision import Precision, autocast, prepared
from purebench.defenses.training.quality import mlvgm_purifiers

CPU = torch.device("cpu")
X = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])
RECIPES = {
    "cifar10-resnet": classifier.recipe,
    "cifar10-fast-at": robust.fast_at,
    "cifar10-hvae": purifiers.cifar10_hvae,
    "cifar10-ddpm": purifiers.cifar10_ddpm,
    "cifar10-vae": purifiers.cifar10_vae,
    "cifar10-nvae": purifiers.cifar10_nvae,
}


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_registered_and_trains_every_parameter_in_its_precision(name: str) -> None:
    recipe = RECIPES[name]
    assert registry.factory("recipes", name)[0] is recipe
    assert recipe.name == name
    assert recipe.data is cifar10_jpeg
    assert recipe.held_out == DEV_IMAGES
    with seeded("recipe"):
        model = prepared(recipe.build(**recipe.architecture), recipe.precision)
        with autocast(CPU, recipe.precision):
            losses = recipe.loss(model, X, LABELS, 0.5)
    first = next(iter(losses.values()))
    assert first.dtype == torch.float32
    first.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(bool(value.isfinite()) for value in losses.values())


@pytest.mark.parametrize("name", RECIPES)
def test_the_loss_in_bf16_is_close_to_that_in_float32(name: str) -> None:
    recipe, found = RECIPES[name], {}
    assert recipe.precision != "float32"
    for precision in ("float32", recipe.precision):
        with seeded("recipe"):
            model = prepared(recipe.build(**recipe.architecture), precision)
        with seeded("loss"), autocast(CPU, precision):
            found[precision] = float(next(iter(recipe.loss(model, X, LABELS, 0.5).values())).detach())
    assert found[recipe.precision] == pytest.approx(found["float32"], rel=0.03)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("bf16-layers", torch.float32)])
def test_layers_compute_in_bf16_and_return_float32_where_densities_follow(
    precision: Precision, dtype: torch.dtype
) -> None:
    layer = nn.Conv2d(3, 5, 3)
    model = prepared(nn.Sequential(layer), precision)
    with autocast(CPU, precision):
        out = model(X)
    rounded = functional.conv2d(X.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    assert out.dtype == dtype
    assert torch.allclose(out.float(), rounded.float(), atol=0.01)
    assert not torch.allclose(out.float(), functional.conv2d(X, layer.weight, layer.bias), atol=1e-5)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_float32_leaves_the_model_as_it_is() -> None:
    layer = nn.Conv2d(3, 5, 3)
    with autocast(CPU, "float32"):
        out = prepared(layer, "float32")(X)
    assert torch.equal(out, functional.conv2d(X, layer.weight, layer.bias))
    assert not layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_classifier_is_trained_by_label_smoothed_cross_entropy() -> None:
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(1))
    target = 0.95 * functional.one_hot(LABELS, 10) + 0.005
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    assert float(classifier.loss(lambda x: logits, X, LABELS, 0.0)["loss"]) == pytest.approx(float(expected), rel=1e-5)


class Watched(nn.Module):
    """A linear classifier of two classes that records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(3 * 32 * 32, 2), []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().clone())
        return self.layer(x.flatten(1))


@pytest.mark.parametrize(("share", "radius"), [(0.0, 0.1 * 8 / 255), (1.0, 8 / 255)])
def test_fast_adversarial_training_takes_one_step_of_the_radius_from_a_random_start(
    share: float, radius: float
) -> None:
    with seeded("fast-at"):
        model = Watched()
        found = robust.loss(model, 0.3 + 0.4 * X, LABELS % 2, share)
    start, worst = model.seen
    assert float((start - (0.3 + 0.4 * X)).abs().max()) <= radius + 1e-6
    assert float((start - (0.3 + 0.4 * X)).abs().mean()) > 0.4 * radius, "a start that is uniform in the ball"
    towards = torch.stack([model.layer.weight[1 - label] - model.layer.weight[label] for label in LABELS % 2])
    moved = (worst - (0.3 + 0.4 * X)) * towards.detach().sign().view_as(worst)
    assert float(moved.min()) >= -1e-6
    assert float(moved.max()) == pytest.approx(radius, abs=1e-6)
    expected = functional.cross_entropy(model.layer(worst.flatten(1)), LABELS % 2)
    assert float(found["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


class Brighter(Purifier):
    """Adds a constant to images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1


def test_figures_of_a_generative_model_are_psnr_and_accuracies_of_the_bundled_classifier(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = cifar10_like(30)

    class Means(nn.Module):
        """Predicts class 1 for bright images."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bright = (x.mean((1, 2, 3)) > 0.55).long()
            return functional.one_hot(bright, 2).float()

    psnr = {"PSNR, brighter, 20 test images, dB (JPEG 75)": pytest.approx(20.0, abs=1e-3)}
    monkeypatch.setattr(purifiers, "cifar10_resnet", Means)
    monkeypatch.setattr(checkpoints, "BUNDLED", tmp_path)
    assert purifiers.figures({"brighter": Brighter()}, data, CPU, 20, shown=("brighter",)) == psnr
    (tmp_path / "cifar10-resnet.safetensors").touch()
    assert purifiers.figures({"brighter": Brighter()}, data, CPU, 20, shown=("brighter",)) == {
        **psnr,
        "clean accuracy, no purifier, 20 test images (JPEG 75)": 1.0,
        "clean accuracy, brighter, 20 test images (JPEG 75)": 0.5,
    }


def cifar10_like(count: int) -> ImageSet:
    """Return grey images of brightness 0.5 (class 0) and 0.6 (class 1)."""
    labels = np.arange(count) % 2
    images = np.broadcast_to((0.5 + 0.1 * labels)[:, None, None, None], (count, 3, 32, 32)).astype(np.float32)
    return ImageSet("greys", images, labels, ("dark", "bright"), "made")


def test_the_purifiers_on_the_card_of_an_mlvgm_reconstruct_and_resample() -> None:
    recipe = purifiers.cifar10_hvae
    with seeded("hvae"):
        model = recipe.build(**recipe.architecture).eval()
        made = mlvgm_purifiers(model)
        with torch.no_grad():
            plain = made["reconstruction (alpha 0)"](X[:1])
            again = model.autoencode(X[:1], lambda i, encoded, sampled: encoded)
    assert torch.allclose(plain, again, atol=1e-6)
    names = [f"{schedule} × {attenuation}" for schedule in ("linear", "cosine") for attenuation in ("0.5", "0.7", "1")]
    assert list(made) == ["reconstruction (alpha 0)", *names]


def test_figures_of_classifiers_are_marked_as_those_of_the_copy() -> None:
    data = cifar10_like(8)
    with seeded("marked"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    plain, robust_figures = (recipe.quality(model, data, CPU) for recipe in (classifier.recipe, robust.fast_at))
    assert list(plain) == ["clean accuracy, 8 test images (JPEG 75)"]
    assert list(robust_figures) == [*plain, "accuracy under PGD, 20 steps, linf 8/255, 8 test images (JPEG 75)"]
