"""Out of memory halves the device batch and says so; the answer stays the same."""

from __future__ import annotations

import pytest
import torch

from purebench.batching import DeviceBatch


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
