"""When a run may stop, and which blocks then count: the first ones, up to where the board's rule first holds.

The rule is looked at after every block, in the board's random order of images, and what it says depends on the records
of the blocks so far alone. So a run that was killed and resumed, or had other workers, ends at the same block; jobs
that parallel workers did beyond it stay in the store and are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.answers import gather
from purebench.board import Board, Stop
from purebench.errors import PurebenchError
from purebench.records import Outcome, Record
from purebench.statistics import Verdict, decided, half_widths

Floats = npt.NDArray[np.float64]
Cells = dict[tuple[str, int], Record]
"""The records of one defense by attack and block."""


@dataclass(frozen=True)
class Ending:
    """Where a run may stop: after so many blocks, which are so many images, because of `why`."""

    blocks: int
    images: int
    why: str


def ending(board: Board, records: Iterable[Record], begin: int = 1) -> Ending | None:
    """The first block after which the board's rule holds; None if it does not yet, or the board has none.

    records: of the board, in any order. The rows that have any are judged; blocks that one of them lacks, and all after
    it, are not looked at. begin: blocks to look after first, where fewer were looked at before.
    Raises PurebenchError for a random defense with a single draw.
    """
    rule = board.stop
    if rule is None or not rule.early:
        return None
    shown = {defense.name for defense in board.shown}
    rows: dict[str, Cells] = {}
    for record in records:
        if record.board == board.name and record.defense in shown:
            rows.setdefault(record.defense, {})[record.attack, record.block] = record
    attacks = [attack.name for attack in board.attacks]
    whole = (all((a, b) in row for row in rows.values() for a in attacks) for b in range(board.most_blocks))
    blocks = next((number for number, there in enumerate(whole) if not there), board.most_blocks)
    if not rows or blocks < begin:
        return None
    found = [_values(row, attacks, blocks, board) for row in rows.values()]
    values = np.stack([one for one in found if one is not None]) if any(one is not None for one in found) else None
    total = board.images_of(board.most_blocks)
    ends = [board.images_of(number) for number in range(begin, blocks + 1)]
    for number, seen in zip(range(begin, blocks + 1), _first(rule, values, ends, total, board.confidence), strict=True):
        if seen:
            return Ending(number, ends[number - begin], rule.text)
    return None


def _first(rule: Stop, values: Floats | None, ends: Sequence[int], total: int, confidence: float) -> Iterable[bool]:
    """Whether the rule holds after each of these numbers of images."""
    if values is None:
        return (False for _ in ends)
    wide = [half_widths(row[np.newaxis, ~np.isnan(row)], confidence)[0] for row in values]
    return (_holds(rule, values[:, :end], wide, total, confidence) for end in ends)


def _holds(rule: Stop, values: Floats, wide: Sequence[Floats], total: int, confidence: float) -> bool:
    if rule.half_width is not None:
        for row, widths in zip(values, wide, strict=True):
            asked = int((~np.isnan(row)).sum())
            if not asked or widths[asked - 1] > rule.half_width:
                return False
    if rule.decided:
        shared = values[:, ~np.isnan(values).any(axis=0)]
        if not shared.shape[1]:
            return False
        return all(pair.verdict is not Verdict.OPEN for pair in decided(shared, total, confidence))
    return True


def _values(row: Cells, attacks: Sequence[str], blocks: int, board: Board) -> Floats | None:
    """[images] of the first blocks: how often the defense is right under the worst attack; None if none applies."""
    columns: list[tuple[list[Outcome], list[str]]] = []
    for attack in attacks:
        records = [row[attack, block] for block in range(blocks)]
        columns.append(([o for r in records for o in r.outcomes], [d for r in records for d in r.draws]))
    facts = next(iter(row.values()))
    random = bool(facts.provenance.get("defense", {}).get("random", False))
    found = gather(columns, board.draws if random else 1)
    try:
        return None if found is None else found.robust(in_order=True)
    except ValueError as error:
        raise PurebenchError(f"{facts.defense}: {error}") from error
