"""Determines the order of class folders, on which all labels depend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError, did_you_mean, shown

ORDERS = ("number", "string")
"""`number`: 2 before 10, also within names. `string`: 10 before 2, as torchvision's ImageFolder sorts."""
CURE = (
    "list all classes in the order of the classifier's outputs (classes=[…]), or choose order=number, or "
    "order=string as in torchvision's ImageFolder"
)


def class_names(root: Path, classes: Sequence[str | int] | int | None, order: str | None) -> tuple[str, ...]:
    """Return the names of class folders in the order of their labels.

    Without `order`, names that are all numbers are sorted as numbers, and must then be 0, 1, … or 1, 2, … without a
    gap, unless `classes` gives their number. Other names are sorted as strings if sorting the numbers in them as
    numbers gives the same order, and are an error otherwise.

    Args:
        root: The folder that contains them.
        classes: All names in order, or the number of folders, or None for the folders found.
        order: One of ORDERS, or None.

    Raises:
        PurebenchError: If the order is ambiguous, or folders and `classes` do not match.
    """
    found = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if order is not None and order not in ORDERS:
        raise PurebenchError(f"image-folder: order: {shown(order)} is unknown; {did_you_mean(str(order), ORDERS)}")
    if isinstance(classes, Sequence) and not isinstance(classes, str):
        if order is not None:
            raise PurebenchError("image-folder: expected either classes=[…] or order, but got both; remove order.")
        return _named(root, classes, found)
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int)):
        raise PurebenchError(
            f"image-folder: expected classes as a list of names or a number, but got {shown(classes)}."
        )
    if classes is not None and len(found) != classes:
        raise PurebenchError(
            f"image-folder: expected {shown(classes)} sub-folders in {root}, one per class, but got {len(found)}, "
            "which may shift the labels; create an empty folder for each missing class, remove other folders, or "
            "list all names (classes=[…])."
        )
    if not found:
        raise PurebenchError(
            f"image-folder: expected a sub-folder per class in {root}, but got none; create one per class."
        )
    return _sorted(root, found, order, counted=classes is not None)


def _named(root: Path, classes: Sequence[Any], found: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in classes)
    if wrong := [name for name in names if not isinstance(name, str) or not name]:
        raise PurebenchError(
            f"image-folder: expected classes=[…] to be names of sub-folders, but got {shown(wrong[0])}; put it in "
            "quotes."
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise PurebenchError(
            f"image-folder: expected every class once, but got {twice[0]!r} twice in classes=[…]; remove one."
        )
    if not names or set(found) - set(names):
        raise PurebenchError(
            f"image-folder: expected classes=[…] to contain all sub-folders of {root}, {shown(sorted(found))}, but "
            f"got {shown(list(names))}; list all names."
        )
    return names


def _sorted(root: Path, found: Sequence[str], order: str | None, *, counted: bool) -> tuple[str, ...]:
    by_string, by_number = tuple(sorted(found)), tuple(sorted(found, key=_with_numbers))
    keys = [_with_numbers(name) for name in by_number]
    same = next((i for i, (one, other) in enumerate(pairwise(keys)) if one == other), None)
    if order != "string" and same is not None:
        raise PurebenchError(
            f"image-folder: expected one sub-folder per number in {root}, but {by_number[same]!r} and "
            f"{by_number[same + 1]!r} are the same number; rename one."
        )
    if order is not None:
        return by_string if order == "string" else by_number
    if not all(re.fullmatch("[0-9]+", name) for name in found):
        if by_string != by_number:
            one, other = next((a, b) for a, b in zip(by_string, by_number, strict=True) if a != b)
            raise PurebenchError(
                f"image-folder: the sub-folders of {root} have one order as strings and another as numbers (first "
                f"{one!r} or {other!r}); {CURE}."
            )
        return by_string
    numbers = [int(name) for name in by_number]
    if not counted and numbers not in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
        start = min(numbers[0], 1)
        missing = next(number for number in range(start, start + len(numbers) + 1) if number not in numbers)
        raise PurebenchError(
            f"image-folder: expected consecutive numbers as sub-folders of {root}, but {missing} is missing, which "
            "may shift the labels; create an empty folder for it, or give the number of classes (classes=N) or all "
            "names (classes=[…])."
        )
    return by_number


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """Return a sort key that sorts numbers within names as numbers: text and number alternate."""
    parts = re.split("([0-9]+)", name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
