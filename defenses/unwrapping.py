"""Unwraps the weights of checkpoints as authors publish them, and says what was done.

Files hold a state dict, or a training state with one or several of them: raw weights and their moving average, under
names such as `state_dict`, `model`, `net` or `ema`. Keys may begin with the prefixes of DataParallel or of
torch.compile, weights may be in fp16, and counters of batches may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

AVERAGES = ("ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model")
"""Entries of moving averages, which the authors evaluate; they come before the raw weights."""
WEIGHTS = ("state_dict", "model_state_dict", "model", "net", "params")
PREFIXES = ("module.", "_orig_mod.")
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Unwrapped:
    """Weights of a checkpoint.

    Attributes:
        state: the weights by key.
        notes: what was done to reach them, in words.
    """

    state: dict[str, Any]
    notes: tuple[str, ...] = ()


def unwrap(content: Mapping[str, Any], *prefixes: str) -> Unwrapped:
    """Return the weights of a checkpoint without what they are wrapped in.

    Args:
        content: the content of the file.
        *prefixes: prefixes to remove, besides those of DataParallel and torch.compile, if all keys have them.
    """
    notes: list[str] = []
    state: Mapping[str, Any] = content
    while not any(isinstance(value, Tensor) for value in state.values()):
        entries = [name for name in (*AVERAGES, *WEIGHTS) if isinstance(state.get(name), Mapping)]
        if not entries:
            break
        others = ", ".join(repr(name) for name in entries[1:])
        notes.append(f"took {entries[0]!r}" + (f", not {others}" if others else ""))
        state = state[entries[0]]
    keys = [str(name) for name in state]
    while prefix := next((one for one in (*prefixes, *PREFIXES) if keys and all(k.startswith(one) for k in keys)), ""):
        notes.append(f"removed the prefix {prefix!r}")
        keys = [key.removeprefix(prefix) for key in keys]
    found = dict(zip(keys, state.values(), strict=True))
    halves = sum(
        isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) for value in found.values()
    )
    if halves:
        notes.append(f"converted {halves} tensors of 16 bits to float32")
    return Unwrapped(found, tuple(notes))


def with_counters(unwrapped: Unwrapped, wanted: Mapping[str, Tensor]) -> Unwrapped:
    """Add the counters of batches that old checkpoints lack; nothing that a model in eval mode computes uses them.

    Args:
        unwrapped: the weights.
        wanted: the state dict of the model.
    """
    missing = [name for name in wanted if name.endswith(COUNTER) and name not in unwrapped.state]
    if not missing:
        return unwrapped
    added = {name: torch.zeros((), dtype=torch.long) for name in missing}
    note = f"added {len(missing)} counters of batches (num_batches_tracked), as zeros"
    return Unwrapped({**unwrapped.state, **added}, (*unwrapped.notes, note))
