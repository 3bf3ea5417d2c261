"""The command `purebench interval`: computes the confidence interval of an accuracy that was measured elsewhere."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from purebench.core.errors import PurebenchError

COUNT = re.compile(r"(\d{1,7})/(\d{1,7})")
"""Right answers among a number of images, or among the draws of an image: 43/50."""
LARGEST = 2**24
"""Largest file that is read, in bytes."""


def interval(
    accuracy: Annotated[
        str,
        typer.Argument(
            help="Right answers among a number of images, such as 43/50; or a text file with a value in [0,1] for "
            "each image, one per line, in the order in which the images were evaluated (0, 1, 0.75, or 12/16 "
            "right draws).",
        ),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Method of the interval, such as wilson; may be given several times. Default: the method of "
            "boards, clopper-pearson for right and wrong answers and gaffke for fractions of draws. "
            "docs/statistics.md describes all methods.",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level, such as 0.99.")] = 0.95,
) -> None:
    """Compute the confidence interval of an accuracy, such as one from a paper.

    Offers every method of `purebench.statistics`; runs nothing. Example: purebench interval 43/50
    Example: purebench interval 43/50 --method wilson --method jeffreys
    """
    from purebench.core.terminal_output import make_console
    from purebench.statistics import IN_ORDER, interval_method
    from purebench.statistics import interval as estimate

    if not 0 < confidence < 1:
        raise PurebenchError(f"--confidence: expected a number between 0 and 1, such as 0.95, but got {confidence!r}.")
    counted = COUNT.fullmatch(accuracy)
    if not counted and _is_number(accuracy) and not Path(accuracy).exists():
        raise PurebenchError(
            "interval: expected right answers among a number of images, such as 43/50, or a file with a value for each "
            f"image, but got the number {accuracy}; the interval depends on the number of images."
        )
    values = _of_counts(int(counted[1]), int(counted[2])) if counted else _of_file(Path(accuracy))
    methods = method or [interval_method(all(value in (0, 1) for value in values))]
    if counted and (ordered := [name for name in methods if name in IN_ORDER]):
        raise PurebenchError(
            f"--method {ordered[0]}: expected a file with a value for each image, because this interval depends on "
            f"the order of the images, but got {accuracy}; pass a file, or choose another method."
        )
    try:
        found = [estimate(values, name, confidence) for name in methods]
    except ValueError as error:
        raise PurebenchError(f"interval: {error}.") from error
    console = make_console()
    wide = max(len(one.method) for one in found)
    for one in found:
        console.print(f"{one.method:<{wide}}  {one.percent()}", markup=False, highlight=False)
    console.print(f"{100 * confidence:g} % confidence, {len(values)} images", style="dim", highlight=False)


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix("%"))
    except ValueError:
        return False
    return True


def _of_counts(right: int, images: int) -> list[float]:
    if not 0 <= right <= images or images == 0:
        raise PurebenchError(
            "interval: expected at most as many right answers as images, and at least 1 image, but got "
            f"{right}/{images}."
        )
    return [1.0] * right + [0.0] * (images - right)


def _of_file(path: Path) -> list[float]:
    from purebench.core.files.text import read_text, shown

    values = []
    for number, line in enumerate(read_text(path, LARGEST).splitlines(), start=1):
        if not (text := line.strip()):
            continue
        try:
            values.append(float(Fraction(text)) if COUNT.fullmatch(text) else float(text))
        except (ValueError, ZeroDivisionError) as error:
            raise PurebenchError(
                f"{path}, line {number}: expected a number in [0,1] or right draws such as 12/16, but got {shown(text)}"
            ) from error
    if not values:
        raise PurebenchError(f"{path}: expected a value in [0,1] for each image, one per line, but got an empty file.")
    return values
