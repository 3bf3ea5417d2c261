"""Checks that a result does not contradict itself or its board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from purebench.boards.board import SOURCE
from purebench.boards.schema import AttackSchema, BoardCore, require_whole
from purebench.boards.schema_fields import NAME
from purebench.core.errors import PurebenchError
from purebench.core.files.names import check_file_name
from purebench.core.files.text import shown
from purebench.core.files.versioned_model import from_plain
from purebench.core.registry import Spec
from purebench.records.answers import is_outcome
from purebench.records.outcome import ANSWERED, Outcome
from purebench.records.validation import check_draws, check_known, check_lengths, check_looks, require_lengths
from purebench.statistics.worst_case.picking import right_draws

if TYPE_CHECKING:
    from purebench.results.attack_result import AttackResult, WorstCase
    from purebench.results.results import DefenseResult

TOLERANCE = 1e-3
"""Share of the radius by which a distance may exceed it because of rounding, as in verification."""


def check_result(result: DefenseResult) -> None:
    """Check a result against itself and its board: the attacks, images, draws, outcomes and distances.

    Raises:
        PurebenchError: the result contradicts itself or its board.
    """
    board = from_plain(BoardCore, dict(result.board), "board")
    require_whole(board, result.board)
    _require_spec(result.spec, None, "spec")
    _check_provenance(result.provenance)
    _check_images(result, board)
    names = [attack.name for attack in result.attacks]
    if len(set(names)) < len(names):
        raise PurebenchError("attacks: expected each attack once, but got one twice.")
    if missing := [name for name in board.attacks if name not in names]:
        raise PurebenchError(f"attacks: expected every attack of the board, but {shown(missing[0])} is missing.")
    for attack in result.attacks:
        if attack.name not in board.attacks:
            raise PurebenchError(f"attacks: expected attacks of the board, but {shown(attack.name)} is not on it.")
        try:
            _check_attack(result, attack, board.attacks[attack.name], board)
        except PurebenchError as error:
            raise PurebenchError(f"attacks.{attack.name}.{error}") from error
    _check_picks(result, board, "worst_case", result.worst_case, result.common)
    if result.challenged is not None:
        raise PurebenchError("challenged: expected the history of challenges beside a result, not in its file.")
    bespoke = any(result.name in (attack.rows or ()) for attack in board.attacks.values())
    if bespoke != (result.best_known is not None):
        raise PurebenchError("best_known: expected picks if and only if an attack of the board is bespoke to the row.")
    if result.best_known is not None:
        _check_picks(result, board, "best_known", result.best_known, result.attacks)


def _check_provenance(provenance: Mapping[str, Any]) -> None:
    """Raise PurebenchError if versions or hashes of code are not texts by name; both may be missing."""
    versions, code = (provenance.get(name) or {} for name in ("versions", "code"))
    tables = {"versions": versions, "code": code}
    if isinstance(code, Mapping):
        attacks = code.get("attacks") or {}
        tables |= {"code": {name: one for name, one in code.items() if name != "attacks"}, "code.attacks": attacks}
    for name, table in tables.items():
        if not isinstance(table, Mapping) or not all(isinstance(one, str) for one in table.values()):
            raise PurebenchError(f"provenance.{name}: expected a text for each name, but got {shown(table)}.")


def _check_picks(
    result: DefenseResult, board: BoardCore, where: str, worst: WorstCase, attacks: Sequence[AttackResult]
) -> None:
    """Raise PurebenchError if the picks and scores contradict the attacks, the draws or the board."""
    robust = Outcome.ROBUST
    answered = {attack.name: attack.outcomes for attack in attacks}
    lists = {"picked": worst.picked, "outcomes": worst.outcomes, "draws": worst.draws, "distances": worst.distances}
    try:
        require_lengths(len(result.images), lists, {})
        check_draws(worst.outcomes, worst.draws, board.verify.fresh if result.random else 1)
        _check_distances(worst.distances, board)
        if result.random and _picks_agree(worst, attacks):
            return
        for row, (name, outcome) in enumerate(zip(worst.picked, worst.outcomes, strict=True)):
            if (name is not None) != (outcome in ANSWERED):
                raise PurebenchError(f"picked[{row}]: {shown(name)} contradicts the outcome {outcome}.")
            if name is not None and (name not in answered or answered[name][row] not in ANSWERED):
                raise PurebenchError(
                    f"picked[{row}]: expected an attack of this result that is robust or misclassified on this image, "
                    f"but got {shown(name)}."
                )
            if name is not None and not result.random and outcome is not answered[name][row]:
                raise PurebenchError(
                    f"outcomes[{row}]: expected {answered[name][row]}, the outcome under {name} of a deterministic "
                    f"defense, but got {outcome}."
                )
            if result.random or outcome is not robust:
                continue
            if wrong := [attack for attack, found in answered.items() if found[row] is Outcome.MISCLASSIFIED]:
                raise PurebenchError(
                    f"outcomes[{row}]: robust contradicts {shown(wrong[0])}, under which the image is misclassified."
                )
    except PurebenchError as error:
        raise PurebenchError(f"{where}.{error}") from error


def _picks_agree(worst: WorstCase, attacks: Sequence[AttackResult]) -> bool:
    """Return whether exactly the answered images have a pick, of an attack that answered; `_check_picks` names others.

    The checks of a deterministic defense are not included.
    """
    if not attacks:
        return False
    none = len(attacks)  # no pick
    places: dict[str | None, int] = {None: none} | {attack.name: place for place, attack in enumerate(attacks)}
    picked = np.fromiter(map(places.get, worst.picked, repeat(-1)), np.intp, len(worst.picked))
    answered = is_outcome(worst.outcomes, *ANSWERED)
    counts = np.stack([attack.has(*ANSWERED) for attack in attacks])
    rows = np.flatnonzero(answered)
    known = (picked >= 0).all() and np.array_equal(picked != none, answered)
    return bool(known and counts[picked[rows], rows].all())


def check_name(name: str) -> None:
    """Check that a name is a valid name of a defense in a file.

    Raises:
        PurebenchError: the name is not valid.
    """
    check_file_name(name, "name")
    if not NAME.fullmatch(name):
        raise PurebenchError(f"name: expected a name of letters, digits and . _ + -, but got {shown(name)}.")


def _check_images(result: DefenseResult, board: BoardCore) -> None:
    check_lengths(result.images, {"labels": result.labels}, {})
    count, images, block = len(result.images), board.dataset.images, board.dataset.block
    most, early = images, False
    if (stop := board.stop) is not None:
        early = stop.half_width is not None or stop.decided
        if stop.max_images is not None and stop.max_images < images:
            most = max(1, stop.max_images // block) * block
    most = min(most, images)
    if not 0 < count <= most or count % block not in (0, images % block):
        raise PurebenchError(f"images: expected whole blocks of {block} up to {most} images, but got {count}.")
    if not early and result.complete != (count == most):
        raise PurebenchError(f"complete: {str(result.complete).lower()} contradicts {count} of {most} images.")


def _check_attack(result: DefenseResult, attack: AttackResult, board: AttackSchema, whole: BoardCore) -> None:
    _require_spec(attack.spec, board.use, "spec")
    source = None if board.source is None else board.source.model_dump()
    expected: dict[str, Any] = {
        "gradient": board.gradient,
        "eot": board.eot if result.random else 1,
        "source": source,
    }
    for name, value in expected.items():
        found = getattr(attack, name)
        if found != value:
            raise PurebenchError(f"{name}: expected the board's value, {shown(value)}, but got {shown(found)}.")
    lists = {"outcomes": attack.outcomes, "draws": attack.draws, "distances": attack.distances}
    optional: dict[str, Sequence[Any]] = {
        "nearest": attack.nearest,
        "claims": attack.claims,
        "certified": attack.certified,
    }
    optional |= {"known_right": attack.known_right, "looks": attack.looks, "clean_looks": attack.clean_looks}
    optional |= {"truth": attack.truth}
    require_lengths(len(result.images), lists, optional)
    check_known(attack.known_right, attack.known_seeds)
    check_looks(attack.looks, attack.clean_looks)
    if attack.looks and not board.counters:
        raise PurebenchError("looks: expected none, because the board does not have the looks of this attack counted.")
    if not _draws_agree(result, attack):
        check_draws(attack.outcomes, attack.draws, whole.verify.draws if result.random else 1)
    if board.only not in ("all", SOURCE, "random" if result.random else "deterministic") and not attack.skipped:
        raise PurebenchError(f"outcomes: expected {Outcome.SKIPPED}, as the attack is for {board.only} defenses only.")
    if board.rows and result.name not in board.rows and not attack.skipped:
        raise PurebenchError(
            f"outcomes: expected {Outcome.SKIPPED}, as the attack is bespoke to {', '.join(board.rows)}."
        )
    _check_distances(attack.distances, whole)
    _check_pictures(result, attack)


def _draws_agree(result: DefenseResult, attack: AttackResult) -> bool:
    """Return True if all images are answered and the outcomes agree with the draws; else `check_draws` decides."""
    if not attack.has(*ANSWERED).all() or len(attack.draws) != len(attack.outcomes):
        return False
    try:
        right = result.right(attack)
    except ValueError:  # another number of draws
        return False
    majority = 2 * right_draws(right[np.newaxis])[0] > right.shape[1]
    return bool((majority == attack.has(Outcome.ROBUST)).all())


def _check_distances(distances: Sequence[float | None], board: BoardCore) -> None:
    furthest = board.threat.model.radius * (1 + TOLERANCE)
    if max(filter(None, distances), default=0.0) <= furthest + 1e-6:
        return
    for row, distance in enumerate(distances):
        if distance is not None and distance > furthest + 1e-6:
            raise PurebenchError(f"distances[{row}]: expected at most the radius, {furthest:.6g}, but got {distance}.")


def _check_pictures(result: DefenseResult, attack: AttackResult) -> None:
    if not attack.pictures:
        return
    labels = dict(zip(result.images, result.labels, strict=True))
    for row, picture in enumerate(attack.pictures):
        if labels.get(picture.image) != picture.label:
            raise PurebenchError(
                f"pictures[{row}]: expected an image of the result with its label, but got image {picture.image} with "
                f"label {picture.label}."
            )


def _require_spec(spec: Any, expected: Spec | None, name: str) -> None:
    """Raise PurebenchError unless the plain values are a spec, and equal to the expected one."""
    if set(spec) != {"name", "params"} or not isinstance(spec["name"], str) or not isinstance(spec["params"], dict):
        raise PurebenchError(f"{name}: expected a name and params, but got {shown(dict(spec))}.")
    if expected is not None and Spec(spec["name"], spec["params"]) != expected:
        raise PurebenchError(
            f"{name}: expected the board's value, {shown(str(expected))}, but got {shown(dict(spec))}."
        )
