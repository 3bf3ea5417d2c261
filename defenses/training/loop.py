"""One training loop for every recipe: a time budget, checkpoints, resume, a log, a progress bar.

The learning rate follows the share of the budget that is spent (warm-up, then a cosine to zero), so the same recipe
gives the same kind of model on a slow and on a fast machine, smaller in steps or larger.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from purebench.datasets import ImageSet
from purebench.defenses import checkpoints
from purebench.errors import PurebenchError


@dataclass(frozen=True)
class Recipe:
    """How a bundled model is made.

    loss: (model, images [N,C,H,W] in [0,1], labels [N], share of the budget spent in [0,1]) → named scalars, the
    first is minimised. quality: (model, test images, device) → named figures for the model card.
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

    def __call__(
        self, *, out: Path, device: torch.device, minutes: float | None, seed: int, folder: str | None
    ) -> Path:
        """Runs the recipe within `minutes` (None: its own budget); see `train`."""
        return train(
            self,
            out=out,
            device=device,
            minutes=self.minutes if minutes is None else minutes,
            seed=seed,
            folder=folder,
        )


@dataclass
class State:
    """All that a killed training needs to go on."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes the state at once or not at all."""
        scratch = path.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "log": self.log,
                "rng": torch.get_rng_state(),
            },
            scratch,
        )
        scratch.replace(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Takes up a saved state."""
        stored = torch.load(path, map_location=device, weights_only=True)
        self.model.load_state_dict(stored["model"])
        self.average.load_state_dict(stored["average"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.step, self.seconds, self.log = stored["step"], stored["seconds"], stored["log"]
        torch.set_rng_state(stored["rng"].cpu())


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


def train(recipe: Recipe, *, out: Path, device: torch.device, minutes: float, seed: int, folder: str | None) -> Path:
    """Trains, or goes on training, and writes NAME.safetensors, NAME.log.jsonl and the card NAME.md to `out`."""
    if minutes <= 0:
        raise PurebenchError(f"--minutes: expected a number above 0, but got {minutes}.")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    data = recipe.data(split="train", folder=folder)
    images = torch.as_tensor(data.images[: len(data) - recipe.held_out]).to(device)
    labels = torch.as_tensor(data.labels[: len(data) - recipe.held_out]).to(device)
    model = recipe.build(**recipe.architecture).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay, betas=(0.9, 0.99))
    state = State(model, copy.deepcopy(model).requires_grad_(False), optimizer)
    saved = out / f"{recipe.name}.state.pt"
    if saved.exists():
        state.load(saved, device)
    _run(recipe, state, images, labels, saved, minutes * 60)
    model = state.average.eval()
    weights = out / f"{recipe.name}.safetensors"
    checkpoints.save(weights, model, recipe.kind, recipe.architecture)
    (out / f"{recipe.name}.log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in state.log))
    test = recipe.data(split="test", folder=folder)
    figures = recipe.quality(checkpoints.load(str(weights), recipe.kind, recipe.build).to(device), test, device)
    card(recipe, state, figures, out, device, minutes, seed)
    return weights


def _run(recipe: Recipe, state: State, images: Tensor, labels: Tensor, saved: Path, budget: float) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    last_save, last_log = time.monotonic(), time.monotonic()
    with Progress(*columns) as progress:
        bar = progress.add_task(recipe.name, total=budget)
        progress.update(bar, completed=state.seconds)
        while state.seconds < budget:
            began = time.monotonic()
            losses = _step(recipe, state, images, labels, state.seconds / budget)
            state.seconds += time.monotonic() - began
            now = time.monotonic()
            if now - last_log > 10 or state.seconds >= budget:
                row = {name: round(float(value.detach()), 5) for name, value in losses.items()}
                state.log.append({"step": state.step, "seconds": round(state.seconds, 1), **row})
                told = " ".join(f"{name} {value:.4g}" for name, value in row.items())
                progress.update(bar, completed=state.seconds, description=f"{recipe.name} step {state.step} {told}")
                last_log = now
            if now - last_save > 60:
                state.save(saved)
                last_save = now
    state.save(saved)


def _step(recipe: Recipe, state: State, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    for group in state.optimizer.param_groups:
        group["lr"] = recipe.rate * rate_at(share)
    index = torch.randint(0, len(labels), (recipe.batch,)).to(labels.device)
    batch = augment(images[index].float() / 255, recipe.shift)
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


def card(
    recipe: Recipe,
    state: State,
    figures: dict[str, float],
    out: Path,
    device: torch.device,
    minutes: float,
    seed: int,
) -> None:
    """Writes the model card NAME.md: recipe, data, cost, quality."""
    parameters = sum(p.numel() for p in state.model.parameters())
    threads = f", {torch.get_num_threads()} thread(s)" if device.type == "cpu" else ""
    lines = [
        f"# {recipe.name}",
        "",
        recipe.about,
        "",
        f"- Recipe: `purebench train {recipe.name} --minutes {minutes:g} --seed {seed} --device {device}`",
        f"- Source: {recipe.source}",
        "- Data: Fashion-MNIST training images (MIT licence), the last "
        f"{recipe.held_out:,} held out for choosing settings; mirrored{', shifted' if recipe.shift else ''}",
        f"- Architecture: `{json.dumps(recipe.architecture)}`, {parameters:,} parameters, stored as fp16",
        f"- Cost: {state.seconds / 60:.1f} minutes on {device.type}{threads}, {state.step:,} steps of {recipe.batch}",
        "- Licence: MIT, as purebench",
        "",
        "| quality | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in figures.items()),
        "",
    ]
    (out / f"{recipe.name}.md").write_text("\n".join(lines))
