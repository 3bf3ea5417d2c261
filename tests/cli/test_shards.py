"""Tests a plan, its shards and the merged store on the command line, and errors for plans that do not fit."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board, run_prepared
from purebench.execution.context import prepare
from purebench.records import store
from purebench.results.files.export import export_results
from purebench.results.merge import merge

from boards import write_board  # isort: skip

CLEAN = {"clean": {"use": "clean"}}


def call(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, PurebenchError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board on which one row reuses the images of another, and its plan."""
    folder = tmp_path_factory.mktemp("board")
    attacks = {
        "clean": {"use": "clean"},
        "square": {"use": "square(queries=2)"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "square"}},
    }
    rows = {"none": "none", "noise": f"{folder}/defenses.py:honest"}
    path = write_board(folder, images=6, block=2, attacks=attacks, defenses=rows)
    told = call("plan", path, "--budget", "0", "--store", folder / "s.sqlite", "--write", folder / "plan.json")
    assert "run --plan" in told
    assert "time by number of workers: 1:" in told
    return folder


def results(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(path.glob("*.json")) if one.name != "timings.json"}


def test_merged_shards_give_the_bytes_of_a_serial_run(folder: Path) -> None:
    board = load_board(folder / "board.yaml")
    _, records = run_board(board, folder / "s.sqlite", workers=1)
    export_results(folder / "serial", merge(board, records), origin=str(folder / "board.yaml"))
    told = [call("run", "--plan", folder / "plan.json", "--shard", f"{k}/3", "--workers", 1) for k in (1, 2, 3)]
    assert "shard 1 of 3 of small: 8 of 24 jobs" in told[0]
    assert f"purebench merge {folder}/plan.*-of-3.sqlite -o {folder}/plan.sqlite" in told[0]
    assert f"purebench show small --store {folder}/plan.sqlite" in told[0]
    stores = [folder / f"plan.{k}-of-3.sqlite" for k in (1, 2, 3)]
    assert "small: 24 of 24 jobs" in call("merge", *stores, "-o", folder / "plan.sqlite")
    call("show", "small", "--store", folder / "plan.sqlite", "--results", folder / "merged")
    assert len(results(folder / "serial")) == 4
    assert results(folder / "merged") == results(folder / "serial")
    again = call("plan", folder / "board.yaml", "--budget", "0", "--store", stores[0], "--workers", "2")
    assert "8 of 24 jobs are in the store; 16 remain" in again
    assert "with 2 workers: about" in again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "4/3"], "expected K/N with K from 1 to N"),
        (["--shard", "1/２"], "expected K/N with K from 1 to N"),
        (["--images", "2"], "expected no --images beside it"),
        (["--budget", "1h", "small.yaml"], "expected no BOARD, --budget beside it"),
        (["--evidence"], "expected no --evidence beside it.*purebench run BOARD --evidence --store STORE"),
    ],
)
def test_options_that_do_not_fit_a_plan_are_refused(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        call("run", "--plan", folder / "plan.json", *words)


def test_a_shard_needs_a_plan() -> None:
    with pytest.raises(PurebenchError, match="purebench plan BOARD --write"):
        call("run", "--shard", "1/2")


def test_a_plan_of_another_version_of_code_or_board_is_refused(folder: Path, tmp_path: Path) -> None:
    text = (folder / "plan.json").read_text(encoding="utf-8")
    plan = json.loads(text)

    def refused(change: dict[str, object]) -> str:
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({**plan, **change}), encoding="utf-8")
        with pytest.raises(PurebenchError) as error:
            call("run", "--plan", path, "--trust", "--shard", "1/3", "--workers", "1", "--store", tmp_path / "s")
        assert str(path) in str(error.value)
        assert not (tmp_path / "s").exists()
        return str(error.value)

    assert "but 0.0.1 wrote it; write the plan again" in refused({"purebench": "0.0.1"})
    assert "has changed since this plan was written" in refused({"source": "0" * 64})
    jobs = [{**job, "key": "0" * 64} if job["attack"] == "square" else job for job in plan["jobs"]]
    assert "6 of 24 have another key on this machine, such as square on none, block 0" in refused({"jobs": jobs})
    assert "expected a plan file, but" in refused({"jobs": 3})
    assert "schema" in refused({"schema": 2})


def test_code_outside_the_folder_of_the_plan_needs_trust(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text((folder / "plan.json").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(PurebenchError, match="runs Python code from outside its folder"):
        call("run", "--plan", tmp_path / "plan.json", "--shard", "1/3")


def test_a_plan_with_a_stopping_rule_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="without a stopping rule"):
        call(
            "plan", folder / "board.yaml", "--until", "half-width=0.3", "--budget", "0", "--write", tmp_path / "p.json"
        )
    assert not (tmp_path / "p.json").exists()


def test_a_plan_of_a_board_whose_effort_depends_on_results_is_refused(tmp_path: Path) -> None:
    path = write_board(tmp_path, images=2, block=2, attacks=CLEAN, defenses={"none": "none"}, effort="auto")
    with pytest.raises(PurebenchError, match=r"without effort: auto.* --backend ray.* effort: {} in its file"):
        call("plan", path, "--budget", "0", "--write", tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


def test_controls_are_run_into_the_store_of_a_plan_by_the_printed_command(tmp_path: Path) -> None:
    controls = {"linear-noise": "linear-noise"}
    board = write_board(tmp_path, images=2, block=2, attacks=CLEAN, defenses={"none": "none"}, controls=controls)
    call("plan", board, "--budget", "0", "--write", tmp_path / "plan.json")
    told = call("run", "--plan", tmp_path / "plan.json", "--workers", 1)
    place = tmp_path / "plan.1-of-1.sqlite"
    with store.reading(place) as saved:
        planned = saved.record_keys()
    command = told.partition(": purebench ")[2].split()
    named = ["--defense", "none"]  # the rows of a board that is not bundled
    assert command == ["run", str(board), *named, "--images", "2", "--evidence", "--store", str(place)]
    call(*command, "--workers", 1)
    with store.reading(place) as saved:
        assert saved.record_keys()[: len(planned)] == planned
        boards = [one.board for key in saved.record_keys() if (one := saved.get(key)) is not None]
        assert (boards.count("small"), set(boards)) == (len(planned), {"small", "small-controls"})


def test_the_printed_commands_keep_the_rows_and_images_of_the_plan_and_run_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "my folder"
    place.mkdir()
    rows = {"none": "none", "noise": "gaussian-noise"}
    controls = {"linear-noise": "linear-noise"}
    board = write_board(place, images=4, block=2, attacks=CLEAN, defenses=rows, controls=controls)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    planned = CliRunner().invoke(
        app, ["plan", str(board), "-d", "noise", "--images", "4", "--budget", "0", "--write", str(place / "p q.json")]
    )
    commands = [line.strip() for line in planned.output.splitlines() if line.startswith("  purebench")]
    assert shlex.split(commands[0]) == ["purebench", "run", "--plan", str(place / "p q.json"), "--shard", "1/2"]
    call("run", "--plan", place / "p q.json", "--shard", "2/2", "--workers", 1)
    told = CliRunner().invoke(app, ["run", "--plan", str(place / "p q.json"), "--shard", "1/2", "--workers", "1"])
    merging, showing, grading = [line.strip() for line in told.output.splitlines() if line.startswith("  purebench")]
    bash = ["bash", "-c", merging.replace("purebench merge", "printf '%s\\n'", 1)]
    words = subprocess.run(bash, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[:2] == [str(place / f"p q.{k}-of-2.sqlite") for k in (1, 2)]  # the shell finds both stores
    call("merge", *words)
    assert "noise" in call(*shlex.split(showing)[1:])
    run = shlex.split(grading)[1:]
    assert run[2:6] == ["--defense", "gaussian-noise", "--images", "4"]
    with store.reading(place / "p q.sqlite") as saved:
        before = saved.record_keys()
    call(*run, "--workers", 1)
    with store.reading(place / "p q.sqlite") as saved:
        assert saved.record_keys()[: len(before)] == before
        again = [one for key in saved.record_keys() if (one := saved.get(key)) is not None and one.board == "small"]
        assert len(again) == len(before)  # the jobs of the plan are not run again


def test_a_plan_counts_the_jobs_of_its_own_store_and_not_those_of_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purebench.cli.commands.plan.default_store", lambda: tmp_path / "default.sqlite")
    board = write_board(tmp_path, images=6, block=2, attacks=CLEAN, defenses={"none": "none"})
    run_board(load_board(board), tmp_path / "default.sqlite", workers=1)
    assert "6 of 6 jobs are in the store" in call("plan", board, "--budget", "0")
    written = call("plan", board, "--budget", "0", "--write", tmp_path / "p.json")
    assert "are in the store" not in written
    assert "at most 3 shares, such as 3 of them" in written
    assert "--shard 3/3" in written
    empty = CliRunner().invoke(app, ["run", "--plan", str(tmp_path / "p.json"), "--shard", "4/4", "--workers", "1"])
    assert empty.exit_code == 0
    assert "shard 4 of 4 has no job" in " ".join(empty.output.split())
    assert "in 3 groups" in " ".join(empty.output.split())
    call("run", "--plan", tmp_path / "p.json", "--workers", 1)
    assert "6 of 6 jobs are in the store" in call("plan", board, "--budget", "0", "--write", tmp_path / "p.json")


def test_shards_that_were_run_before_and_after_a_change_of_code_are_not_merged(tmp_path: Path) -> None:
    code = (
        "from purebench.core.defense import Function\n\n\ndef own():\n    return Function(lambda x: {}, random=False)\n"
    )
    rows = {"none": "none", "own": f"{tmp_path}/own.py:own"}
    for block, change in enumerate(("x", "1 - x")):
        (tmp_path / "own.py").write_text(code.format(change), encoding="utf-8")
        board = load_board(write_board(tmp_path, images=4, block=2, attacks=CLEAN, defenses=rows))
        context = prepare(board)
        share = [job.key for job in context.jobs() if job.block == block]
        run_prepared(board, context, tmp_path / f"{block}.sqlite", only=share)
    with pytest.raises(PurebenchError, match=r"'small' .* those of the rows 'own' have other keys: code"):
        call("merge", tmp_path / "0.sqlite", tmp_path / "1.sqlite", "-o", tmp_path / "all.sqlite")
    assert not (tmp_path / "all.sqlite").exists()


@pytest.mark.slow
def test_the_array_script_of_the_docs_runs_every_shard(folder: Path, tmp_path: Path) -> None:
    """The script runs once for each task of the array, with the variables that Slurm sets."""
    text = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    script = text.split("```sh\n#!/bin/bash\n#SBATCH", 1)[1].split("```", 1)[0]
    (tmp_path / "array.sh").write_text(
        "#!/bin/bash\n#SBATCH" + script.replace("--device cuda", "--device cpu --trust"), encoding="utf-8"
    )
    for name in ("board.yaml", "defenses.py", "attacks.py", "plan.json"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    for task in (0, 1):
        names = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "array.sh"],
            cwd=tmp_path,
            env={**names, "PATH": path, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    stores = sorted(tmp_path.glob("plan.*-of-2.sqlite"))
    assert len(stores) == 2
    assert "small: 24 of 24 jobs" in call("merge", *stores, "-o", tmp_path / "all.sqlite")
