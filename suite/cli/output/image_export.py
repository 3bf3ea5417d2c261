"""Exports the adversarial examples of a store to npz files and PNG files, one attack after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from purebench.boards.board import Board
from purebench.data.pictures import picture, to_bytes
from purebench.records.outcome import PICKED
from purebench.records.record import Record
from purebench.records.store import Store


def export_images(saved: Store, board: Board, records: Sequence[Record], folder: Path, formats: set[str]) -> list[Path]:
    """Write `DEFENSE/ATTACK.npz` and `DEFENSE/ATTACK/POSITION-CLASS-OUTCOME.png` into a folder.

    An npz holds `images` (float32 [N,C,H,W] in [0,1], exactly as they were verified), `labels` and `positions` in the
    data set (int64 [N]), `attack`, `defense` and `outcome` (text [N]). A PNG file has 8 bits a channel: its rounding
    may undo a perturbation, so that only the npz can be verified again. The attack of the picked adversarial examples,
    which robust accuracy is measured at, is called `worst-case`, and with the bespoke attacks `best-known`; its
    `attack` is the attack that found each image.

    Args:
        saved: The store, open.
        board: The board, whose rows and attacks give the names of the files.
        records: Of the board, in any order.
        folder: Folder to write into.
        formats: "npz", "png" or both.

    Returns:
        The paths of the files written.
    """
    written: list[Path] = []
    for defense in board.shown:
        for name in (*(attack.name for attack in board.attacks), *PICKED):
            those = [one for one in records if (one.defense, one.attack) == (defense.name, name)]
            those.sort(key=lambda one: one.block)
            found = [(one, images) for one in those if (images := saved.adversarial(one.key)) is not None]
            if not found:
                continue
            images = np.concatenate([part for _, part in found])
            told = [image for one, _ in found for image in one.by_image]
            labels = np.array([image.label for image in told], dtype=np.int64)
            positions = np.array([image.image for image in told], dtype=np.int64)
            outcome = np.array([image.outcome.value for image in told])
            attacks = [image.attack for image in told]
            place = folder / defense.name
            place.mkdir(parents=True, exist_ok=True)
            if "npz" in formats:
                written.append(place / f"{name}.npz")
                np.savez_compressed(
                    written[-1],
                    images=images,
                    labels=labels,
                    positions=positions,
                    attack=np.array(attacks),
                    defense=np.full(len(images), defense.name),
                    outcome=outcome,
                )
            if "png" in formats:
                pictures = place / name
                pictures.mkdir(exist_ok=True)
                for image, label, position, word in zip(images, labels, positions, outcome, strict=True):
                    written.append(pictures / f"{position:06}-class{label}-{word}.png")
                    picture(to_bytes(image)).save(written[-1])
    return written
