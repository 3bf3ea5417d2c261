"""Each test has random images, and may have a backend that counts what it compiles."""

import pytest
import torch

from purebench.core.compute.compiled import networks

from counting_backend import Counting  # isort: skip


@pytest.fixture
def backend(monkeypatch):
    counted = Counting()
    monkeypatch.setattr(networks, "BACKEND", counted)
    return counted


@pytest.fixture(autouse=True)
def images():
    torch.manual_seed(0)
    return torch.rand(70, 1, 6, 6)
