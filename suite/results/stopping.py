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

from purebench.boards.board import Board, Stop
from purebench.records.record import WORST_CASE, Outcome, Record
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
    """
    rule = board.stop
    if rule is None or not rule.early:
        return None
    shown = {defense.name for defense in board.shown}
    rows: dict[str, Cells] = {}
    for record in records:
        if record.board == board.name and record.defense in shown:
            rows.setdefault(record.defense, {})[record.attack, record.block] = record
    whole = (all((WORST_CASE, b) in row for row in rows.values()) for b in range(board.most_blocks))
    blocks = next((number for number, there in enumerate(whole) if not there), board.most_blocks)
    if not rows or blocks < begin:
        return None
    found = [_values(row, blocks) for row in rows.values()]
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


def _values(row: Cells, blocks: int) -> Floats | None:
    """[images] of the first blocks: the share of right fresh draws at the picked adversarial examples.

    An image that ERRORED counts as wrong; NaN where no attack applies. None where none applies to any image.
    """
    records = [row[WORST_CASE, block] for block in range(blocks)]
    values = np.array(
        [
            np.nan if outcome is Outcome.SKIPPED else draws.count("1") / max(1, len(draws))
            for record in records
            for outcome, draws in zip(record.outcomes, record.draws, strict=True)
        ]
    )
    return None if np.isnan(values).all() else values
