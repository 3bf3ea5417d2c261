"""Tests of tools/gpu.sh with tiny settings on the CPU: installation, runs, output files and resuming."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
    code, provenance, output = gpu(tmp_path, "boards", *words, minutes="0.3")
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
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boards"], "--board"),
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
