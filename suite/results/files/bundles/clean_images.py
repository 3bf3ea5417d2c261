"""Compares a bundle with the clean images of its board: the images themselves, and the distances of the examples."""

from __future__ import annotations

from collections.abc import Sequence

from purebench.core.errors import PurebenchError
from purebench.core.threat import ROUNDING
from purebench.data.datasets import Array
from purebench.data.image_set import ImageSet
from purebench.results.files.bundles.bundle import Bundle

DISTANCE_ROUNDING = 1e-4
"""Share of the radius by which a recomputed distance may differ from the claimed one."""


def check_images(bundle: Bundle, images: ImageSet, order: Sequence[int] | Array, data: str) -> None:
    """Check that images are those that a bundle was made with.

    Args:
        bundle: the bundle.
        images: the images of the board, in its order.
        order: their positions in the data set.
        data: the hash of the whole data set.

    Raises:
        PurebenchError: the images, their labels, or their order are not those of the result.
    """
    result = bundle.result
    claimed = result.provenance.get("data")
    count = len(result.images)
    same = list(result.images) == [int(one) for one in order[:count]]
    labels = list(result.labels) == [int(one) for one in images.labels[:count]]
    if claimed != data or not same or not labels:
        raise PurebenchError(
            f"dataset: expected the images that the bundle was made with, {images.name} with the hash "
            f"{str(claimed)[:12]}…, but the hash here is {data[:12]}…, or their order differs; install the same data "
            "set."
        )


def check_examples(bundle: Bundle, images: ImageSet) -> None:
    """Check that the stored examples are inside the threat model, and at the distances that the result claims.

    Args:
        bundle: the bundle.
        images: the images of the board, in its order.

    Raises:
        PurebenchError: an example has another shape than its image, is outside the threat model, or is at another
            distance.
    """
    import torch  # pages of a site are made without it

    rows, threat = bundle.manifest.examples.stored, bundle.board.threat
    if not rows:
        return
    clean = images.take(rows).floats()
    if clean.shape != bundle.examples.shape:
        raise PurebenchError(
            f"examples: expected the shape of the images, {list(clean.shape)}, but got {list(bundle.examples.shape)}; "
            "make the bundle again."
        )
    sizes = threat.size(torch.as_tensor(bundle.examples) - torch.as_tensor(clean)).tolist()
    for row, size in zip(rows, sizes, strict=True):
        image, claimed = bundle.result.images[row], bundle.result.worst_case.distances[row]
        if size > threat.radius * (1 + ROUNDING) + 1e-6:
            raise PurebenchError(
                f"examples: expected adversarial examples within the radius {threat.radius:.6g} ({threat.norm}), but "
                f"that of image {image} is at {size:.6g}; the bundle is invalid."
            )
        if claimed is None or abs(size - claimed) > DISTANCE_ROUNDING * threat.radius + 1e-6:
            raise PurebenchError(
                f"examples: expected image {image} at the distance {claimed} that the result claims, but it is at "
                f"{size:.6g}; the bundle is invalid."
            )
