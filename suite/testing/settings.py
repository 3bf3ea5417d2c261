"""Defines the settings of a test's claims: from the command line, the ini file, a marker or the claim itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from pathlib import Path

from purebench.boards.board import Board
from purebench.core.errors import PurebenchError, nearest, require_fraction

UNDECIDED = ("fail", "skip", "warn")


@dataclass(frozen=True)
class Settings:
    """Settings of all claims of a test, unless a claim changes them.

    Attributes:
        store: Folder of the results.
        images: Folder for the adversarial images of claims that do not hold.
        board: A bundled board, or the path of a board.yaml.
        confidence: Probability with which a claim is decided correctly, in (0,1).
        max_images: Number of images of the board to evaluate at most, None for all.
        budget: Minutes after which a claim evaluates no more images, None for no limit; the decision then depends on
            the speed of the machine.
        device: cpu, cuda or cuda:0.
        undecided: Effect of an undecided claim on the test: fail, skip or warn.
    """

    store: Path
    images: Path
    board: str | Path | Board = "fashion-quick"
    confidence: float = 0.95
    max_images: int | None = None
    budget: float | None = None
    device: str = "cpu"
    undecided: str = "fail"

    def but(self, changes: Mapping[str, object]) -> Settings:
        """Return the settings with other values.

        Args:
            changes: New values by the name of the setting.

        Returns:
            The new settings.

        Raises:
            PurebenchError: For an unknown name (the message names the nearest one) and for a value out of its range.
        """
        known = [each.name for each in fields(self)]
        for name in changes:
            if name not in known:
                raise PurebenchError(f"robustness: the setting {name!r} is unknown; {nearest(name, known)}")
        made = replace(self, **changes)  # type: ignore[arg-type]
        for name in ("store", "images"):
            if not isinstance(folder := getattr(made, name), str | Path):
                raise PurebenchError(f"{name}: expected a folder, but got {folder!r}.")
        made = replace(made, store=Path(made.store), images=Path(made.images), device=str(made.device))
        if made.undecided not in UNDECIDED:
            raise PurebenchError(f"undecided: expected {', '.join(UNDECIDED)}, but got {made.undecided!r}.")
        require_fraction("confidence", made.confidence, ends=False)
        most = made.max_images
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise PurebenchError(f"max_images: expected a whole number of at least 1, but got {most!r}.")
        minutes = isinstance(made.budget, Real) and not isinstance(made.budget, bool) and 0 < made.budget < math.inf
        if made.budget is not None and not minutes:
            raise PurebenchError(f"budget: expected minutes, such as 10 or 0.5, but got {made.budget!r}.")
        return made
