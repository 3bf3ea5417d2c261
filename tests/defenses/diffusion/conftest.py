"""Fixtures for a small smooth noise predictor and its images."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from smooth_network import Smooth  # isort: skip


@pytest.fixture
def network() -> Smooth:
    return Smooth().requires_grad_(False)


@pytest.fixture
def x() -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
