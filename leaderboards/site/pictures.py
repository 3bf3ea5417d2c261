"""Pictures of the images of a board, from the bundles of its rows: clean images, adversarial examples, differences.

A bundle is read strictly and nothing that it contains is run. Its pictures are shown only if its result is, byte for
byte, the one on the site, and pixels are encoded again, so that no text or markup of a bundle reaches a page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import complain
from purebench.data.datasets import Array, ImageSet
from purebench.data.ordering import balanced_order
from purebench.data.pictures import png, to_bytes
from purebench.leaderboards.site.cards import slug
from purebench.leaderboards.site.source import BoardSource
from purebench.results.files.bundles.bundle import Bundle, read_bundle
from purebench.results.files.bundles.clean_images import check_examples, check_images
from purebench.results.files.stored_board import at_hand
from purebench.results.files.verdicts import result_hash

CHANNELS = (1, 3)
"""Numbers of channels of an image that can be shown: grey and RGB."""
GREY = 0.5
"""Value of a pixel that an attack did not change, in the picture of a difference."""

Example = tuple[str, str, float]
"""An adversarial example, its difference from the clean image ("" without it), and the largest change of a value."""


@dataclass(frozen=True)
class BoardPictures:
    """The sources of the pictures of a board.

    Attributes:
        bundles: the path and the sha256 of the bundle of each row that has one.
        clean: the clean images of the board in its order; None if they are not on this machine.
    """

    bundles: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    clean: ImageSet | None = None


def find_pictures(
    sources: Sequence[BoardSource], bundles: Sequence[Path], optional: Collection[Path] = ()
) -> dict[str, BoardPictures]:
    """Return the sources of the pictures of each board that has any, by its name.

    Args:
        sources: the boards of the site.
        bundles: files of bundles. One that is not of a result on the site is reported, and left out.
        optional: those that are also reported and left out if they are invalid, such as all files of a folder.

    Raises:
        PurebenchError: a bundle that is not optional is invalid, or contradicts the clean images on this machine.
    """
    found: dict[str, BoardPictures] = {}
    for path in bundles:
        try:
            bundle = read_bundle(path)
            if why := _left_out(bundle, sources):
                complain(f"{path}: {why}; its pictures are left out")
                continue
            found[bundle.board.name] = _added(path, bundle, found.get(bundle.board.name))
        except PurebenchError as error:
            if path not in optional:
                raise
            complain(f"{str(error).rstrip('.')}; its pictures are left out")
    return found


def picture_folder(board: str, row: str | None = None) -> str:
    """Return the folder of the pictures of a row, or of the clean images of its board, relative to the site's root."""
    return f"pictures/{slug(board)}/{'clean' if row is None else f'rows/{slug(row)}'}"


def clean_blocks(source: BoardSource, pictures: BoardPictures) -> Iterator[list[str]]:
    """Yield the clean images of each block of a board as PNG files in base64; nothing if they are not known."""
    if pictures.clean is not None:
        clean, size = pictures.clean.floats(), source.board.dataset.block
        for start in range(0, len(clean), size):
            yield [png(to_bytes(image)) for image in clean[start : start + size]]


def example_blocks(row: str, pictures: BoardPictures) -> Iterator[list[Example | None]]:
    """Yield the adversarial examples of each block of a row; None where an image has none, or it is not in the bundle.

    Args:
        row: a row that has a bundle.
        pictures: the sources of the pictures of its board.

    Raises:
        PurebenchError: the bundle has changed since `find_pictures`.
    """
    path, expected = pictures.bundles[row]
    bundle = read_bundle(path)
    if bundle.hash != expected:
        raise PurebenchError(f"{path}: expected the bundle that was read before, but it has changed; try again.")
    stored = dict(zip(bundle.manifest.examples.stored, bundle.examples, strict=True))
    clean = None if pictures.clean is None else pictures.clean.floats()
    examples = [
        None if (image := stored.get(place)) is None else _example(image, None if clean is None else clean[place])
        for place in range(len(bundle.result.images))
    ]
    size = bundle.board.dataset.block
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def difference(adversarial: Array, clean: Array) -> tuple[Array, float]:
    """Return the picture of a difference, [C,H,W] in [0,1], and the largest change of a value.

    Grey is no change; black and white are changes by the largest one.

    Args:
        adversarial: the adversarial example [C,H,W] in [0,1].
        clean: its clean image [C,H,W] in [0,1].
    """
    change = adversarial - clean
    largest = float(np.abs(change).max(initial=0))
    return (np.full_like(change, GREY) if largest == 0 else GREY + GREY * change / largest), largest


def _example(adversarial: Array, clean: Array | None) -> Example:
    if clean is None:
        return png(to_bytes(adversarial)), "", 0.0
    changed, largest = difference(adversarial, clean)
    return png(to_bytes(adversarial)), png(to_bytes(changed)), round(largest, 6)


def _added(path: Path, bundle: Bundle, known: BoardPictures | None) -> BoardPictures:
    """Return the pictures of a board with those of a bundle, which must not contradict the clean images."""
    try:
        known = known or BoardPictures(clean=_clean(bundle))
        if known.clean is not None:
            check_examples(bundle, known.clean)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error
    return replace(known, bundles={**known.bundles, bundle.result.name: (path, bundle.hash)})


def _clean(bundle: Bundle) -> ImageSet | None:
    """Return the clean images of a board in its order; None if they are not built in, or not on this machine."""
    board = bundle.board
    data = at_hand(board)
    if data is None:
        return None
    order = balanced_order(data.labels, board.dataset.seed)[: board.dataset.images]
    check_images(bundle, data.take(order), order, data.hash)
    return data.take(order)


def _left_out(bundle: Bundle, sources: Sequence[BoardSource]) -> str:
    """Return why the pictures of a bundle are not shown; "" if they are."""
    row, board, channels = bundle.result.name, bundle.board.name, bundle.manifest.examples.shape[0]
    rows = [one.result for source in sources if source.board.name == board for one in source.rows if one.name == row]
    if not rows:
        return f"expected a bundle of a row on the site, but {row} on {board} is not on it"
    if result_hash(rows[0]) != bundle.result_hash:
        return f"expected a bundle of the result on the site, but its result of {row} on {board} is another version"
    if channels not in CHANNELS:
        return f"expected images of 1 or 3 channels, but they have {channels}"
    return ""
