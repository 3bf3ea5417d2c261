"""One training loop for every recipe: a budget, checkpoints, resume, a log, a progress bar.

The learning rate follows the share of the budget that is spent (warm-up, then a cosine to zero), so the same recipe
gives the same kind of model on a slow and on a fast machine, smaller in steps or larger. A budget in minutes makes the
weights depend on the machine's speed; with one in steps the seed decides them.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from purebench.defenses.training.card import card
from purebench.defenses.training.state import Budget, State

SECONDS_BETWEEN_ROWS = 10.0
SECONDS_BETWEEN_LINES = 20.0
Tell = Callable[[float, str | None], None]
"""tell(share of the budget spent, what to say about it: None for what was said last)"""


@dataclass(frozen=True)
class Recipe:
    """How a bundled model is made.

    loss: (model, images [N,C,H,W] in [0,1], labels [N], share of the budget spent in [0,1]) → named scalars, the
    first is minimised. quality: (model, test images, device) → named figures for the model card. held_out: images at
    the end of the training set that are not trained on. minutes: the budget. save_every: seconds of training that a
    kill may cost. betas: the optimizer's. factors: on the rate, by what parameters' names begin with. around: makes
    what is trained of what `build` made, with a critic, say; kept: the name of the latter therein, which alone is
    stored.
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
    save_every: float = 60.0
    betas: tuple[float, float] = (0.9, 0.99)
    factors: Mapping[str, float] = field(default_factory=dict)
    around: Callable[[nn.Module], nn.Module] | None = None
    kept: str = ""

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
        """Runs the recipe within `minutes` (None: its own budget) or for `steps`; see `train`."""
        minutes = self.minutes if minutes is None else minutes
        return train(self, out=out, device=device, minutes=minutes, seed=seed, folder=folder, steps=steps)


def augment(images: Tensor, shift: int) -> Tensor:
    """Half of the images mirrored; all moved by up to `shift` pixels (the padding is black, so rolling is moving)."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(mirrored.to(images.device), images.flip(-1), images)
    if shift:
        down, right = (int(value) for value in torch.randint(-shift, shift + 1, (2,)))
        images = images.roll((down, right), dims=(-2, -1))
    return images


def rate_at(share: float) -> float:
    """Factor on the learning rate: 3 % linear warm-up, then half a cosine to zero."""
    return min(share / 0.03, 1.0) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def rated(model: nn.Module, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parameters in groups by the factor on their rate: of the first name in `factors` that theirs begins with."""
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
    """Trains, or goes on training, and writes NAME.safetensors, NAME.log.jsonl and the card NAME.md to `out`.

    steps: the budget in steps, instead of minutes. NAME.state.pt in `out` is what a killed training goes on from. The
    caller's generators are left as they were.
    Raises PurebenchError for a folder that cannot be written, too few images, a state that does not fit, or a loss
    that is not finite.
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
                f"{recipe.name}: expected over {recipe.held_out} training images, but got {len(data)}; give more."
            )
        images = torch.as_tensor(data.images[: len(data) - recipe.held_out]).to(device)
        labels = torch.as_tensor(data.labels[: len(data) - recipe.held_out]).to(device)
        model = recipe.build(**recipe.architecture)
        model = (recipe.around(model) if recipe.around else model).to(device)
        optimizer = torch.optim.AdamW(
            rated(model, recipe.factors), lr=recipe.rate, weight_decay=recipe.decay, betas=recipe.betas
        )
        state = State(model, copy.deepcopy(model).requires_grad_(False), optimizer, seed, device)
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
    """A progress bar on a terminal, else a line now and then, so that a log shows the training is alive."""
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
    state.model.train()
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
