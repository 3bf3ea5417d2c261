"""Tests of the command line: start-up time, help, exit codes, and one-line errors that write no files."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import purebench

from boards import write_board  # isort: skip

ENTRY = [str(Path(sys.executable).with_name("purebench"))]


def call(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENTRY, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "attacks"]])
def test_help_and_lists_take_less_than_a_second(words: list[str]) -> None:
    """Takes the minimum processor time of up to ten calls, which depends little on other processes."""
    times: list[float] = []
    while len(times) < 10 and min(times, default=1) >= 1:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = call(*words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
        assert len(done.stdout) > 100
    assert min(times) < 1


def test_garbage_collection_is_enabled_when_a_command_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is disabled only while the command line is parsed, because models contain reference cycles."""
    seen: list[bool] = []
    monkeypatch.setattr("purebench.cli.listing.print_names", lambda what: seen.append(gc.isenabled()))
    call_in_process("list")
    assert seen == [True]
    call_in_process("--help")
    assert gc.isenabled()


def test_every_command_has_a_help_text() -> None:
    for command in ("run", "show", "list", "train"):
        output = call(command, "--help").stdout
        assert "Usage" in output
        assert len(output) > 300


@pytest.mark.parametrize("words", [[], ["-h"], ["run", "-h"]])
def test_help_is_shown_without_arguments_and_with_h(words: list[str]) -> None:
    assert "Usage" in call_in_process(*words).stdout


def test_version_prints_the_package_version() -> None:
    assert call_in_process("--version").stdout == f"purebench {purebench.__version__}\n"


def test_run_writes_results_and_page_and_show_prints_the_same_table(tmp_path: Path) -> None:
    definition = write_board(tmp_path / "board", images=4)
    place, page, results = tmp_path / "s", tmp_path / "page.html", tmp_path / "results"
    words = ["run", definition, "--store", place, "--page", page, "--results", results, "--workers", 1]
    first = call(*words)
    assert first.returncode == 0, first.stderr
    for name in ("none", "noise", "coin"):
        assert name in first.stdout
        assert json.loads((results / f"{name}.json").read_text(encoding="utf-8"))["name"] == name
    assert "<html" in page.read_text(encoding="utf-8")
    assert "0/12 jobs, 12 jobs to run" in first.stderr
    again = call_in_process(*words)
    assert "12/12 jobs, 0 jobs to run" in again.stderr
    assert again.stdout == first.stdout
    shown = call_in_process("show", "small", "--store", place)
    assert shown.stdout.strip() in first.stdout
    assert "small: 12 of 12 jobs" in call_in_process("show", "--store", place).stdout
    assert call_in_process("show", "smal", "--store", place).returncode == 2


def bad_boards(folder: Path) -> dict[str, tuple[Path, str]]:
    """Returns, by name, boards with one fault each and a part of the expected message."""
    faults = {
        "unknown defense": ({"defenses": {"x": "gaussian-blurr"}}, "gaussian-blur"),
        "unknown attack": ({"attacks": {"x": {"use": "apgdd"}}}, "apgd"),
        "unknown key": ({"verifi": {"draws": 3}}, "verify"),
        "unknown parameter": ({"defenses": {"x": "gaussian-blur(sigm=1)"}}, "sigma"),
        "radius of zero": ({"threat": {"norm": "linf", "radius": 0}}, "above 0"),
        "negative radius": ({"threat": {"norm": "linf", "radius": "-1/255"}}, "above 0"),
        "endless radius": ({"threat": {"norm": "linf", "radius": "1e400"}}, "radius"),
        "no draw": ({"verify": {"draws": 0}}, "verify.draws: expected a whole number of at least 1"),
        "no fresh draw": ({"verify": {"fresh": 0}}, "verify.fresh: expected a whole number of at least 1"),
        "a set as parameter": ({"defenses": {"x": "gaussian-blur(sigma={1})"}}, "JSON"),
        "undeclared randomness": ({"defenses": {"x": f"{folder}/own.py:undeclared"}}, "random"),
        "a factory that raises": ({"defenses": {"x": f"{folder}/own.py:raises"}}, "KeyError"),
        "too many images": ({"dataset": {"use": "fashion-mnist", "images": 5000, "block": 9}}, "1000"),
        "missing weights": ({"defenses": {"x": "vae(weights=absent)"}}, "absent"),
        "truncated weights": ({"defenses": {"x": f"vae(weights='{folder}/cut.safetensors')"}}, "cut.safetensors"),
        "weights of another model": ({"defenses": {"x": "vae(weights=fashion-resnet)"}}, "resnet"),
        "unknown foolbox attack": ({"attacks": {"x": {"use": "foolbox:LinfPDG"}}}, "LinfPGD"),
        "unknown art attack": ({"attacks": {"x": {"use": "art:HopSkipJumpp"}}}, "HopSkipJump"),
    }
    from purebench.defenses.checkpoints import find

    (folder / "own.py").write_text(
        "from purebench.core.defense import Purifier\n"
        "class P(Purifier):\n    def forward(self, x):\n        return x\n"
        "def undeclared():\n    return P()\n"
        "def raises():\n    return {}['absent']\n",
        encoding="utf-8",
    )
    whole = find("fashion-vae").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    made = {}
    for name, (parts, message) in faults.items():
        made[name] = (write_board(folder / name.replace(" ", "-"), **parts), message)
    malformed = folder / "malformed.yaml"
    malformed.write_text("name: [unclosed\n", encoding="utf-8")
    return made | {"malformed": (malformed, "YAML"), "absent": (folder / "none.yaml", "none.yaml")}


def test_invalid_boards_give_one_line_exit_code_2_and_no_files(tmp_path: Path) -> None:
    for name, (board, message) in bad_boards(tmp_path).items():
        place = tmp_path / f"new-{name}" / "s"
        done = call_in_process("run", board, "--store", place, "--page", f"{place}.html", "--trust")
        error = done.stderr
        assert done.returncode == 2, name
        assert message in error, (name, error)
        assert error.count("\n") == 1, (name, error)
        assert "Traceback" not in error
        assert not place.parent.exists(), name


def call_in_process(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs a command as `call` does, but in this process, which saves the seconds of a start-up."""
    from purebench.cli import main

    code, before, out, errors = 0, sys.argv, io.StringIO(), io.StringIO()
    sys.argv = ["purebench", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())


def test_an_unknown_board_gives_exit_code_2_in_a_new_process(tmp_path: Path) -> None:
    done = call("run", "fashion-quik", cwd=tmp_path)
    assert done.returncode == 2
    assert "fashion-quick" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "fashion-quick", "--images", "0"], "--images"),
        (["run", "fashion-quick", "--device", "quantum"], "quantum"),
        (["list", "defences"], "defenses"),
        (["run", "fashion-quick", "-d", "none", "-d", "none"], "twice"),
        (["run", "fashion-quick", "--page", "FOLDER"], "is a folder"),
        (["train", "fashion-rezzzz"], "'fashion-rezzzz' is unknown"),
        (["train", "fashion-vae", "--precision", "fp16"], "--precision: expected one of float32, channels-last, bf16,"),
    ],
)
def test_invalid_options_give_exit_code_2_and_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    done = call_in_process(*(str(tmp_path) if word == "FOLDER" else word for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_faulty_defense_is_errored_and_the_other_rows_finish(tmp_path: Path) -> None:
    defenses = {"bad": f"{tmp_path}/defenses.py:nan", "none": "none"}
    definition = write_board(tmp_path, images=4, defenses=defenses)
    done = call_in_process("run", definition, "--store", tmp_path / "s", "--workers", 1)
    assert done.returncode == 1  # some of the requested results are missing
    assert "errored" in done.stdout
    assert "8/8 jobs" in done.stderr
    (row,) = (line for line in done.stdout.splitlines() if "none" in line.split()[:4] and "%" in line)
    assert "errored" not in row
    assert "NaN" in done.stderr


@pytest.mark.parametrize("asked", ["store", "page"])
def test_a_full_disk_gives_a_one_line_error(tmp_path: Path, asked: str) -> None:
    """A limit on the size of files replaces a full disk: the write fails in the same place."""
    definition = write_board(tmp_path, images=4, defenses={"none": "none"}, attacks={"clean": {"use": "clean"}})
    words = ["run", definition, "--store", tmp_path / "s", "--workers", 1]
    if asked == "page":
        assert call_in_process(*words).returncode == 0
        words += ["--page", tmp_path / "page.html"]
    done = subprocess.run(
        [*ENTRY, *map(str, words)], capture_output=True, text=True, check=False, preexec_fn=files_of_at_most_8_kb
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"purebench: {tmp_path}")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()
    assert call_in_process(*words).returncode == 0


def files_of_at_most_8_kb() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def test_run_accepts_a_defense_from_a_file(tmp_path: Path) -> None:
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=3)"}}
    definition = write_board(tmp_path, images=4, attacks=attacks, defenses={"none": "none"})
    done = call_in_process(
        "run", definition, "-d", f"{tmp_path}/defenses.py:honest", "--store", tmp_path / "s", "--workers", 1
    )
    assert done.returncode == 0, done.stderr
    assert "defenses.py-honest" in done.stdout
    assert yaml.safe_load(definition.read_text(encoding="utf-8"))["name"] == "small"
