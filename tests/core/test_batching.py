"""Out of memory halves the device batch and says so; the answer stays the same."""

from __future__ import annotations

import pytest
import torch

from purebench.core.compute.batching import LARGEST, ROOM, DeviceBatch, fitting
from purebench.core.defense import as_defense


def only(most: int, raised: type[Exception] = torch.OutOfMemoryError):
    def work(part: torch.Tensor) -> tuple[torch.Tensor]:
        if len(part) > most:
            raise raised("out of memory")
        return (part * 2,)

    return work


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_the_answer_does_not_depend_on_the_batch(size: int) -> None:
    (found,) = DeviceBatch(size).map(only(1000), torch.arange(10))
    assert found.tolist() == list(range(0, 20, 2))


@pytest.mark.parametrize("raised", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_halved_until_it_fits_and_noted(raised: type[Exception]) -> None:
    batch = DeviceBatch(100)
    (found,) = batch.map(only(3, raised), torch.arange(10))
    assert found.tolist() == list(range(0, 20, 2))
    assert batch.size == 2
    assert batch.notes == ["out of memory: device batch halved to 5", "out of memory: device batch halved to 2"]


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        DeviceBatch(8).map(only(0), torch.arange(10))


def test_other_errors_pass_through() -> None:
    def work(part: torch.Tensor) -> tuple[torch.Tensor]:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        DeviceBatch(8).map(work, torch.arange(10))


class Wide(torch.nn.Module):
    """A layer that answers with `floats` numbers an image, `times` times."""

    def __init__(self, floats: int, times: int = 1):
        super().__init__()
        self.layer = torch.nn.Linear(4, floats)
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            answer: torch.Tensor = self.layer(x.flatten(1))
        return answer


IMAGE = torch.zeros(1, 1, 2, 2)


def test_small_models_get_the_largest_batch_and_large_ones_what_fits() -> None:
    room = ROOM["cpu"] // 4
    assert fitting(Wide(10), IMAGE) == LARGEST["cpu"]
    assert fitting(Wide(room // 20), IMAGE) == 16  # twenty would fit: the power of two below
    assert fitting(Wide(room // 20, times=5), IMAGE) == 16  # the same layer again is checkpointed
    assert fitting(torch.nn.Sequential(torch.nn.Flatten(), Wide(room // 20)), IMAGE) == 16


def test_a_model_that_cannot_answer_is_left_to_say_so_later() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no answer today")

    assert fitting(as_defense(broken), IMAGE) == LARGEST["cpu"]
    assert not torch.nn.modules.module._global_forward_hooks
