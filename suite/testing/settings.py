"""Defines the settings of a test's claims: from the command line, the ini file, a marker or the claim itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SkipValidation

from purebench.boards.board import Board
from purebench.core.files.validation_errors import Expected
from purebench.core.files.versioned_model import StrictModel, from_plain
from purebench.core.parameters import Fraction


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) else value


Folder = Annotated[Path, BeforeValidator(_path), Expected("a folder")]


class Settings(StrictModel):
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

    store: Folder
    images: Folder
    board: SkipValidation[str | Path | Board] = "fashion-quick"
    confidence: Fraction = 0.95
    max_images: Annotated[int, Field(ge=1)] | None = None
    budget: Annotated[Annotated[float, Field(gt=0)] | None, Expected("minutes, such as 10 or 0.5")] = None
    device: Annotated[str, BeforeValidator(str)] = "cpu"
    undecided: Literal["fail", "skip", "warn"] = "fail"

    def but(self, changes: Mapping[str, object]) -> Settings:
        """Return the settings with other values.

        Args:
            changes: New values by the name of the setting.

        Returns:
            The new settings.

        Raises:
            PurebenchError: For an unknown name (the message names the nearest one) and for a value out of its range.
        """
        return from_plain(Settings, {**vars(self), **changes}, "robustness")
