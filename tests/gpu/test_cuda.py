"""Tests that need a GPU, run by `tools/gpu.sh tests`; they must also pass on other devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from purebench.boards.board import Board
from purebench.boards.parse import parse_board
from purebench.core.compute.batching import DeviceBatch, fitting
from purebench.core.seeds import seeded
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.records.outcome import Outcome
from purebench.records.record import Record

pytestmark = pytest.mark.gpu
BOARD = """
name: small
dataset: {use: fashion-mnist, images: 32, block: 16}
classifier: fashion-resnet
threat: {norm: linf, radius: 8/255}
verify: {draws: 16}
attacks:
  clean: {use: clean}
  apgd: {use: apgd(steps=4), gradient: exact, eot: 2}
defenses: {none: none, blur: gaussian-blur(sigma=1.0), noise: gaussian-noise(sigma=0.1), vae: vae}
"""


@pytest.fixture(scope="module")
def board() -> Board:
    return parse_board(yaml.safe_load(BOARD))


@pytest.fixture(scope="module")
def found(board: Board, device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Record]]:
    """The records of the board on the CPU and on the device, by name of the device."""
    folder = tmp_path_factory.mktemp("stores")
    return {name: run_board(board, folder / name, device=name, workers=1)[1] for name in {"cpu", str(device)}}


def right(records: list[Record], defense: str, attack: str) -> np.ndarray:
    """Returns whether each verification draw was right, bool [images, draws]."""
    draws = [row for one in records if (one.defense, one.attack) == (defense, attack) for row in one.draws]
    return np.array([[draw == "1" for draw in row] for row in draws])


def test_no_job_fails_on_the_device(found: dict[str, list[Record]], device: torch.device) -> None:
    assert [record.reason for record in found[str(device)] if Outcome.ERRORED in record.outcomes] == []


@pytest.mark.parametrize("defense", ["none", "blur", "vae"])
def test_deterministic_logits_agree_with_the_cpu(board: Board, device: torch.device, defense: str) -> None:
    """Both use float32: convolutions in TF32 on a GPU would differ by a hundred times more."""
    there, here = prepare(board, str(device)), prepare(board, "cpu")
    images = torch.as_tensor(here.images.floats())
    with torch.no_grad():
        on_device = there.defenses[defense](images.to(device)).cpu()
        on_cpu = here.defenses[defense](images)
    assert torch.allclose(on_device, on_cpu, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("defense", ["none", "blur", "vae"])
def test_clean_outcomes_agree_with_the_cpu(found: dict[str, list[Record]], device: torch.device, defense: str) -> None:
    """At most one image of 32 may differ, if its two largest logits are equal up to rounding."""
    there, here = (right(found[name], defense, "clean") for name in (str(device), "cpu"))
    assert (there != here).sum() <= 1


def test_verification_of_a_random_defense_agrees_statistically_with_the_cpu(
    found: dict[str, list[Record]], device: torch.device
) -> None:
    """Mean accuracies on clean images, from 512 draws on each device, differ by at most five standard deviations."""
    there, here = (right(found[name], "noise", "clean").mean(1) for name in (str(device), "cpu"))
    spread = np.sqrt((there * (1 - there) + here * (1 - here)).sum() / 16) / len(here)
    assert abs(there.mean() - here.mean()) <= 5 * spread + 1e-9


def test_a_second_run_on_the_device_gives_the_same_draws(
    board: Board, found: dict[str, list[Record]], device: torch.device, tmp_path: Path
) -> None:
    _, again = run_board(board, tmp_path / "again", device=str(device), workers=1)
    assert [record.draws for record in again] == [record.draws for record in found[str(device)]]


def test_seeded_determines_random_numbers_on_the_device_and_restores_its_state(device: torch.device) -> None:
    def numbers() -> torch.Tensor:
        return torch.randn(4, device=device)

    torch.manual_seed(3)
    outside = numbers(), numbers()
    torch.manual_seed(3)
    first = numbers()
    with seeded("a", device=device):
        one = numbers()
    with seeded("a", device=device):
        again = numbers()
    with seeded("b", device=device):
        other = numbers()
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(first, outside[0])
    assert torch.equal(numbers(), outside[1])


def test_device_batch_is_halved_if_memory_runs_out(device: torch.device) -> None:
    """The test requests a petabyte, which no device has, so that the device raises its own error."""

    def work(part: torch.Tensor) -> tuple[torch.Tensor]:
        if len(part) > 3:
            torch.empty(2**50, dtype=torch.uint8, device=device)
        return (part * 2,)

    batch = DeviceBatch(16)
    (doubled,) = batch.map(work, torch.arange(10, device=device))
    assert doubled.tolist() == list(range(0, 20, 2))
    assert batch.size == 2
    assert batch.notes == ["out of memory: device batch halved to 5", "out of memory: device batch halved to 2"]


def test_the_batch_size_chosen_by_fitting_fits_in_memory(board: Board, device: torch.device) -> None:
    there = prepare(board, str(device))
    image = torch.as_tensor(there.images.take([0]).floats()).to(device)
    size = fitting(there.defenses["vae"], image)
    with torch.no_grad():
        answer = there.defenses["vae"](image.expand(size, -1, -1, -1))
    assert answer.shape[0] == size
