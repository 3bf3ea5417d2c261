"""Makes the pictures of a job: adversarial examples, purified, and the class that the defense predicts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from purebench.boards.jobs import Job
from purebench.core.answers import check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.seeds import Purpose, seeded
from purebench.data.pictures import png, to_bytes
from purebench.execution.context import Context
from purebench.execution.contract.eager import eagerly
from purebench.records.record import Picture

PICTURES = 4
"""Largest number of pictures of a job."""


@torch.no_grad()
def pictures_of(job: Job, context: Context, adversarial: Tensor, rows: Sequence[int]) -> list[Picture]:
    """Return pictures of the first of these rows; none if the defense fails on them.

    Args:
        job: the job.
        context: the prepared board.
        adversarial: the adversarial images of the block [N,C,H,W].
        rows: the rows with results.
    """
    start = job.block * context.board.dataset.block
    defense, batch = context.pristine(job.defense.name), DeviceBatch(context.device_batch(job.defense.name))
    rows = rows[:PICTURES]
    some = adversarial[list(rows)].to(context.device)

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        purified = defense.purify(images)
        predicted = check_logits(defense.classifier(purified), len(images)).argmax(1)
        return purified[:, 0] if purified.ndim > images.ndim else purified, predicted  # the first vote

    try:
        with eagerly(), seeded(job.stream, Purpose.PICTURE, device=context.device):
            purified, predicted = batch.map(look, some)
    except Exception:  # a random defense may fail on this draw; the pictures affect no result
        return []
    return [
        Picture(
            int(context.order[start + row]),
            int(context.images.labels[start + row]),
            _shot(some[i]),
            _shot(purified[i]),
            int(predicted[i]),
        )
        for i, row in enumerate(rows)
    ]


def _shot(image: Tensor) -> str:
    return png(to_bytes(image.cpu().numpy()))
