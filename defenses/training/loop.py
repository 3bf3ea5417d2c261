"""The training loop of all recipes: budget, checkpoints, resuming, log, progress bar.

The learning rate follows the share of the budget that is spent (warm-up, then a cosine to zero), so a recipe produces
the same kind of model on slow and fast machines, after fewer or more steps. With a budget in minutes the weights depend
on the machine's speed; with a budget in steps the seed determines them.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.data.adapt import as_image_set
from purebench.data.datasets import ImageSet
from purebench.defenses import checkpoints
from purebench.defenses.training.augmentation import augment as augment
from purebench.defenses.training.augmentation import cropped
from purebench.defenses.training.card import card
from purebench.defenses.training.precision import Precision, autocast, prepared
from purebench.defenses.training.state import Budget, State

SECONDS_BETWEEN_ROWS = 10.0
SECONDS_BETWEEN_LINES = 20.0
Tell = Callable[[float, str | None], None]
"""tell(share of the budget spent, text, or None to keep the last text)"""


@dataclass(frozen=True)
class Recipe:
    """Recipe of a bundled model.

    Attributes:
        name: name of the weights and of the files.
        kind: kind of the model, written to the header of the weights.
        build: builds the model; called with `architecture`.
        architecture: arguments of `build`.
        loss: (model, images [N,C,H,W] in [0,1], labels [N], share of the budget spent in [0,1]) → named scalars, of
            which the first is minimised.
        quality: (model, test images, device) → named figures for the model card.
        about: description of the model, for the card.
        source: source of the method, for the card.
        data: returns the images of a split.
        batch: images of a step.
        rate: learning rate.
        decay: weight decay.
        ema: factor of the moving average of the weights.
        shift: largest shift of the images in pixels, for augmentation.
        held_out: images at the end of the training set that are not trained on.
        minutes: the budget.
        steps: the budget in steps, instead of minutes.
        save_every: seconds of training between two checkpoints; an interruption loses at most this much.
        betas: betas of the optimizer.
        factors: factors on the learning rate, by prefix of the parameters' names.
        around: wraps the built model in the module that is trained, for example together with a critic.
        kept: name of the built model inside that module; only this model is stored.
        crop: pixels that images are padded by (reflected) before each is cropped at random, for augmentation.
        precision: precision of the loss, see `Precision`.
        trained_on: the training images and their licence in words, for the card.
    """

    name: str
    kind: str
    build: Callable[..., nn.Module]
    architecture: dict[str, Any]
    loss: Callable[[nn.Module, Tensor, Tensor, float], dict[str, Tensor]]
    quality: Callable[[nn.Module, ImageSet, torch.device], dict[str, float]]
    about: str
    source: str
    data: Callable[..., ImageSet]
    batch: int = 128
    rate: float = 1e-3
    decay: float = 1e-4
    ema: float = 0.999
    shift: int = 0
    held_out: int = 5000
    minutes: float = 25.0
    steps: int | None = None
    save_every: float = 60.0
    betas: tuple[float, float] = (0.9, 0.99)
    factors: Mapping[str, float] = field(default_factory=dict)
    around: Callable[[nn.Module], nn.Module] | None = None
    kept: str = ""
    crop: int = 0
    precision: Precision = "float32"
    trained_on: str = "Fashion-MNIST training images (MIT licence)"

    def __call__(
        self,
        *,
        out: Path,
        device: torch.device,
        minutes: float | None,
        seed: int,
        folder: str | None,
        steps: int | None = None,
    ) -> Path:
        """Run the recipe within `minutes` or for `steps` (both None: its own budget); see `train`.

        Args:
            out: folder of the results.
            device: device of the training.
            minutes: budget in minutes.
            seed: seed of the training.
            folder: folder of the data set.
            steps: budget in steps, instead of minutes.

        Returns:
            The path of the weights.
        """
        steps = self.steps if steps is None and minutes is None else steps
        minutes = self.minutes if minutes is None else minutes
        return train(self, out=out, device=device, minutes=minutes, seed=seed, folder=folder, steps=steps)

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine the training, apart from its functions and budget, as plain values."""
        functions = {"build", "loss", "quality", "data", "around"}
        without = functions | {"about", "source", "trained_on", "minutes", "steps", "save_every"}
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in without}


def rate_at(share: float) -> float:
    """Return the factor on the learning rate: 3 % linear warm-up, then half a cosine to zero."""
    return min(share / 0.03, 1.0) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def rated(model: nn.Module, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Group the parameters by the factor on their learning rate.

    Args:
        model: the model.
        factors: factors by prefix of the parameters' names; the first prefix that matches counts.

    Returns:
        Parameter groups for the optimizer.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = next((factors[start] for start in factors if name.startswith(start)), 1.0)
        groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def train(
    recipe: Recipe,
    *,
    out: Path,
    device: torch.device,
    minutes: float,
    seed: int,
    folder: str | None,
    steps: int | None = None,
) -> Path:
    """Train a model, or resume its training, and write the results.

    It writes NAME.safetensors, NAME.log.jsonl and the card NAME.md to `out`. An interrupted training resumes from
    NAME.state.pt in `out`. The state of the caller's random generators is restored.

    Args:
        recipe: the recipe.
        out: folder of the results.
        device: device of the training.
        minutes: budget in minutes of training time.
        seed: seed of the training.
        folder: folder of the data set.
        steps: budget in steps, instead of minutes.

    Returns:
        The path of the weights.

    Raises:
        PurebenchError: If the folder cannot be written, there are too few images, a saved state does not fit, or a loss
            is not finite.
    """
    budget = Budget(minutes, steps)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PurebenchError(f"--out: expected a folder to write to, but got {out} ({error}).") from error
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _progress(recipe.name) as tell:
        torch.manual_seed(seed)
        data = as_image_set(recipe.data(split="train", folder=folder), recipe.name)
        if len(data) <= recipe.held_out:
            raise PurebenchError(
                f"{recipe.name}: expected more than {recipe.held_out} training images, but got {len(data)}; pass more."
            )
        images = torch.as_tensor(data.images[: len(data) - recipe.held_out]).to(device)
        labels = torch.as_tensor(data.labels[: len(data) - recipe.held_out]).to(device)
        model = recipe.build(**recipe.architecture)
        model = (recipe.around(model) if recipe.around else model).to(device)
        model = prepared(model, recipe.precision)
        optimizer = torch.optim.AdamW(
            rated(model, recipe.factors), lr=recipe.rate, weight_decay=recipe.decay, betas=recipe.betas
        )
        settings = {**recipe.settings(), "budget": str(budget), "device": device.type}
        state = State(model, copy.deepcopy(model).requires_grad_(False), optimizer, seed, device, settings)
        saved = out / f"{recipe.name}.state.pt"
        if saved.exists():
            state.load(saved)
        _run(recipe, state, images, labels, saved, budget, tell)
        weights = out / f"{recipe.name}.safetensors"
        checkpoints.save(weights, state.average.get_submodule(recipe.kept), recipe.kind, recipe.architecture)
        (out / f"{recipe.name}.log.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in state.log), encoding="utf-8"
        )
        tell(1.0, "measuring its quality on the test images")
        test = as_image_set(recipe.data(split="test", folder=folder), recipe.name)
        figures = recipe.quality(checkpoints.load(str(weights), recipe.kind, recipe.build).to(device), test, device)
        card(recipe, state, figures, out, budget)
    return weights


@contextmanager
def _progress(name: str) -> Iterator[Tell]:
    """Show a progress bar on a terminal, else print a line now and then, so that a log shows that training goes on."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=1.0)
        last = -math.inf

        def tell(share: float, text: str | None) -> None:
            nonlocal last
            bar.update(task, completed=share)
            if text is None:
                return
            bar.update(task, description=f"{name} {text}")
            if not console.is_terminal and (share >= 1 or time.monotonic() - last > SECONDS_BETWEEN_LINES):
                print(f"{name} {min(share, 1):.0%}, {text}", file=sys.stderr, flush=True)
                last = time.monotonic()

        yield tell


def _run(recipe: Recipe, state: State, images: Tensor, labels: Tensor, saved: Path, budget: Budget, tell: Tell) -> None:
    last_save = last_row = time.monotonic()
    tell(share := budget.share(state), f"step {state.step}")
    while share < 1:
        began = time.monotonic()
        losses = _step(recipe, state, images, labels, share)
        now = time.monotonic()
        state.seconds += now - began
        share = budget.share(state)
        tell(share, None)
        saves = share >= 1 or now - last_save >= recipe.save_every
        if saves or now - last_row > SECONDS_BETWEEN_ROWS:
            row = {name: round(float(value.detach()), 5) for name, value in losses.items()}
            if not all(math.isfinite(value) for value in row.values()):
                raise PurebenchError(f"{recipe.name}: expected finite losses, but got {row}; train at a lower rate.")
            state.log.append({"step": state.step, "seconds": round(state.seconds, 1), **row})
            tell(share, f"step {state.step} " + " ".join(f"{name} {value:.4g}" for name, value in row.items()))
            last_row = now
        if saves:
            state.save(saved)
            last_save = now


def _step(recipe: Recipe, state: State, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    for group in state.optimizer.param_groups:
        group["lr"] = group.get("factor", 1.0) * recipe.rate * rate_at(share)
    index = torch.randint(0, len(labels), (recipe.batch,)).to(labels.device)
    batch = augment(images[index].float() / (1 if images.is_floating_point() else 255), recipe.shift)
    batch = cropped(batch, recipe.crop) if recipe.crop else batch
    state.model.train()
    with autocast(state.device, recipe.precision):
        losses = recipe.loss(state.model, batch, labels[index], share)
    state.optimizer.zero_grad(set_to_none=True)
    next(iter(losses.values())).backward()  # type: ignore[no-untyped-call]
    losses["norm"] = nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
    state.optimizer.step()
    state.step += 1
    keep = min(recipe.ema, state.step / (state.step + 10))
    with torch.no_grad():
        for mean, new in zip(state.average.state_dict().values(), state.model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - keep)
            else:
                mean.copy_(new)
    return losses
