"""Writes the model card of a training: recipe, data, cost, quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from purebench.defenses.training.precision import AUTOCAST
from purebench.defenses.training.state import Budget, State

if TYPE_CHECKING:
    from purebench.defenses.training.loop import Recipe


def card(recipe: Recipe, state: State, figures: dict[str, float], out: Path, budget: Budget) -> None:
    """Write the model card NAME.md.

    Args:
        recipe: the recipe.
        state: the finished training.
        figures: named quality figures.
        out: folder of the card.
        budget: budget of the training.
    """
    device = state.device
    parameters = sum(p.numel() for p in state.model.get_submodule(recipe.kept).parameters())
    threads = f", {torch.get_num_threads()} thread(s)" if device.type == "cpu" else ""
    lines = [
        f"# {recipe.name}",
        "",
        recipe.about,
        "",
        f"- Recipe: `purebench train {recipe.name} {budget} --precision {recipe.precision} --seed {state.seed}"
        f" --device {device}`",
        f"- Source: {recipe.source}",
        f"- Data: {recipe.trained_on}, the last {recipe.held_out:,} held out for choosing settings; mirrored"
        f"{', shifted' if recipe.shift else ''}{', cropped' if recipe.crop else ''}",
        f"- Architecture: `{json.dumps(recipe.architecture)}`, {parameters:,} parameters, stored as fp16"
        f"{'; trained under autocast to bfloat16' if recipe.precision in AUTOCAST else ''}",
        f"- Cost: {state.seconds / 60:.1f} minutes on {device.type}{threads}, {state.step:,} steps"
        f" of {recipe.batch} images",
        "- Licence: MIT, as purebench",
        "",
        "| quality | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in figures.items()),
        "",
    ]
    (out / f"{recipe.name}.md").write_text("\n".join(lines), encoding="utf-8")
