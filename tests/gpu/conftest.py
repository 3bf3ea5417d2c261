"""The device of the GPU tests."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device named by PUREBENCH_TEST_DEVICE, or else CUDA."""
    name = os.environ.get("PUREBENCH_TEST_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("needs CUDA; PUREBENCH_TEST_DEVICE names another device")
    return torch.device(name)
