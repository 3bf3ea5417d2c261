"""Stopping rules: a run may stop after the first block at which the board's rule holds; only blocks up to it count.

The rule is evaluated after every block, in the board's random order of images, and depends only on the records of the
blocks so far. So a run that was interrupted and resumed, or used another number of workers, stops at the same block.
Jobs that parallel workers finished beyond it stay in the store and are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.boards.board import Board, Stop
from purebench.records.outcome import WORST_CASE
from purebench.records.record import Record
from purebench.statistics import Verdict, decided, half_widths

Floats = npt.NDArray[np.float64]
Cells = dict[tuple[str, int], Record]
"""The records of one defense by attack and block."""


@dataclass(frozen=True)
class Ending:
    """The block after which a run may stop.

    Attributes:
        blocks: the number of blocks that count.
        images: the number of their images.
        why: the rule that holds.
    """

    blocks: int
    images: int
    why: str


def ending(board: Board, records: Iterable[Record], begin: int = 1) -> Ending | None:
    """Return the first block after which the board's stopping rule holds; None if there is no such block or no rule.

    Args:
        board: the board.
        records: records of the board, in any order. Rows with at least one record are considered; a block that one of
            them lacks, and all blocks after it, are ignored.
        begin: the number of blocks after which the rule is first evaluated, where earlier blocks were evaluated before.
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
    """Return whether the rule holds after each of these numbers of images."""
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
        if len(shared) < 2 or not shared.shape[1]:
            return False  # nothing was compared
        return all(pair.verdict is not Verdict.OPEN for pair in decided(shared, total, confidence))
    return True


def _values(row: Cells, blocks: int) -> Floats | None:
    """Return the share of correct fresh draws at the picked adversarial examples, [images] of the first blocks.

    An image that ERRORED counts as wrong; NaN where no attack applies. None if no attack applies to any image.
    """
    records = [row[WORST_CASE, block] for block in range(blocks)]
    shares = [share for record in records for share in record.shares]
    values = np.array([np.nan if share is None else share for share in shares])
    return None if np.isnan(values).all() else values
