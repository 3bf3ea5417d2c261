"""Reads the adversarial examples of an evaluation from its store, as tensors together with the clean images."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from purebench.boards.board import Board
from purebench.core.errors import PurebenchError
from purebench.data.adapt import load_images
from purebench.records import store
from purebench.records.outcome import ANSWERED, Outcome
from purebench.records.record import ImageOutcome, Record

if TYPE_CHECKING:
    from torch import Tensor


class AdversarialExamples(NamedTuple):
    """The adversarial examples of one defense, in the board's order of images.

    Images on which the attack ERRORED or was SKIPPED have no adversarial example and are left out.

    Attributes:
        x_adv: the adversarial examples as they were verified, float32 [N,C,H,W] in [0,1].
        x: the clean images, float32 [N,C,H,W] in [0,1].
        y: the true classes, int64 [N].
        outcomes: ROBUST or MISCLASSIFIED for each image.
        attacks: the attack that found each adversarial example.
        positions: the position of each image in the data set.
    """

    x_adv: Tensor
    x: Tensor
    y: Tensor
    outcomes: tuple[Outcome, ...]
    attacks: tuple[str, ...]
    positions: tuple[int, ...]


class StoredExamples:
    """The place of the adversarial examples of an evaluation: a store, and the keys of its jobs.

    Args:
        path: the SQLite file.
        records: the records of the evaluation, in any order.
        close: called when this object is deleted, to remove a temporary store; None for no call.
    """

    def __init__(self, path: Path, records: Iterable[Record], close: Callable[[], object] | None = None):
        self.path = path
        self.keys: dict[tuple[str, str], list[str]] = {}
        for record in sorted(records, key=lambda record: record.block):
            self.keys.setdefault((record.defense, record.attack), []).append(record.key)
        if close is not None:
            weakref.finalize(self, close)

    def read(self, board: Board, defense: str, attack: str) -> AdversarialExamples:
        """Read the adversarial examples of an attack, or the picked ones.

        Args:
            board: the board, whose data set has the clean images.
            defense: the name of the row.
            attack: the name of the attack, or `WORST_CASE`.

        Raises:
            PurebenchError: the store is gone or damaged, it has no example, or the data set has changed.
        """
        if not self.path.is_file():
            raise PurebenchError(
                f"adversarial: expected the store {self.path}, but it no longer exists; evaluate again."
            )
        found: list[ImageOutcome] = []
        images = []
        with store.reading(self.path) as saved:
            records = [_known(saved.get(key), self.path) for key in self.keys.get((defense, attack), [])]
            for record in records:
                answered = [(row, one) for row, one in enumerate(record.by_image) if one.outcome in ANSWERED]
                if answered and (adversarial := saved.adversarial(record.key)) is not None:
                    images.append(adversarial[[row for row, _ in answered]])
                    found += [one for _, one in answered]
        if not found:
            reasons = "; ".join(dict.fromkeys(record.reason for record in records if record.reason))
            why = f" ({reasons})" if reasons else ""
            raise PurebenchError(
                f"adversarial: expected adversarial examples of {attack} on {defense}, but there are none{why}; "
                "choose another attack."
            )
        return _examples(board, records[0].data_hash, found, np.concatenate(images))


def _known(record: Record | None, path: Path) -> Record:
    if record is None:
        raise PurebenchError(f"adversarial: expected all records in {path}, but one was removed; evaluate again.")
    return record


def _examples(
    board: Board,
    data_hash: object,
    found: list[ImageOutcome],
    images: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> AdversarialExamples:
    import torch

    data = load_images(board.dataset.use)
    if data_hash not in (None, data.hash):
        raise PurebenchError(
            f"adversarial: expected an unchanged data set {data.name}, but it has changed; evaluate again."
        )
    positions = [one.image for one in found]
    return AdversarialExamples(
        x_adv=torch.as_tensor(images),
        x=torch.as_tensor(data.take(positions).floats()),
        y=torch.tensor([one.label for one in found]),
        outcomes=tuple(one.outcome for one in found),
        attacks=tuple(one.attack for one in found),
        positions=tuple(positions),
    )
