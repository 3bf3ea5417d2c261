"""Tests the choice of a backend: devices, numbers of workers, and options that contradict each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.backends.compute import Compute, cores_here
from purebench.execution.backends.pool import Limits
from purebench.execution.backends.processes import Processes
from purebench.execution.backends.serial import Serial
from purebench.execution.context import prepare

from boards import write_board  # isort: skip


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({"device": "auto"}, ["cuda:0", "cuda:1"]),
        ({"device": "cuda:0"}, ["cuda:0"]),
        ({"device": "cuda:0", "workers": 2}, ["cuda:0", "cuda:0"]),
        ({"device": "cuda:0, cuda:1"}, ["cuda:0", "cuda:1"]),
        ({"device": "cuda:0,cuda:1", "per_device": 2}, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        ({"device": "auto", "workers": 3}, ["cuda:0", "cuda:1", "cuda:0"]),
        ({"device": "cpu", "workers": 3}, ["cpu"] * 3),
        ({"device": "cpu"}, ["cpu"] * cores_here()),
    ],
)
def test_workers_are_placed_in_turns_over_the_devices(options: dict[str, Any], places: list[str]) -> None:
    compute = Compute(**options)
    compute.check()
    assert compute.places() == places
    assert compute.main_device() == places[0]


def test_auto_is_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert set(Compute("auto").places()) == {"cpu"}


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "rey"}, "did you mean 'ray'"),
        ({"address": "a:1"}, "belong to --backend ray"),
        ({"cores": 2}, "belong to --backend ray"),
        ({"backend": "serial", "workers": 2}, "expected one worker"),
        ({"backend": "serial", "limits": Limits(job=3.0)}, "--job-limit: expected a backend that can end a job"),
        ({"workers": 2, "per_device": 2}, "but got both"),
        ({"device": "cuda:0,cuda:0"}, "each device once"),
        ({"device": "cpu,cuda:0"}, "devices of one kind"),
        ({"device": "cuda:0,cuda:7"}, "(2 are), but got 'cuda:7'"),
        ({"device": "cuda:0", "backend": "ray"}, "cpu, cuda or auto with --backend ray"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, Any], message: str) -> None:
    def checked() -> None:
        Compute(**options).check()
        Compute(**options).main_device()

    with pytest.raises(PurebenchError) as refused:
        checked()
    assert message in str(refused.value)


def test_a_limit_for_jobs_needs_a_process_that_can_be_ended(tmp_path: Path) -> None:
    context = prepare(load_board(write_board(tmp_path, images=2, block=2, attacks={"clean": {"use": "clean"}})))
    assert isinstance(Compute(workers=1).backend_of(context, 2), Serial)
    assert isinstance(Compute(workers=1, limits=Limits(job=3.0)).backend_of(context, 2), Processes)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from purebench.execution.backends.ray import import_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PurebenchError, match=r"pip install 'purebench\[ray\]'"):
        import_ray()
