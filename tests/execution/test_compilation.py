"""Tests of boards whose attacks call compiled networks, use TF32, or weights in the channels-last layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from purebench.attacks import PGD
from purebench.boards.board import Board
from purebench.boards.jobs import Job
from purebench.boards.parse import load_board
from purebench.core.compute import devices
from purebench.core.compute.compiled import networks
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.jobs import attack_and_verify
from purebench.execution.jobs.job import run_job
from purebench.leaderboards.page import render
from purebench.leaderboards.terminal import board_table
from purebench.records.record import Record
from purebench.results.merge import merge

from boards import write_board  # isort: skip
from counting_backend import Counting  # isort: skip

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 3, 3, stride=2), nn.Linear(3 * 15 * 15, 10)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5

    def forward(self, x):
        return self.last(self.first(x).relu().flatten(1))

class Deep(Net):
    # has a weight with five dimensions, for which torch has no layout of this name

    def __init__(self):
        super().__init__()
        self.volume = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return super().forward(x) + 0 * self.volume(x[:, None]).mean((1, 2, 3, 4))[:, None]

class Torn(Net):
    def forward(self, x):
        torch._dynamo.graph_break()
        return super().forward(x)

def net():
    return Net()

def deep():
    return Deep()

def torn():
    return Torn()
"""
ATTACKS = {
    "clean": {"use": "clean"},
    "pgd": {"use": "pgd(steps=3)", "gradient": "exact"},
    "square": {"use": "square(queries=3)"},
}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counted = Counting()
    monkeypatch.setattr(networks, "BACKEND", counted)
    return counted


def board(folder: Path, classifier: str = "net", **parts: object) -> Board:
    folder.mkdir(exist_ok=True)
    (folder / "nets.py").write_text(FILE, encoding="utf-8")
    given: dict[str, Any] = {"attacks": ATTACKS, "defenses": {"none": "none"}, "classifier": f"nets.py:{classifier}"}
    return load_board(write_board(folder, **(given | parts)))


def keys(board: Board) -> dict[str, str]:
    return {job.label: job.key for job in prepare(board).jobs() if job.block == 0}


def found(records: list[Record]) -> list[Any]:
    return [(record.attack, record.block, record.outcomes, record.draws) for record in records]


def test_gradient_passes_are_compiled_and_verification_is_not(tmp_path: Path, backend: Counting) -> None:
    context = prepare(board(tmp_path, compile=True))
    jobs = {job.label: job for job in context.jobs() if isinstance(job, Job)}
    calls = backend.calls
    run_job(jobs["clean"], context)
    run_job(jobs["square"], context)
    assert backend.calls == calls
    run_job(jobs["pgd"], context)
    assert backend.calls > calls
    assert backend.graphs <= 2


def test_a_compiled_board_has_its_own_keys_and_compiles_nothing_for_further_jobs(
    tmp_path: Path, backend: Counting
) -> None:
    plain, compiled = board(tmp_path), board(tmp_path, compile=True)
    one, other = keys(plain), keys(compiled)
    assert all(one[label] != other[label] for label in one)
    assert keys(replace(compiled, attack_precision="bf16")) != other
    backend.graphs = 0
    _, records = run_board(compiled, tmp_path / "c.sqlite", workers=1)
    assert len(records) == 12  # three blocks
    assert backend.graphs <= 2
    _, own = run_board(plain, tmp_path / "p.sqlite", workers=1)
    assert found(records) == found(own)  # the counting backend computes the same sums


@pytest.mark.parametrize("reason", ["torn", "no compiler"])
def test_a_board_that_cannot_be_compiled_runs_under_the_keys_of_the_uncompiled_one_with_one_warning(
    tmp_path: Path, backend: Counting, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def fails(graph: object, examples: object) -> None:
        raise OSError("no compiler here\nat all")

    if reason == "no compiler":
        monkeypatch.setattr(networks, "BACKEND", fails)
    name = "torn" if reason == "torn" else "net"
    plain, compiled = board(tmp_path, name), board(tmp_path, name, compile=True)
    assert keys(compiled) == keys(plain)
    told: list[str] = []
    store = tmp_path / "store.sqlite"
    _, records = run_board(compiled, store, workers=1, tell=told.append)
    assert backend.calls == 0
    warnings = [line for line in told if "run uncompiled" in line]
    assert len(warnings) == 1
    assert "none (classifier): " in warnings[0]
    assert ("no compiler here" if reason == "no compiler" else "graph_break") in warnings[0]
    assert "\n" not in warnings[0]
    _, own = run_board(plain, store, workers=1)  # nothing to run: the keys are equal
    assert own == records


def test_a_network_that_differs_at_the_larger_batch_size_makes_its_job_errored_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe compiles the smaller size only. A job whose attack needs no gradient is not affected."""
    wrong = Counting(lambda answer: 1.01 * answer if len(answer) == 4 else answer)
    monkeypatch.setattr(networks, "BACKEND", wrong)
    context = prepare(board(tmp_path, compile=True))
    context.sizes["none"] = 4  # the images of a block
    jobs = {job.label: job for job in context.jobs() if isinstance(job, Job) and job.block == 0}
    record = run_job(jobs["pgd"], context).record
    assert len(record.errored_rows) == 4
    assert "classifier: expected answers of its compiled form within 0.1 %" in record.reason
    assert not run_job(jobs["square"], context).record.errored


def test_only_the_compiled_networks_are_in_the_key(tmp_path: Path, backend: Counting) -> None:
    context = prepare(board(tmp_path, "torn", compile=True, defenses={"none": "none", "vae": "vae"}))
    context.jobs()
    names = {row: probed.networks.names for (row, _, _), probed in context.probes.items()}
    assert names == {"none": (), "vae": ("purifier.model.encoder", "purifier.model.decoder")}
    plain = prepare(board(tmp_path, "torn", defenses={"none": "none", "vae": "vae"}))
    assert {job.defense.name: job.compiled for job in context.jobs() if isinstance(job, Job)} == names
    mine, theirs = ({(job.defense.name, job.label): job.key for job in one.jobs()} for one in (context, plain))
    assert {row for (row, label) in mine if mine[row, label] != theirs[row, label]} == {"vae"}


def shown(board: Board, records: list[Record]) -> str:
    console = Console(width=200, file=StringIO(), record=True)
    console.print(board_table(board, merge(board, records), width=200))
    return console.export_text()


def page(board: Board, records: list[Record]) -> str:
    results = merge(board, records)
    return render(board, results, [str(label) for label in range(10)], {})


def test_results_name_the_compiled_networks_and_the_heading_their_rows(tmp_path: Path, backend: Counting) -> None:
    rows = {"none": "none", "vae": "vae"}
    for compiled in (True, False):
        one = board(tmp_path, "torn", compile=compiled, images=4, attacks=ATTACKS, defenses=rows)
        _, records = run_board(one, tmp_path / "store.sqlite", workers=1)
        found = {result.name: result.provenance.get("compiled") for result in merge(one, records)}
        if compiled:
            assert found == {"none": [], "vae": ["purifier.model.decoder", "purifier.model.encoder"]}
            assert "attacks compiled in 1 of 2 rows" in shown(one, records)
            only = replace(one, defenses=one.defenses[1:])
            assert "attacks compiled\n" in shown(only, records)
            networks = "Compiled networks in attacks: vae (purifier.model.decoder, purifier.model.encoder)."
            assert networks in page(one, records)
        else:
            assert found == {"none": None, "vae": None}
            assert "compiled" not in shown(one, records)
            assert "Compiled networks" not in page(one, records)


Pass = tuple[str, bool, bool, bool]
"""Phase, whether gradients are computed, whether in TF32, whether weights are channels-last."""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Pass]]:
    """The passes of the classifier in attack and verification."""
    seen: list[Pass] = []
    phases = ["before"]

    def phase(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            phases.append(name)
            try:
                return function(*args, **kwargs)
            finally:
                phases.pop()

        return called

    monkeypatch.setattr(attack_and_verify, "judge", phase("verify", attack_and_verify.judge))
    monkeypatch.setattr(PGD, "__call__", phase("attack", PGD.__call__))

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        if type(module).__name__ in ("Net", "Deep"):
            weight = module.first.weight
            assert isinstance(weight, Tensor)
            tf32 = torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
            seen.append((phases[-1], given[0].requires_grad, tf32, weight.stride() == (9, 1, 3, 1)))

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    yield seen
    hook.remove()


def test_tf32_is_used_in_gradient_passes_only_and_is_off_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[Pass]
) -> None:
    """The setting of torch has no effect on a CPU, so that it can be observed here."""
    monkeypatch.setattr("purebench.execution.context.check_precision", lambda precision, device: None)
    assert devices.find_device("cpu")
    with devices.tf32(False):
        for precision in ("float32", "tf32"):
            context = prepare(board(tmp_path, attack_precision=precision))
            (job,) = [job for job in context.jobs() if job.label == "pgd" and job.block == 0]
            passes.clear()
            run_job(job, context)  # type: ignore[arg-type]
            looks = {tf32 for phase, gradients, tf32, _ in passes if phase == "attack" and gradients}
            scores = {tf32 for phase, gradients, tf32, _ in passes if phase == "attack" and not gradients}
            verified = {tf32 for phase, _, tf32, _ in passes if phase == "verify"}
            assert (looks, scores, verified) == ({precision == "tf32"}, {False}, {False})
        assert not torch.backends.cuda.matmul.allow_tf32
    assert keys(board(tmp_path, attack_precision="tf32")) != keys(board(tmp_path))


def test_tf32_is_refused_on_devices_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with pytest.raises(PurebenchError, match=r"attack_precision: expected float32 or bf16 on the CPU, .* tf32"):
        run_board(board(tmp_path, attack_precision="tf32"), tmp_path / "store.sqlite", workers=1, tell=told.append)
    assert not (tmp_path / "store.sqlite").exists()
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old GPU")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    for major, there in ((7, False), (8, True), (9, True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, major=major: (major, 5))
        devices.check_precision("bf16", gpu)
        if there:
            devices.check_precision("tf32", gpu)
        else:
            with pytest.raises(PurebenchError, match="on an old GPU, which has no TF32"):
                devices.check_precision("tf32", gpu)


@pytest.mark.parametrize("classifier", ["net", "deep"])
def test_channels_last_weights_are_those_of_the_attack_and_in_the_key(
    tmp_path: Path, passes: list[Pass], classifier: str
) -> None:
    plain, last = board(tmp_path, classifier), board(tmp_path, classifier, channels_last=True)
    one, other = keys(plain), keys(last)
    assert all(one[label] != other[label] for label in one)
    context = prepare(last)
    (job,) = [job for job in context.jobs() if job.label == "pgd" and job.block == 0]
    assert isinstance(job, Job)
    passes.clear()
    result = run_job(job, context)
    assert not result.record.errored, result.record.reason
    assert {layout for phase, _, _, layout in passes if phase == "attack"} == {True}
    assert {layout for phase, _, _, layout in passes if phase == "verify"} == {False}
