"""Tests that attacks and purifiers agree with the CPU, in float32 and in the other settings of attacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from purebench.attacks.gradient import losses
from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.attacks.views.view import View
from purebench.boards.board import Board
from purebench.boards.parse import parse_board
from purebench.core.seeds import seeded
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_board
from purebench.execution.context import Context, prepare
from purebench.records.outcome import Outcome
from purebench.records.record import Record

pytestmark = pytest.mark.gpu
IMAGES = 48
ATTACKS = {
    "pgd": {"use": "pgd(steps=10)", "gradient": "exact"},
    "fgsm": {"use": "fgsm", "gradient": "exact"},
    "mi-fgsm": {"use": "mi-fgsm(steps=10)", "gradient": "exact"},
    "apgd": {"use": "apgd(steps=10)", "gradient": "exact"},
    "apgd-t": {"use": "apgd-t(steps=5)", "gradient": "exact"},
    "md": {"use": "md(steps=10)", "gradient": "exact"},
    "square": {"use": "square(queries=100)"},
    "deepfool": {"use": "deepfool", "gradient": "exact"},
    "fmn": {"use": "fmn(steps=20)", "gradient": "exact"},
}
DETERMINISTIC = ["none", "blur", "quantise", "median", "jpeg", "vae", "hvae", "stylegan", "puvae", "trades"]
ROUNDED = ("quantise", "jpeg")
"""Purifiers whose exact gradient is zero."""
BOARD = f"""
name: agreement
dataset: {{use: fashion-mnist, images: {IMAGES}, block: 24}}
classifier: fashion-resnet
threat: {{norm: linf, radius: 4/255}}
verify: {{draws: 8}}
attacks: {{clean: {{use: clean}}}}
defenses:
  none: none
  blur: gaussian-blur(sigma=1.0)
  quantise: quantise
  median: median
  jpeg: jpeg
  vae: vae
  hvae: mlvgm-hvae
  stylegan: mlvgm-stylegan
  puvae: puvae
  trades: trades
  noise: gaussian-noise(sigma=0.1)
  diffpure: diffpure(steps=3)
"""


def board(*rows: str, **parts: Any) -> Board:
    plain = yaml.safe_load(BOARD)
    rows_of = {name: plain["defenses"][name] for name in rows or plain["defenses"]}
    return parse_board(plain | parts | {"defenses": rows_of})


@pytest.fixture(scope="module")
def contexts(device: torch.device) -> tuple[Context, Context]:
    """The board on the device and on the CPU."""
    return prepare(board(), str(device)), prepare(board(), "cpu")


def looked(context: Context, row: str, count: int, settings: dict[str, Any], kind: Any = exact) -> tuple[Tensor, ...]:
    """Returns loss, gradient and logits of a look at the first images."""
    part = context.images.take(range(count))
    x, y = (torch.as_tensor(values).to(context.device) for values in (part.floats(), part.labels))
    view: View = kind(context.uncalled(row), eot=1)
    for name, value in settings.items():
        setattr(view, name, value)
    with seeded("agreement", device=context.device):
        look = view.look(x, y, losses.find("ce"))
    return look.loss.cpu(), look.gradient.cpu(), look.logits.cpu()


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten().double(), other.flatten().double(), 0))


@pytest.mark.parametrize("row", DETERMINISTIC)
def test_loss_and_gradient_of_deterministic_defenses_agree(contexts: tuple[Context, Context], row: str) -> None:
    """A rounding error may move an activation across the kink of a ReLU, or a value to the next level of quantise."""
    kind = bpda if row in ROUNDED else exact
    there, here = (looked(context, row, 16, {}, kind) for context in contexts)
    assert torch.allclose(there[0], here[0], atol=0.02, rtol=0.02)
    assert cosine(there[1], here[1]) > 0.98
    assert torch.allclose(there[2], here[2], atol=0.05, rtol=0.02)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize("row", ["none", "vae", "hvae"])
def test_other_precisions_agree_with_float32_on_the_device(
    contexts: tuple[Context, Context], row: str, precision: str
) -> None:
    there, device = contexts[0], contexts[0].device
    if precision == "tf32" and device.type != "cuda":
        pytest.skip("TF32 is arithmetic of GPUs")
    plain, coarse = (looked(there, row, 16, {"precision": one}) for one in ("float32", precision))
    assert torch.allclose(coarse[2], plain[2], atol=0.3, rtol=0.1)
    assert cosine(coarse[1], plain[1]) > 0.9
    assert coarse[1].dtype == torch.float32
    assert not torch.equal(coarse[2], plain[2])  # the setting has an effect


def right(records: list[Record], attack: str) -> np.ndarray:
    return np.array([draws == "1" for one in records if one.attack == attack for draws in one.draws])


@pytest.fixture(scope="module")
def attacked(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Record]]:
    """The records of all attacks on the undefended classifier, on the CPU and on the device."""
    made, folder = board("none", attacks={"clean": {"use": "clean"}} | ATTACKS), tmp_path_factory.mktemp("stores")
    return {name: run_board(made, folder / name, device=name, workers=1)[1] for name in {"cpu", str(device)}}


@pytest.mark.parametrize("attack", ATTACKS)
def test_native_attacks_are_as_strong_on_the_device_as_on_the_cpu(
    attacked: dict[str, list[Record]], device: torch.device, attack: str
) -> None:
    """At most an eighth of the images may be broken on one device only; random attacks draw other numbers there."""
    there, here = (right(attacked[name], attack) for name in (str(device), "cpu"))
    assert len(there) == IMAGES
    assert [one.reason for one in attacked[str(device)] if one.errored] == []
    assert (there != here).sum() <= IMAGES / 8
    clean = right(attacked[str(device)], "clean")
    assert there.sum() < clean.sum()


def accuracy(records: list[Record], defense: str) -> float:
    draws = [row for one in records if (one.defense, one.attack) == (defense, "apgd") for row in one.draws]
    return float(np.mean([draw == "1" for row in draws for draw in row]))


@pytest.fixture(scope="module")
def random_rows() -> Board:
    dataset = {"use": "fashion-mnist", "images": 24, "block": 12}
    return board(
        "noise",
        "diffpure",
        dataset=dataset,
        attacks={"clean": {"use": "clean"}, "apgd": ATTACKS["apgd"] | {"use": "apgd(steps=5)", "eot": 2}},
    )


@pytest.fixture(scope="module")
def plain_run(random_rows: Board, device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return run_board(random_rows, tmp_path_factory.mktemp("plain") / "store", device=str(device), workers=1)[1]


def test_several_workers_on_one_device_give_the_records_of_one(
    random_rows: Board, plain_run: list[Record], device: torch.device, tmp_path: Path
) -> None:
    compute = Compute(device=str(device), per_device=2, backend="processes")
    _, records = run_board(random_rows, tmp_path / "store", compute=compute)
    assert [(one.key, one.outcomes, one.draws) for one in records] == [
        (one.key, one.outcomes, one.draws) for one in plain_run
    ]


@pytest.mark.parametrize(
    "change",
    [{"attack_precision": "bf16"}, {"attack_precision": "tf32"}, {"channels_last": True}, {"compile": True}],
)
def test_attacks_in_other_settings_are_as_strong(
    random_rows: Board, plain_run: list[Record], device: torch.device, tmp_path: Path, change: dict[str, Any]
) -> None:
    if change.get("attack_precision") == "tf32" and device.type != "cuda":
        pytest.skip("TF32 is arithmetic of GPUs")
    if change.get("compile") and device.type != "cuda":
        pytest.skip("takes minutes on a CPU, where tests/core/compiled covers it")
    told: list[str] = []
    changed = replace(random_rows, **change)
    _, records = run_board(changed, tmp_path / "store", device=str(device), workers=1, tell=told.append)
    assert not [line for line in told if "uncompiled" in line]
    assert [one.reason for one in records if Outcome.ERRORED in one.outcomes] == []
    assert {one.key for one in records}.isdisjoint({one.key for one in plain_run})
    for row in ("noise", "diffpure"):
        assert abs(accuracy(records, row) - accuracy(plain_run, row)) <= 0.2
