"""Tests of tools/gpu.sh with tiny settings on the CPU: installation, runs, output files and resuming."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("gpu_script", ROOT / "tools" / "gpu.py")
assert _spec is not None
assert _spec.loader is not None
script: Any = importlib.util.module_from_spec(_spec)
sys.modules["gpu_script"] = script
_spec.loader.exec_module(script)


def gpu(
    tmp_path: Path, what: str, *words: str, minutes: str = "5", out: str = "out"
) -> tuple[int, dict[str, Any], str]:
    """Runs the script; returns its exit code, its provenance and its output."""
    command = [str(ROOT / "tools" / "gpu.sh"), what, "--minutes", minutes, "--device", "cpu"]
    command += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / out), *words]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    file = tmp_path / out / f"{what}.provenance.json"
    return done.returncode, json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}, str(done)


def packed(folder: Path, what: str, into: Path) -> list[str]:
    """Returns the names of the files in the packed results."""
    parts = sorted(folder.glob(f"{what}.tar.gz.*"))
    assert parts
    assert all(part.stat().st_size <= 16 * 2**20 for part in parts)
    (into / "whole").write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(into / "whole") as archive:
        return archive.getnames()


def test_the_speed_benchmark_uses_the_installed_package(tmp_path: Path) -> None:
    tiny = ["--only", "overhead", "--", "--images", "2", "--steps", "2", "--repeats", "1"]
    code, provenance, output = gpu(tmp_path, "speed", "--commit", "abc", *tiny)
    assert code == 0, output
    assert provenance["complete"]
    assert (provenance["device"], provenance["commit"]) == ("cpu", "abc")
    assert provenance["versions"]["torch"]
    assert "speed/overhead.json" in packed(tmp_path / "out", "speed", tmp_path)
    # The package is importable, with its entry points, from the folder alone.
    code_ = (
        "import purebench, importlib.metadata as m; from purebench.core import registry; print(purebench.__file__); "
        "print(m.distribution('purebench').locate_file('')); print(sorted(registry.installed('attacks')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "work" / "site")}
    command = [sys.executable, "-c", code_]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
    module, place, attacks = done.stdout.splitlines()
    assert Path(module).is_relative_to(tmp_path / "work" / "site")
    assert Path(place) == tmp_path / "work" / "site"
    assert "'apgd'" in attacks


@pytest.mark.slow
def test_the_gpu_tests_run(tmp_path: Path) -> None:
    code, provenance, output = gpu(tmp_path, "tests", "--", "-k", "seeded or runs_out")
    assert code == 0, output
    assert provenance["complete"]
    assert "tests/junit.xml" in packed(tmp_path / "out", "tests", tmp_path)
    code, provenance, output = gpu(tmp_path, "tests", "--", "-k", "no test has this name")
    assert code == 1, output
    assert not provenance["complete"]


@pytest.mark.slow
def test_a_board_out_of_time_resumes_from_the_packed_files(tmp_path: Path) -> None:
    words = ["--board", "fashion-quick", "--images", "24", "--", "-d", "none", "--workers", "1"]
    code, provenance, output = gpu(tmp_path, "boards", *words, minutes="0.15")
    assert (code, provenance["complete"]) == (3, False), output
    code, provenance, output = gpu(
        tmp_path, "boards", "--resume", str(tmp_path / "out"), "--work", str(tmp_path / "other"), *words, out="second"
    )
    assert (code, provenance["complete"]) == (0, True), output
    names = packed(tmp_path / "second", "boards", tmp_path)
    assert {f"boards/fashion-quick/{name}" for name in ("results/none.json", "page.html", "records.sqlite")} <= set(
        names
    )


@pytest.mark.slow
def test_results_are_packed_when_the_task_is_asked_to_end(tmp_path: Path) -> None:
    words = ["--board", "fashion-quick", "--images", "24", "--", "-d", "none", "--workers", "1"]
    command = [str(ROOT / "tools" / "gpu.sh"), "boards", "--minutes", "5", "--device", "cpu", "--work"]
    command += [str(tmp_path / "work"), "--out", str(tmp_path / "out"), *words]
    log = tmp_path / "work" / "boards" / "fashion-quick" / "board-24.log"
    with subprocess.Popen(command, env={**os.environ, "PYTHON": sys.executable}, cwd=tmp_path) as task:
        for _ in range(600):
            if log.is_file() and b"jobs" in log.read_bytes():
                break
            time.sleep(0.1)
        task.send_signal(signal.SIGTERM)
        assert task.wait(60) == 3
    provenance = json.loads((tmp_path / "out" / "boards.provenance.json").read_text(encoding="utf-8"))
    assert [step["state"] for step in provenance["steps"]] == ["out of time"]
    assert "boards/fashion-quick/records.sqlite" in packed(tmp_path / "out", "boards", tmp_path)


def training_images(folder: Path) -> Path:
    """Writes random images in the format of Fashion-MNIST: 5,040 for training, of which a recipe holds 5,000 out."""
    folder.mkdir()
    for part, count in (("train", 5040), ("t10k", 40)):
        images, labels = np.random.default_rng(0).integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            shape = np.array(values.shape, ">i4").tobytes()
            head = bytes([0, 0, 8, values.ndim]) + shape
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + values.astype(np.uint8).tobytes())
    return folder


@pytest.mark.slow
def test_a_training_out_of_time_resumes_from_the_packed_state(tmp_path: Path) -> None:
    """The state is saved once a minute and at the end of a budget; the second run has a larger one."""
    data = str(training_images(tmp_path / "data"))
    words = ["--recipe", "fashion-linear", "--", "--data", data, "--steps"]
    code, provenance, output = gpu(tmp_path, "train", *words, "20")
    assert (code, provenance["complete"]) == (0, True), output
    files = {"safetensors", "state.pt", "md", "log.jsonl"}
    names = packed(tmp_path / "out", "train", tmp_path)
    assert {f"train/fashion-linear/fashion-linear.{one}" for one in files} <= set(names)
    assert provenance["steps"][0]["state"] == "done"
    code, again, output = gpu(tmp_path, "train", *words, "20")
    assert (code, again["steps"][0]["earlier"]) == (0, True), output
    resumed = ["--resume", str(tmp_path / "out"), "--work", str(tmp_path / "other")]
    code, provenance, output = gpu(tmp_path, "train", *resumed, *words, "30", out="second")
    assert (code, provenance["complete"]) == (0, True), output
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "second" / "train.tar.gz.000").read_bytes())) as archive:
        card = archive.extractfile("train/fashion-linear/fashion-linear.md")
        log = archive.extractfile("train/fashion-linear/fashion-linear.log.jsonl")
        assert card is not None
        assert log is not None
        assert b"30 steps of" in card.read()
        steps = [json.loads(line)["step"] for line in log.read().splitlines()]
    assert steps == [20, 30]  # the rows of both runs: the second one began where the first one ended


def test_large_results_leave_out_stores_and_states_of_finished_trainings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "MOST", 1)
    folder = tmp_path / "train"
    for name in (
        "over/a.state.pt",
        "over/a.safetensors",
        "over/train.done",
        "going/b.state.pt",
        "board/records.sqlite",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(64))
    assert script.pack(folder, tmp_path / "out") == ["train.tar.gz.000"]
    names = {name for name in packed(tmp_path / "out", "train", tmp_path) if "." in name}
    assert names == {f"train/{name}" for name in ("over/a.safetensors", "over/train.done", "going/b.state.pt")}


def test_a_training_gets_device_folder_and_budget(tmp_path: Path) -> None:
    words = ["train", "--minutes", "5", "--recipe", "fashion-vae", "--recipe", "fashion-ddpm", "--budget", "2.5"]
    options = script.parse([*words, "--device", "cuda:1", "--", "--seed", "3"])
    found = {step.name: step.command[2:] for step in script.steps(options, tmp_path)}
    expected = ["--device", "cuda:1", "--out", str(tmp_path / "fashion-vae"), "--minutes", "2.5", "--seed", "3"]
    assert found["fashion-vae"] == ["purebench", "train", "fashion-vae", *expected]
    assert list(found) == ["fashion-vae", "fashion-ddpm"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boards"], "--board"),
        (["train"], "--recipe"),
        (["speed", "--recipe", "fashion-vae"], "--recipe"),
        (["train", "--recipe", "fashion-vae", "--budget", "0"], "--budget"),
        (["speed", "--minutes", "0"], "--minutes"),
        (["speed", "--resume", "nowhere"], "--resume"),
        (["speed", "--device", "tpu9"], "tpu9"),
    ],
)
def test_invalid_input_gives_a_one_line_error_and_exit_code_2(tmp_path: Path, words: list[str], message: str) -> None:
    code, provenance, output = gpu(tmp_path, words[0], *words[1:])
    assert code == 2
    assert message in output
    assert "Traceback" not in output
    assert not provenance
