"""Reports the archives that torchvision downloads to `listing`, so that `purebench fetch` can download them."""

from __future__ import annotations

from pathlib import Path

from purebench.core.errors import Missing
from purebench.core.files.published import LookedUp, note

CIFAR10_BYTES = 170_498_071


def note_cifar10(home: Path) -> None:
    """Report torchvision's archive of CIFAR-10, which it unpacks itself; see `note`.

    Args:
        home: torchvision's folder.

    Raises:
        MissingFiles: within `listing`.
    """
    from torchvision.datasets import CIFAR10

    archive, unpacked = home / CIFAR10.filename, home / CIFAR10.base_folder
    file = Missing(str(archive), CIFAR10.url, CIFAR10_BYTES, f"md5 {CIFAR10.tgz_md5}", "not stated", CIFAR10.url)
    note(LookedUp(file, next((place for place in (unpacked, archive) if place.exists()), None)))
