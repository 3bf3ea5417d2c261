"""Merges records into results: all blocks of a defense, in image order.

Boards in progress are supported: a block counts once all attacks of the board have a record for it, so that all numbers
of a defense are over the same images.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from purebench.boards.derived.growing_effort import effort_text
from purebench.core.compute.memory import collector_paused
from purebench.core.errors import PurebenchError
from purebench.core.seeds import hash_of
from purebench.core.warning_codes import WarningCode, joined
from purebench.records.outcome import BEST_KNOWN, WORST_CASE, Outcome
from purebench.records.provenance import COMPILED
from purebench.records.record import Record
from purebench.results.attack_result import AttackResult, WorstCase
from purebench.results.results import DefenseResult
from purebench.results.stopping import ending
from purebench.results.validation import check_result

if TYPE_CHECKING:
    from purebench.boards.board import AttackChoice, Board, DefenseChoice

T = TypeVar("T")

OF_DEFENSE = ("classifier", "dataset", "defense", "purebench")
OF_ATTACK = ("attack", "view", "purebench")
SHARED = ("classifier", "dataset", "purebench")
"""Parts of a job's code that decide the answers of a defense, those that decide how an attack searches, and those that
the rows of a board share with those of the boards derived from it."""


def merge(board: Board, records: Iterable[Record]) -> list[DefenseResult]:
    """Merge records into the results of the board's defenses, in the board's order.

    A defense without a finished block is left out. Records of other boards, defenses and attacks are ignored, and so
    are blocks after the one at which the board's stopping rule holds.

    Args:
        board: the board.
        records: the records, in any order.

    Returns:
        One result per defense.

    Raises:
        PurebenchError: records contradict each other or the board.
    """
    records = list(records)
    end = ending(board, records)
    blocks = board.most_blocks if end is None else end.blocks
    by_job: dict[tuple[str, str, int], Record] = {}
    for record in records:
        if record.board != board.name:
            continue
        job = (record.defense, record.attack, record.block)
        if by_job.setdefault(job, record).key != record.key:
            raise PurebenchError(
                f"{board.name}: expected one record for {record.defense}, {record.attack}, block {record.block}, "
                "but got two with different keys; remove those of an earlier board."
            )
    with collector_paused():
        found = [_of_defense(board, defense, by_job, blocks) for defense in board.shown]
    return [result for result in found if result is not None]


def _of_defense(
    board: Board, defense: DefenseChoice, by_job: Mapping[tuple[str, str, int], Record], counted: int
) -> DefenseResult | None:
    picked = [WORST_CASE, *([BEST_KNOWN] if board.has_bespoke(defense.name) else [])]
    names = [*(attack.name for attack in board.attacks), *picked]
    places = {name: place for place, name in enumerate(names)}
    jobs = [[(defense.name, name, block) for name in names] for block in range(counted)]
    blocks = [[by_job[job] for job in block] for block in jobs if all(job in by_job for job in block)]
    if not blocks:
        return None
    for block in blocks:
        for record in block:
            _require_aligned(record, block[0])
    every = [record for block in blocks for record in block]
    facts = [record.provenance["defense"] for record in every if record.provenance.get("defense")]
    random = bool(_the_one(defense.name, "random", facts, default=False))
    result = DefenseResult(
        board=header_of(board),
        name=defense.name,
        spec=_plain(asdict(defense.use)),
        random=random,
        parameters=int(_the_one(defense.name, "parameters", facts, default=0)),
        weights=str(_the_one(defense.name, "weights", facts, default="")),
        images=_joined(block[0].images for block in blocks),
        labels=_joined(block[0].labels for block in blocks),
        complete=len(blocks) == counted,
        attacks=tuple(
            _of_attack(attack, [block[i] for block in blocks], random) for i, attack in enumerate(board.attacks)
        ),
        worst_case=_worst_case([block[places[WORST_CASE]] for block in blocks]),
        best_known=_worst_case([block[-1] for block in blocks]) if BEST_KNOWN in picked else None,
        provenance=_provenance(board, every),
    )
    try:
        check_result(result)
    except PurebenchError as error:
        raise PurebenchError(f"{defense.name}: {error} Its records contradict each other; run it again.") from error
    return result


def _provenance(board: Board, records: Sequence[Record]) -> dict[str, Any]:
    found = {name: _shared(name, records) for name in ("data", "versions", "commit", "device")}
    pairs = ((record.attack, record.provenance.get("code")) for record in records)
    found |= {"code": code} if (code := code_of_attacks(pairs)) else {}
    if board.compile:  # an uncompiled job has the record, and the key, of a board that compiles nothing
        found[COMPILED] = sorted({name for record in records for name in record.provenance.get(COMPILED, ())})
    return found | ({"effort": effort} if (effort := effort_text(board)) else {})


def code_of_attacks(jobs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return hashes of the code of the defense, of all rows, and of each attack; {} for records without code.

    Records of different code have several hashes, joined by commas.

    Args:
        jobs: the attack and the code of each record, or job, of a defense.
    """
    seen: dict[str, dict[int, Any]] = {}
    for attack, code in jobs:
        if isinstance(code, Mapping) and "attack" in code:  # that of an attack job
            seen.setdefault(attack, {})[id(code)] = code
    found = {attack: _hash_of_parts(codes.values(), OF_ATTACK) for attack, codes in sorted(seen.items())}
    every = [code for codes in seen.values() for code in codes.values()]
    if not found:
        return {}
    return {"defense": _hash_of_parts(every, OF_DEFENSE), "shared": _hash_of_parts(every, SHARED), "attacks": found}


def _hash_of_parts(codes: Iterable[Mapping[str, Any]], parts: Sequence[str]) -> str:
    return ",".join(sorted({hash_of({part: code.get(part) for part in parts})[:16] for code in codes}))


def _of_attack(attack: AttackChoice, records: Sequence[Record], random: bool) -> AttackResult:
    errors = _reasons(records, Outcome.ERRORED)
    phases = sorted({phase for record in records for phase in record.seconds})
    return AttackResult(
        name=attack.name,
        spec=_plain(asdict(attack.use)),
        gradient=attack.gradient,
        eot=attack.eot if random else 1,
        source=None if attack.source is None else _plain(asdict(attack.source)),
        outcomes=_joined(record.outcomes for record in records),
        draws=_joined(record.draws for record in records),
        distances=_finite(_joined(record.distances for record in records)),
        nearest=_finite(_where_any(records, [record.nearest for record in records])),
        claims=_where_any(records, [record.claims for record in records]),
        certified=_finite(_where_any(records, [record.certified for record in records])),
        reasons=tuple(errors),
        skips=tuple(_reasons((record for record in records if not _spares(record)), Outcome.SKIPPED)),
        notes=tuple(dict.fromkeys(note for record in records for note in record.notes)),
        warnings=joined(warning for record in records for warning in record.warnings),
        reason_images=tuple(errors.values()),
        known_right=_where_any(records, [record.known_right for record in records]),
        known_seeds=_seeds(records),
        looks=_where_any(records, [record.looks for record in records]),
        clean_looks=_where_any(records, [record.clean_looks for record in records]),
        truth=_where_any(records, [record.truth for record in records]),
        control=next((record.control for record in records if record.control is not None), None),
        forwards=sum(record.forwards for record in records),
        backwards=sum(record.backwards for record in records),
        pictures=tuple(picture for record in records for picture in record.pictures),
        seconds={phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in phases},
    )


def _worst_case(records: Sequence[Record]) -> WorstCase:
    phases = sorted({phase for record in records for phase in record.seconds})
    return WorstCase(
        picked=_joined(record.picked for record in records),
        outcomes=_joined(record.outcomes for record in records),
        draws=_joined(record.draws for record in records),
        distances=_finite(_joined(record.distances for record in records)),
        reasons=tuple(_reasons(records, Outcome.ERRORED)),
        notes=tuple(dict.fromkeys(note for record in records for note in record.notes)),
        forwards=sum(record.forwards for record in records),
        seconds={phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in phases},
    )


def _seeds(records: Sequence[Record]) -> int:
    """Return the number of seeds of known randomness; the records of one attack agree, or have none."""
    found = sorted({record.known_seeds for record in records if record.known_right})
    if len(found) > 1:
        raise PurebenchError(f"known_seeds: expected the same number in all records, but got {found}.")
    return found[0] if found else 0


def _spares(record: Record) -> bool:
    """Return whether a cascade skipped the attack on some of its images; the warning contains the reason."""
    return any(warning.code is WarningCode.CONDITIONAL for warning in record.warnings)


def _reasons(records: Iterable[Record], outcome: Outcome) -> dict[str, int]:
    """Return the distinct reasons of the images with this outcome, and the number of images of each."""
    told = (
        reason
        for record in records
        for reason, found in zip(record.reasons, record.outcomes, strict=bool(record.reasons))
        if found is outcome and reason
    )
    return dict(Counter(told))


def _finite(distances: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Return the distances, with None in place of those that are not finite."""
    if isfinite(sum(filter(None, distances))):  # a sum with NaN or an infinite value is not finite
        return distances
    return tuple(None if distance is None or not isfinite(distance) else distance for distance in distances)


def _joined(lists: Iterable[Sequence[T]]) -> tuple[T, ...]:
    joined_lists: list[T] = []
    for values in lists:
        joined_lists += values
    return tuple(joined_lists)


def _where_any(records: Sequence[Record], lists: Sequence[Sequence[T | None]]) -> tuple[T | None, ...]:
    """Concatenate the records' lists, with None for the images of a record without one; empty if no record has one."""
    if not any(lists):
        return ()
    return _joined(given or [None] * len(record.images) for record, given in zip(records, lists, strict=True))


def header_of(board: Board) -> dict[str, Any]:
    """Return the board as a result stores it, without the title and the defenses, which do not affect the numbers."""
    kept: dict[str, Any] = _plain(board.to_dict())
    apart = ("title", "about", "defenses", "only_sources", "controls", "effort")
    return {name: value for name, value in kept.items() if name not in apart}


def _plain(value: Any) -> Any:
    """Return the value after a round trip through JSON, so that a merged result equals the one read from its file."""
    return json.loads(json.dumps(value, default=str))


def _the_one(defense: str, name: str, facts: Sequence[Mapping[str, Any]], default: Any) -> Any:
    values = [fact[name] for fact in facts if name in fact]
    if any(value != values[0] for value in values):
        raise PurebenchError(
            f"{defense}: expected the same {name!r} in all its records, but got {values[0]!r} and others; "
            "its weights or code changed between jobs, so run it again."
        )
    return values[0] if values else default


def _shared(name: str, records: Sequence[Record]) -> Any:
    """Return the records' value under this name; different values (of two machines, for example) are joined."""
    different = {id(record.provenance): record.provenance for record in records}.values()  # most records share theirs
    values = {json.dumps(one[name], sort_keys=True) for one in different if name in one}
    found = [json.loads(value) for value in sorted(values)]
    if found and all(isinstance(value, dict) for value in found):
        names = sorted({key for value in found for key in value})
        return {key: ", ".join(sorted({str(value[key]) for value in found if key in value})) for key in names}
    return ", ".join(str(value) for value in found)


def _require_aligned(record: Record, first: Record) -> None:
    lists: list[Sequence[Any]] = [record.labels, record.outcomes, record.draws, record.distances]
    optional: list[Sequence[Any]] = [record.nearest, record.claims, record.certified, record.picked]
    optional += [record.known_right, record.looks, record.clean_looks, record.truth]
    same = record.images == first.images and record.labels == first.labels
    if not same or {*map(len, lists), *map(len, filter(None, optional))} != {len(record.images)}:
        raise PurebenchError(
            f"{record.defense}: expected all attacks of block {record.block} on the same images, "
            f"but {record.attack} and {first.attack} differ; run the block again."
        )
