"""Tests the error for a device that this machine does not have."""

from __future__ import annotations

import pytest
import torch

from purebench.core.compute.devices import find_device
from purebench.core.errors import PurebenchError


@pytest.mark.parametrize(("gpus", "known"), [(0, "(cpu)"), (2, "(cpu, cuda, cuda:0, cuda:1)")])
@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta", "cpu,cuda", "xla"])
def test_a_device_that_cannot_be_used_is_refused_in_one_sentence(
    name: str, gpus: int, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(PurebenchError) as error:
        find_device(name)
    told = str(error.value)
    assert told.startswith(f"device: expected a device of this machine {known}, but got {name!r}; use ")
    assert len(told.splitlines()) == 1
    assert "mkldnn" not in told  # torch lists all kinds that it was ever written for


def test_the_cpu_is_always_there() -> None:
    assert find_device("cpu") == torch.device("cpu")
