"""Measures of how often searches with the same budget broke defenses with known faults.

`benchmarks/breaking.py` measures them and writes controls.json beside this module. The report of a search quotes them,
because a search that finds no attack is evidence only in so far as such searches find attacks where there are some.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.results.grading.evidence import RECOVERED
from purebench.statistics import clopper_pearson

BUNDLED = Path(__file__).with_name("controls.json")
FACTOR = 10.0
"""Largest ratio of the seconds of a pass between a control of similar cost and the defense."""


@dataclass(frozen=True, kw_only=True)
class MeasuredFault:
    """A search for an attack on a defense with a known fault. All shares are in [0,1].

    Attributes:
        name: Name of the fault.
        random: Whether the defense is random.
        minutes: Time of the search and the confirmation.
        images: Number of dev images, and of images of the confirmation.
        seconds_per_pass: Seconds of a purifier pass of one image; None if the fault was not measured.
        truth: Accuracy of the same model without the fault under the board's attacks, an upper bound of its robust
            accuracy; None if the fault was not measured.
        board: Accuracy that the board's attacks left; None if the fault was not measured.
        confirmed: Accuracy under the attack that was found, on images of the board; None if the fault was not measured.
        command: The command that measured it.
        attack: The attack that was found, in words.
        inner: Whether this attack goes through a part of the defense that classifies images by itself (view `inner`);
            None if that is not known.
    """

    name: str
    random: bool
    minutes: float
    images: int
    seconds_per_pass: float | None = None
    truth: float | None = None
    board: float | None = None
    confirmed: float | None = None
    command: str = ""
    attack: str = ""
    inner: bool | None = None

    @property
    def measured(self) -> bool:
        """True if the search on it was finished."""
        return None not in (self.seconds_per_pass, self.truth, self.board, self.confirmed)

    @property
    def broken(self) -> bool:
        """True if the search left at most `RECOVERED` above the truth."""
        return self.truth is not None and self.confirmed is not None and self.confirmed <= self.truth + RECOVERED


def read_controls(path: Path = BUNDLED) -> list[MeasuredFault]:
    """Read the controls of a file, with those that were not measured; none if there is no file.

    Args:
        path: A file that `benchmarks/breaking.py` wrote.

    Raises:
        PurebenchError: If the file is not as expected.
    """
    if not path.is_file():
        if path == BUNDLED:
            return []
        raise PurebenchError(f"--controls: expected a file of benchmarks/breaking.py, but {path} does not exist.")
    names = {one.name for one in fields(MeasuredFault)}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["controls"]
        return [MeasuredFault(**{key: value for key, value in row.items() if key in names}) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PurebenchError(
            f"--controls: expected a file of benchmarks/breaking.py, but {path} is not one ({error}); write it again."
        ) from error


@dataclass(frozen=True)
class BreakFrequency:
    """The share of controls, similar to a defense, that a budget broke.

    Attributes:
        similar: Controls of the same randomness and of similar cost, measured with no more time.
        measured: Number of all measured controls.
        not_measured: Number of controls of the same randomness that were not measured.
        other_parts: Number of otherwise similar controls that were broken through a part that the defense lacks.
    """

    similar: Sequence[MeasuredFault]
    measured: int
    not_measured: int
    other_parts: int = 0

    @classmethod
    def of(
        cls, controls: Sequence[MeasuredFault], *, random: bool, inner: bool, seconds_per_pass: float, minutes: float
    ) -> BreakFrequency:
        """Select the controls that are similar to a defense.

        Controls that were broken through a part that classifies images by itself say nothing about a defense without
        one. The same holds for broken ones of an earlier file, which does not state it.

        Args:
            controls: All controls.
            random: Whether the defense is random.
            inner: Whether the defense has a part that classifies images by itself.
            seconds_per_pass: Seconds of a purifier pass of one image of the defense.
            minutes: Time of its search and confirmation.
        """
        alike = [one for one in controls if one.random == random]
        similar = [
            one
            for one in alike
            if one.measured
            and one.minutes <= minutes * 1.001
            and 1 / FACTOR <= (one.seconds_per_pass or 0.0) / max(seconds_per_pass, 1e-12) <= FACTOR
        ]
        fitting = [one for one in similar if inner or not one.broken or one.inner is False]
        measured, missing = sum(one.measured for one in controls), sum(not one.measured for one in alike)
        return cls(fitting, measured, missing, len(similar) - len(fitting))

    @property
    def broken(self) -> int:
        """Number of similar controls that were broken."""
        return sum(one.broken for one in self.similar)

    def sentence(self) -> str:
        """Return in words how often controls were broken, with an exact interval of the share."""
        parts = ""
        if self.other_parts:
            told = "were broken through a part that classifies images by itself, which this defense lacks"
            parts = f"{self.other_parts} {told}"
        if not self.similar:
            why = "no controls were measured"
            if self.measured:
                why = f"none of the {self.measured} measured controls is similar{f'; {parts}' if parts else ''}"
            return (
                f"How often this budget breaks defenses with known faults: unknown ({why}). A search that finds "
                "nothing is therefore no evidence of robustness."
            )
        share = clopper_pearson(self.broken, len(self.similar))
        left = f"; {self.not_measured} of the same randomness are not measured" if self.not_measured else ""
        left += f"; not counted: {parts}" if parts else ""
        return (
            f"The same budget or less broke {self.broken} of {len(self.similar)} measured controls of similar cost and "
            f"randomness to within {100 * RECOVERED:.0f} points of their true accuracy ({share.percent()}, 95 % "
            f"{share.method}{left}). A search that finds nothing is no stronger evidence than that."
        )

    def to_dict(self) -> Mapping[str, Any]:
        """Return the numbers as plain JSON values."""
        share = clopper_pearson(self.broken, len(self.similar)).to_dict() if self.similar else None
        return {
            "similar": len(self.similar),
            "broken": self.broken,
            "share": share,
            "not_measured": self.not_measured,
            "other_parts": self.other_parts,
            "told": self.sentence(),
        }
