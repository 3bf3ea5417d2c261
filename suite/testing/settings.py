"""What holds for the claims of a test, from the command line, the ini file, a marker or the claim itself."""

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
    """What holds for all claims of a test unless one says otherwise.

    board: a bundled one, or the path of a board.yaml. confidence: that a claim is decided rightly. max_images: of the
    board, None for all. budget: minutes after which a claim takes no more images, None for any number; what is decided
    then hangs on how fast the machine is. device: cpu, cuda or cuda:0. store: folder of what was found. images: folder
    for the adversarial images of claims that do not hold. undecided: what then happens to the test, fail, skip or warn.
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
        """The same with other values. Raises PurebenchError for a name that there is not, naming the nearest."""
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
