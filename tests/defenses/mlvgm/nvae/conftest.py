"""Fixture for small random files in the layout of NVAE-from-scratch."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import plain_nvae as plain  # isort: skip


@pytest.fixture
def nvae_file(tmp_path):
    """Return a function (name, channels, change) that writes a file and returns its path and its weights.

    The weights are those for temperature 0.6; `change` edits the content before it is written.
    """

    def write(name="plain", channels=3, change=None):
        state = plain.random_state(name, channels)
        file = {
            "epoch": 399,
            "global_step": 1000,
            "configuration": plain.configuration(name, channels),
            "state_dict": plain.random_state(name, channels, seed=1),
            "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-2}]},
            "grad_scaler": {"scale": 1024.0},
            "state_dict_temp=0.6": state,
        }
        if change:
            change(file)
        path = tmp_path / f"{name}.pt"
        torch.save(file, path)
        return path, state

    return write
