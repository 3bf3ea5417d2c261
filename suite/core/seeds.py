"""Decides the randomness of jobs: their streams, their purposes, and the generators that are seeded from them.

Each job has a stream, a hash of what its random numbers may depend on: the board's seed, the images and the attack, but
no names and no defense. So equal models meet equal random numbers, and comparisons are paired. Within a job, each
`Purpose` has random numbers of its own; in particular, verification never uses those of the attack.

Randomness outside of jobs has seeds of its own: the order of the images (`balanced_order` in execution/context.py), the
resampling in statistics, the proposals of a search (latents/tuning), the training of models (defenses/training), and
the noise of the diffusion purifiers, which draw a seed for each noise from the job's generator, so that it does not
depend on the batch (defenses/diffusion/chain.py).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Purpose(StrEnum):
    """What random numbers of a job are for.

    Attributes:
        ATTACK: the attack, and the draws of the defense that it sees.
        PLAIN: a pass without an attack, which finds images on which the defense itself fails.
        VERIFY: the draws at the attack's adversarial examples.
        PICK: the draws that choose the worst adversarial example of an image, with the number of the round.
        FRESH: the draws at the picked adversarial examples, which decide the robust accuracy.
        PICTURE: the draws that are shown beside pictures.
    """

    ATTACK = "attack"
    PLAIN = "plain"
    VERIFY = "verify"
    PICK = "pick"
    FRESH = "fresh"
    PICTURE = "picture"


def attack_stream(seed: int, data: str, attack: Mapping[str, Any], source: Mapping[str, Any] | None = None) -> str:
    """Return the stream of an attack job.

    Args:
        seed: the board's seed.
        data: the hash of the images and labels of the block.
        attack: the attack's spec, gradient mode and EOT samples.
        source: the same of the attack whose adversarial examples are used again, None if there is none.
    """
    return hash_of({"seed": seed, "data": data, "attack": attack} | ({} if source is None else {"source": source}))


def worst_case_stream(seed: int, data: str) -> str:
    """Return the stream of a worst-case job; the arguments are those of `attack_stream`."""
    return hash_of({"seed": seed, "data": data, "job": "worst-case"})


def hash_of(values: object) -> str:
    """Return the sha256 of values that JSON can represent, 64 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def seed_of(*words: str) -> int:
    """Return a 63-bit seed that is determined by the words."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(*words: str, device: torch.device | None = None) -> Iterator[int]:
    """Seed torch, numpy and random from the words inside a `with` block; the caller's state is restored at its end.

    Args:
        words: the text that determines the seed.
        device: a device whose generator is seeded besides the CPU's.

    Yields:
        The seed.
    """
    seed = seed_of(*words)
    with at_seed(seed, [device] if device is not None and device.type == "cuda" else []):
        yield seed


@contextmanager
def at_seed(seed: int, devices: Sequence[torch.device | int] | None = None) -> Iterator[None]:
    """Seed torch, numpy and random inside a `with` block; the caller's state is restored at its end.

    Args:
        seed: the seed, below 2^63.
        devices: CUDA devices whose generators are restored besides the CPU's; None for all.
    """
    import numpy as np
    import torch

    forked = list(range(torch.cuda.device_count())) if devices is None else list(devices)
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=forked):
        try:
            if torch.accelerator.is_available():
                torch.manual_seed(seed)
            else:  # torch.manual_seed would note the stack for a CUDA that may come later, which takes milliseconds
                torch.default_generator.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
