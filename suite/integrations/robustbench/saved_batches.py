"""Keeps the result of each batch of AutoAttack's parts on the disk, so that a killed evaluation can be resumed.

Each part of AutoAttack seeds itself at every batch, so that a batch depends on its images, labels and settings alone: a
result that is read again is the one that would be computed again. AutoAttack's own state file keeps no adversarial
examples, and repeats a whole attack. Only the images that a batch breaks are kept, each of which is broken once.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PARTS = ("apgd", "apgd_targeted", "fab", "square")
"""Names under which AutoAttack keeps its parts."""
SETTINGS = (
    *("loss", "targeted", "seed", "eps", "norm", "n_restarts", "n_target_classes", "n_iter", "n_iter_orig"),
    *("eot_iter", "n_queries", "p_init", "rescale_schedule"),
)
"""Settings of a part that decide its answer; AutoAttack changes some of them between its attacks."""


class SavedBatches:
    """The results of the batches of one evaluation, in a folder.

    Args:
        folder: The folder, made if needed; it belongs to one evaluation: a model, data set, threat model and versions.
        tell: Called with a sentence if results of an earlier run are found.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda line: None):
        self.folder = folder
        self.read = 0
        folder.mkdir(parents=True, exist_ok=True)
        if count := len(list(folder.glob("*.npz"))):
            tell(f"continues an earlier run: {count} batches are done")

    def attach(self, attack: Any, model: nn.Module) -> None:
        """Let an AutoAttack read and save the results of its batches.

        Args:
            attack: AutoAttack's object.
            model: The attacked model, which decides the images that are broken.
        """
        for name in PARTS:
            part = getattr(attack, name, None)
            if part is not None:
                part.perturb = self._saving(name, part, part.perturb, model)

    def delete(self) -> None:
        """Delete the results, at the end of the evaluation."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # another process has made a file in it
            self.folder.rmdir()

    def _saving(
        self, name: str, part: Any, perturb: Callable[[Tensor, Tensor], Tensor], model: nn.Module
    ) -> Callable[[Tensor, Tensor], Tensor]:
        def saved(x: Tensor, y: Tensor) -> Tensor:
            path = self.folder / f"{_key(name, part, x, y)}.npz"
            if (found := _read(path, x)) is not None:
                self.read += 1
                return found
            adversarial = perturb(x, y)
            with torch.no_grad():
                broken = model(adversarial).argmax(1) != y
            _write(path, broken, adversarial)
            return adversarial

        return saved


def _key(name: str, part: Any, x: Tensor, y: Tensor) -> str:
    settings = {setting: repr(getattr(part, setting)) for setting in SETTINGS if hasattr(part, setting)}
    digest = hashlib.sha256(repr((name, sorted(settings.items()), list(x.shape))).encode())
    for values in (x, y):
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, x: Tensor) -> Tensor | None:
    """Return the saved adversarial images, with the clean image where none was broken; None without a valid file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows, images = torch.as_tensor(file["rows"]), torch.as_tensor(file["images"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    if len(rows) != len(images) or (len(rows) and (images.shape[1:] != x.shape[1:] or int(rows.max()) >= len(x))):
        return None
    found = x.detach().clone()
    found[rows.to(x.device)] = images.to(x)
    return found


def _write(path: Path, broken: Tensor, adversarial: Tensor) -> None:
    """Write the broken images to a file that is either complete or not there."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            rows=torch.nonzero(broken).flatten().cpu().numpy(),
            images=adversarial[broken].detach().cpu().numpy(),
        )
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
