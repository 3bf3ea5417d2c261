"""Draws the course of a search, and the winner's alphas together with those that need no search."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purebench.latents.tuning.finalists import baselines

if TYPE_CHECKING:
    from purebench.latents.tuning.tune import Tuned

COLOURS = ("#0b6e99", "#c2571a", "#5b8c3a", "#7b4fa0", "#8a6d1f", "#a03b5c")
GREY = "#8a8a8a"


def draw(tuned: Tuned, path: Path) -> None:
    """Write the picture as PNG or SVG, by the ending of the path.

    Args:
        tuned: The search.
        path: The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    _course(left, tuned)
    _lists(right, tuned)
    figure.savefig(path, dpi=130)


def _course(axes: Any, tuned: Tuned) -> None:
    """Draw all values over the number of the evaluation, the best so far as steps, seed points with rings."""
    seeds: list[tuple[int, float]] = []
    for colour, ((how, space), trials) in zip(COLOURS, tuned.searches.items(), strict=False):
        numbers, values = [trial.number + 1 for trial in trials], [100 * trial.value for trial in trials]
        axes.plot(numbers, values, ".", color=colour, alpha=0.45)
        axes.step(
            numbers, list(accumulate(values, max)), where="post", color=colour, label=f"{how}, {space}: best so far"
        )
        seeds += [(trial.number + 1, 100 * trial.value) for trial in trials if trial.name]
    if seeds:
        axes.plot(*zip(*seeds, strict=True), "o", color="none", markeredgecolor="black", label="seed point")
    won = tuned.winner.robust
    axes.axhline(100 * won.value, color=GREY, linestyle="--", label="winner on fresh images")
    axes.axhspan(100 * won.low, 100 * won.high, color=GREY, alpha=0.15, linewidth=0)
    axes.set(
        xlabel="evaluation",
        ylabel="robust accuracy (%)",
        title=f"{tuned.setting.images} images in the search, {won.n} fresh",
    )
    axes.legend(fontsize=8, framealpha=0.9)


def _lists(axes: Any, tuned: Tuned) -> None:
    """Draw the winner's alphas by latent, with the attenuation, against the baselines'."""
    won = tuned.winner.candidate
    factor, latents = tuned.setting.attenuation, range(1, len(won.alphas) + 1)
    axes.bar(
        latents, [factor * alpha for alpha in won.alphas], color=COLOURS[0], alpha=0.6, label=f"winner: {won.name}"
    )
    for style, base in zip(("-", "--", ":"), baselines(len(won.alphas)), strict=True):
        axes.plot(
            latents, [factor * alpha for alpha in base.alphas], style, color="black", linewidth=1, label=base.name
        )
    axes.set(
        xlabel="latent, coarse to fine",
        ylabel="share resampled (alpha × attenuation)",
        title="alphas",
        ylim=(0, 1),
        xticks=list(latents),
    )
    axes.legend(fontsize=8, framealpha=0.9)
