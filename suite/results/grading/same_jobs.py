"""Decides whether results of a derived board are evidence about a row: the same settings, defense, attacks and code.

Results are joined by the names of rows and attacks, which say nothing about the code behind them. A ladder that was
run before a defense was changed, or controls that were attacked before an attack was changed, must not grade the new
row. Hashes of the code are compared where both results have them; those of earlier versions have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from purebench.boards.derived.controls_board import CONTROLS, TRUTH
from purebench.results.results import DefenseResult

SETTINGS = ("classifier", "threat", "verify", "confidence", "seed", "attack_precision", "channels_last", "compile")
OF_IMAGES = ("use", "block", "seed")


def same_settings(own: Mapping[str, Any], derived: Mapping[str, Any], kind: str) -> bool:
    """Return whether a derived board has the settings of a board; it may have other rows and another number of images.

    Args:
        own: the board, as a result stores it.
        derived: the derived board, likewise.
        kind: the kind of the derived board. That of the controls must have the same attacks.
    """
    images = own.get("dataset", {}), derived.get("dataset", {})
    return (
        all(own.get(name) == derived.get(name) for name in SETTINGS)
        and all(images[0].get(name) == images[1].get(name) for name in OF_IMAGES)
        and (kind != CONTROLS or _attacks(own) == _attacks(derived))
    )


def _attacks(board: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attacks of a board without the one that asks controls for their truth."""
    return {name: attack for name, attack in board.get("attacks", {}).items() if attack.get("use") != TRUTH}


def same_defense(row: DefenseResult, other: DefenseResult) -> bool:
    """Return whether two results are those of the same defense: its spec, weights and code, on the same data."""
    return (
        dict(row.spec) == dict(other.spec)
        and row.weights == other.weights
        and _same_data(row, other)
        and _equal(_code(row).get("defense"), _code(other).get("defense"))
    )


def same_attacks(row: DefenseResult, control: DefenseResult) -> bool:
    """Return whether a control was attacked by the code that attacked the row, on the same data."""
    mine, theirs = _code(row).get("attacks", {}), _code(control).get("attacks", {})
    return _same_data(row, control) and all(_equal(mine.get(name), code) for name, code in theirs.items())


def same_reference(control: DefenseResult, reference: DefenseResult) -> bool:
    """Return whether the reference of a control was evaluated by the code that evaluated the control, on the same data.

    Compared are the code of the board's classifier, of the data set and of purebench, which both share.
    """
    return _same_data(control, reference) and _equal(_code(control).get("shared"), _code(reference).get("shared"))


def _same_data(row: DefenseResult, other: DefenseResult) -> bool:
    """Return whether the images and the versions of all packages but Python are equal."""
    mine, theirs = ({**found.provenance.get("versions", {}), "python": ""} for found in (row, other))
    packages = mine.keys() & theirs.keys()
    return _equal(row.provenance.get("data"), other.provenance.get("data")) and all(
        mine[name] == theirs[name] for name in packages
    )


def _code(result: DefenseResult) -> Mapping[str, Any]:
    found = result.provenance.get("code", {})
    return found if isinstance(found, Mapping) else {}


def _equal(mine: Any, theirs: Any) -> bool:
    """Return whether two facts are equal, as far as both are known."""
    return mine is None or theirs is None or mine == theirs
