"""Tests options of a recipe that the recipes of CIFAR-10 use: budget in steps, random crops, precision, licence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from purebench.cli.main import app
from purebench.data.image_set import ImageSet
from purebench.defenses.training import precision as precisions
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.precision import slow_on

CPU = torch.device("cpu")
RAMP = np.arange(8)


class Tiny(nn.Module):
    """A classifier of two classes that records the type of its features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head, self.seen = nn.Conv2d(1, 2, 3), nn.Linear(2, 2), set()

    def forward(self, x: Tensor) -> Tensor:
        features = self.layer(x)
        self.seen.add(features.dtype)
        return self.head(features.mean((2, 3)))


def ramps(*, split: str, folder: str | None) -> ImageSet:
    """Return images whose rows count from 0 to 7."""
    images = np.broadcast_to(RAMP, (40, 1, 8, 8)).astype(np.uint8)
    return ImageSet("ramps", images, np.arange(40) % 2, ("a", "b"), "made")


def loss(model: nn.Module, x: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    return {"loss": nn.functional.cross_entropy(model(x).float(), labels)}


RECIPE = Recipe(
    name="tiny",
    kind="tiny",
    build=Tiny,
    architecture={},
    loss=loss,
    quality=lambda model, test, device: {"images": float(len(test))},
    about="A model for tests.",
    source="made here",
    data=ramps,
    batch=16,
    held_out=8,
)


def card(folder: Path, recipe: Recipe, *, minutes: float | None = None, steps: int | None = None) -> str:
    """Run a recipe and return its model card."""
    recipe(out=folder, device=CPU, minutes=minutes, seed=0, folder=None, steps=steps)
    return (folder / "tiny.md").read_text(encoding="utf-8")


def test_a_recipe_may_have_a_default_budget_in_steps(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=3, minutes=0.001)
    assert "--steps 3 " in card(tmp_path / "own", recipe)
    assert "3 steps of 16 images" in card(tmp_path / "own", recipe)
    assert "--steps 2 " in card(tmp_path / "steps", recipe, steps=2)
    assert "--minutes 0.001 " in card(tmp_path / "minutes", recipe, minutes=0.001)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_loss_is_computed_in_the_precision_of_the_recipe(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    seen = set()

    def watch(model: Tiny, x: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
        found = loss(model, x, labels, share)
        seen.update(model.seen)
        return found

    text = card(tmp_path, replace(RECIPE, loss=watch, precision=precision), steps=2)
    assert seen == {dtype}
    assert ("trained under autocast to bfloat16" in text) is (precision == "bf16")
    assert f" --precision {precision} " in text


def test_bf16_is_called_slow_on_processors_that_are_known_to_lack_it(tmp_path: Path) -> None:
    old, new, arm = (tmp_path / name for name in ("old", "new", "arm"))
    old.write_text("flags\t\t: fpu avx2 avx512f avx512_vnni\n", encoding="utf-8")
    new.write_text("flags\t\t: fpu avx2 avx512f avx512_bf16\n", encoding="utf-8")
    arm.write_text("Features\t: fp asimd i8mm bf16\n", encoding="utf-8")
    assert slow_on(CPU, "bf16", old)
    assert slow_on(CPU, "bf16-layers", old)
    for device, precision, processor in (
        (CPU, "bf16", new),
        (CPU, "bf16", arm),
        (CPU, "channels-last", old),
        (CPU, "bf16", tmp_path / "missing"),
        (torch.device("cuda"), "bf16", old),
    ):
        assert not slow_on(device, precision, processor)


@pytest.mark.parametrize("slow", [True, False])
def test_the_command_trains_in_the_stated_precision_and_notes_a_slow_one(
    slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def trained(self: Recipe, **options: object) -> Path:
        given.update(options, precision=self.precision)
        return Path("weights")

    monkeypatch.setattr(Recipe, "__call__", trained)
    monkeypatch.setattr(precisions, "slow_on", lambda device, precision: slow and precision == "bf16")
    done = CliRunner().invoke(app, ["train", "fashion-vae", "--precision", "bf16"])
    assert done.exit_code == 0, done.output
    assert given["precision"] == "bf16"
    assert ("slower here than --precision channels-last" in done.stderr) is slow
    CliRunner().invoke(app, ["train", "cifar10-nvae"])
    assert given["precision"] == "channels-last"


def test_the_card_states_the_images_and_their_augmentation(tmp_path: Path) -> None:
    made = card(tmp_path / "made", replace(RECIPE, crop=2, trained_on="ramps (made here)"), steps=1)
    assert "- Data: ramps (made here), the last 8 held out for choosing settings; mirrored, cropped\n" in made
    usual = card(tmp_path / "usual", RECIPE, steps=1)
    licence = "Fashion-MNIST training images (MIT licence)"
    assert f"- Data: {licence}, the last 8 held out for choosing settings; mirrored\n" in usual


@pytest.mark.parametrize("crop", [0, 2])
def test_images_are_cropped_only_where_the_recipe_says_so(tmp_path: Path, crop: int) -> None:
    seen = set()

    def watch(model: nn.Module, x: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
        seen.update(map(tuple, (x[:, 0, 0] * 255).round().int().tolist()))
        return loss(model, x, labels, share)

    card(tmp_path, replace(RECIPE, loss=watch, crop=crop), steps=20)
    padded = np.pad(RAMP, crop, mode="reflect")
    windows = {tuple(padded[start : start + 8].tolist()) for start in range(2 * crop + 1)}
    assert seen == windows | {window[::-1] for window in windows}
