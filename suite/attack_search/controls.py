"""How often the same budget broke defenses with known faults: without that, a failed search is not evidence.

`benchmarks/breaking.py` measures it and writes controls.json beside this module, which the report reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from purebench.core.errors import PurebenchError

BUNDLED = Path(__file__).with_name("controls.json")
CLOSE = 0.05
"""A control counts as broken if the confirmed accuracy is at most this much above the truth."""
FACTOR = 10.0
"""Largest ratio of the seconds of a pass between a control of similar cost and the defense."""


@dataclass(frozen=True)
class Control:
    """A search for an attack on a defense with a known fault.

    Attributes:
        name: Name of the fault.
        random: Whether the defense is random.
        seconds_per_pass: Seconds of a purifier pass of one image.
        minutes: Time of the search and the confirmation.
        images: Number of dev images.
        truth: Accuracy of the same model under attack without the fault, or an upper bound, in [0,1].
        board: Accuracy that the board's attacks left, in [0,1].
        confirmed: Accuracy under the attack that was found, on images of the board, in [0,1].
        command: The command that measured it.
    """

    name: str
    random: bool
    seconds_per_pass: float
    minutes: float
    images: int
    truth: float
    board: float
    confirmed: float
    command: str = ""

    @property
    def broken(self) -> bool:
        """Whether the search came close to the truth."""
        return self.confirmed <= self.truth + CLOSE


def read_controls(path: Path = BUNDLED) -> list[Control]:
    """Read the controls of a file; none if there is no file.

    Args:
        path: A file that `benchmarks/breaking.py` wrote.

    Raises:
        PurebenchError: If the file is not as expected.
    """
    if not path.is_file():
        if path == BUNDLED:
            return []
        raise PurebenchError(f"--controls: expected a file of benchmarks/breaking.py, but {path} does not exist.")
    names = {one.name for one in fields(Control)}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["controls"]
        return [Control(**{key: value for key, value in row.items() if key in names}) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PurebenchError(
            f"--controls: expected a file of benchmarks/breaking.py, but {path} is not one ({error}); write it again."
        ) from error


def similar(controls: Sequence[Control], *, random: bool, seconds_per_pass: float, minutes: float) -> list[Control]:
    """Return the controls of the same randomness and of similar cost that had no more time.

    Args:
        controls: All controls.
        random: Whether the defense is random.
        seconds_per_pass: Seconds of a purifier pass of one image of the defense.
        minutes: Time of its search and confirmation.
    """
    return [
        one
        for one in controls
        if one.random == random
        and one.minutes <= minutes * 1.001
        and 1 / FACTOR <= one.seconds_per_pass / max(seconds_per_pass, 1e-12) <= FACTOR
    ]


def told(controls: Sequence[Control], total: int) -> str:
    """Return in a sentence how often controls were broken.

    Args:
        controls: The similar controls.
        total: Number of all controls, similar or not.
    """
    if not controls:
        why = "no controls were measured" if not total else f"none of the {total} measured controls is similar"
        return (
            f"How often this budget breaks defenses with known faults: unknown ({why}). A search that finds nothing is "
            "therefore no evidence of robustness."
        )
    broken = sum(one.broken for one in controls)
    return (
        f"The same budget or less broke {broken} of {len(controls)} controls of similar cost and randomness (to within "
        f"{100 * CLOSE:.0f} points of their true accuracy). "
        "A search that finds nothing is no stronger evidence than that."
    )
