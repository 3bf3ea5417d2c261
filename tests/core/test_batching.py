"""Tests that out-of-memory errors halve the device batch with a note and leave the result unchanged."""

from __future__ import annotations

import pytest
import torch

from purebench.core.compute.batching import LARGEST, ROOM, DeviceBatch, fitting
from purebench.core.defense import as_defense


def fails_above(most: int, raised: type[Exception] = torch.OutOfMemoryError):
    def work(part: torch.Tensor) -> tuple[torch.Tensor]:
        if len(part) > most:
            raise raised("out of memory")
        return (part * 2,)

    return work


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_the_result_does_not_depend_on_the_batch_size(size: int) -> None:
    (found,) = DeviceBatch(size).map(fails_above(1000), torch.arange(10))
    assert found.tolist() == list(range(0, 20, 2))


@pytest.mark.parametrize("raised", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_the_batch_is_halved_until_it_fits_with_a_note_each_time(raised: type[Exception]) -> None:
    batch = DeviceBatch(100)
    (found,) = batch.map(fails_above(3, raised), torch.arange(10))
    assert found.tolist() == list(range(0, 20, 2))
    assert batch.size == 2
    assert batch.notes == ["out of memory: device batch halved to 5", "out of memory: device batch halved to 2"]


def test_an_image_that_does_not_fit_raises() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        DeviceBatch(8).map(fails_above(0), torch.arange(10))


def test_other_errors_are_not_caught() -> None:
    def work(part: torch.Tensor) -> tuple[torch.Tensor]:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        DeviceBatch(8).map(work, torch.arange(10))


class Wide(torch.nn.Module):
    """A linear layer with `floats` outputs per image, applied `times` times."""

    def __init__(self, floats: int, times: int = 1):
        super().__init__()
        self.layer = torch.nn.Linear(4, floats)
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            answer: torch.Tensor = self.layer(x.flatten(1))
        return answer


IMAGE = torch.zeros(1, 1, 2, 2)


def test_small_models_get_the_largest_batch_and_large_models_a_batch_that_fits() -> None:
    room = ROOM["cpu"] // 4
    assert fitting(Wide(10), IMAGE) == LARGEST["cpu"]
    assert fitting(Wide(room // 20), IMAGE) == 16  # twenty would fit; the next smaller power of two is used
    assert fitting(Wide(room // 20, times=5), IMAGE) == 16  # repeated layers are checkpointed
    assert fitting(torch.nn.Sequential(torch.nn.Flatten(), Wide(room // 20)), IMAGE) == 16


def test_a_failing_model_gets_the_largest_batch_without_an_error() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no answer today")

    assert fitting(as_defense(broken), IMAGE) == LARGEST["cpu"]
    assert not torch.nn.modules.module._global_forward_hooks
