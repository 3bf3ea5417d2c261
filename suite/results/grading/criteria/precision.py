"""Grades the precision of an evaluation: images, draws, and the width of the interval."""

from __future__ import annotations

from purebench.results.grading.criteria.cures import Cures
from purebench.results.grading.criteria.letters import PartGrade, ordered
from purebench.results.grading.criteria.thresholds import DRAWS, HALF_WIDTH, IMAGES
from purebench.results.results import DefenseResult


def precision(result: DefenseResult, cures: Cures) -> PartGrade:
    """Return the letter of the precision of an evaluation.

    Args:
        result: the result of the defense.
        cures: the commands for the row.
    """
    images = len(result.images)
    found = [IMAGES.reason(images, f"{images} images", cures.more(int(IMAGES.better(images)[1])))]
    width = half_width(result)
    if width is not None:
        shrink = (width / HALF_WIDTH.better(width)[1]) ** 2  # the width falls with the root of the number of images
        cure = cures.more(round(images * max(1.0, shrink)))
        found.append(HALF_WIDTH.reason(width, f"interval of ± {100 * width:.1f} points", cure))
    if result.random:
        draws = min(result.draws, result.fresh_draws)
        more = [max(int(DRAWS.better(draws)[1]), known) for known in (result.draws, result.fresh_draws)]
        cure = cures.change(f"verify: {{draws: {more[0]}, fresh: {more[1]}}}")
        found.append(DRAWS.reason(draws, f"{draws} draws", cure))
    return PartGrade("precision", ordered(found))


def half_width(result: DefenseResult) -> float | None:
    """Return half of the width of the interval of robust accuracy, or of its bounds; None without an attack."""
    if not result.attacked:
        return None
    if result.robust is not None:
        return result.robust.half_width
    return None if result.bounds is None else (result.bounds[1].high - result.bounds[0].low) / 2
