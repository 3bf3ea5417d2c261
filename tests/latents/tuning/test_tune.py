"""Tests whole searches: resuming, other settings in the same folder, the written files, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from purebench.boards.board import AttackChoice
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.defenses.mlvgm.schedules import learned
from purebench.latents.tuning.bench import Bench
from purebench.latents.tuning.journal import Journal
from purebench.latents.tuning.trial import Trial
from purebench.latents.tuning.tune import model_name, tune, write

from linear_world import SIGNAL, robust  # isort: skip

N = len(SIGNAL)


def small(setting_of, **fields):
    return setting_of(**{"images": 30, "fresh": 20} | fields)


def test_a_search_resumed_after_a_kill_equals_an_uninterrupted_one(setting_of, tmp_path):
    setting = small(setting_of)
    whole = tune(setting, tmp_path / "whole", evaluations=8, finalists=2)

    class Killed(BaseException):
        pass

    def kill(what, done, total):
        if (what, done) == ("searching", 6):
            raise Killed

    with pytest.raises(Killed):
        tune(setting, tmp_path / "killed", evaluations=8, finalists=2, progress=kill)
    path = tmp_path / "killed" / "trials-gp-full.jsonl"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 6
    with path.open("a", encoding="utf-8") as file:
        file.write('{"number": 6, "po')  # interrupted within a line
    resumed = tune(setting, tmp_path / "killed", evaluations=8, finalists=2)
    assert resumed.searches == whole.searches
    assert [finalist.to_dict() for finalist in resumed.finalists] == [f.to_dict() for f in whole.finalists]


def test_finished_trials_are_not_run_again(setting_of, tmp_path, monkeypatch):
    setting = small(setting_of)
    first = tune(setting, tmp_path / "s", evaluations=6, how="random", finalists=2)

    def refuse(*_: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(Bench, "ask", refuse)
    again = tune(setting, tmp_path / "s", evaluations=6, how="random", finalists=2)
    assert again == first
    # the seed points of another search in the folder are reused
    trials = tune(setting, tmp_path / "s", evaluations=5, how="gp", finalists=2).searches["gp", "full"]
    assert [trial.value for trial in trials] == [trial.value for trial in first.searches["random", "full"][:5]]


@pytest.mark.parametrize("change", [{"seed": 1}, {"images": 31}, {"draws": 3}, {"attenuation": 0.9}])
def test_a_folder_of_another_setting_is_rejected(setting_of, tmp_path, change):
    tune(small(setting_of), tmp_path / "s", evaluations=1, how="random", finalists=1)
    with pytest.raises(PurebenchError, match=f"same settings .*{next(iter(change))} was"):
        tune(small(setting_of, **change), tmp_path / "s", evaluations=1, how="random")


def test_a_file_or_a_damaged_folder_is_rejected(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(PurebenchError, match="is a file"):
        Journal(tmp_path / "file", {})
    journal = Journal(tmp_path / "s", {"a": 1})
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "trials-gp-full.jsonl").write_text("no json\n", encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected JSON"):
        journal.trials("gp", "full")


@pytest.mark.parametrize("change", [{"attack": AttackChoice("attack", Spec("fgms"), "exact")}, {"images": 9_999}])
def test_an_invalid_setting_leaves_no_folder_behind(setting_of, tmp_path, change):
    with pytest.raises(PurebenchError, match=r"did you mean 'fgsm'|use fewer"):
        tune(small(setting_of, **change), tmp_path / "s", evaluations=1, how="random")
    assert not (tmp_path / "s").exists()
    tune(small(setting_of), tmp_path / "s", evaluations=1, how="random", finalists=1)


def test_missing_optuna_is_reported_before_the_first_evaluation(setting_of, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(Bench, "ask", None)  # would be called first
    with pytest.raises(PurebenchError, match=r"pip install 'purebench\[tune\]'"):
        tune(small(setting_of), tmp_path / "s", evaluations=9)
    assert not (tmp_path / "s").exists()


def test_an_interrupted_repair_of_a_partial_line_loses_no_other_line(tmp_path, monkeypatch):
    journal = Journal(tmp_path, {"a": 1})
    for number in range(2):
        journal.keep("gp", "full", Trial(number, (0.5,), (0.5,), 0.1))
    with (tmp_path / "trials-gp-full.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"number": 2, "po')

    opened = Path.open

    def killed(self, mode="r", *more, **named):
        """Opens a file; if it is opened for writing, it is truncated and the process is interrupted."""
        file = opened(self, mode, *more, **named)
        if "r" not in mode:
            file.close()
            raise KeyboardInterrupt
        return file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", killed)
        with pytest.raises(KeyboardInterrupt):
            journal.keep("gp", "full", Trial(2, (0.5,), (0.5,), 0.1))
    assert [trial.number for trial in Journal(tmp_path, {"a": 1}).trials("gp", "full")] == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["setting.json", "trials-gp-full.jsonl"]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PurebenchError, match="--out: expected a writable folder"):
        Journal(tmp_path / "file" / "s", {"a": 1}).keep("gp", "full", Trial(0, (0.5,), (0.5,), 0.1))


def test_purifiers_can_read_the_written_winner(setting_of, tmp_path):
    found = tune(small(setting_of), tmp_path / "s", evaluations=7, how="random", finalists=2)
    places = write(found, tmp_path / "s", "purebench tune")
    assert all(place.is_file() for place in places)
    assert places[2].read_bytes().startswith(b"\x89PNG")
    name = model_name(found.setting)
    assert learned(name, places[0]) == (list(found.winner.candidate.alphas), 1.0)
    entry = yaml.safe_load(places[0].read_text(encoding="utf-8"))[name]
    assert set(entry) == {"alphas", "attenuation", "command", "found"}
    assert found.winner.robust.percent() in " ".join(entry["found"].split())
    plain = json.loads(places[1].read_text(encoding="utf-8"))
    assert len(plain["finalists"]) == len(found.finalists)
    assert plain["winner"]["robust"] == found.winner.robust.to_dict()
    assert plain["winner"]["searched"] == found.winner.candidate.searched


def test_a_list_is_named_after_the_weights_of_the_model(setting_of):
    assert model_name(setting_of(defense=Spec("mlvgm-hvae"))) == "fashion-hvae"
    assert model_name(setting_of(defense=Spec("mlvgm-hvae", {"weights": "mine"}))) == "mine"


@pytest.fixture
def board(tmp_path, world):
    """A board of the linear world with images of seed 5."""
    path = tmp_path / "board.yaml"
    plain = {
        "name": "linear",
        "dataset": {"use": f"{world}:images(count=40, seed=5)", "images": 40, "block": 40},
        "classifier": f"{world}:sign",
        "threat": {"norm": "linf", "radius": "0.05"},
        "attacks": {"clean": {"use": "clean"}},
        "defenses": {"pixels": f"{world}:pixels"},
    }
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return path


def call(board, world, out, *more):
    words = [f"{world}:pixels", "--board", str(board), "--search", "random", "--evaluations", "12"]
    words += [] if out is None else ["--out", str(out)]
    words += ["--images", "60", "--fresh", "40", "--attack", "fgsm", "--draws", "2", "--attenuation", "1"]
    return CliRunner().invoke(app, ["tune", *words, "--trust", *more], env={"COLUMNS": "100"})


def test_the_command_searches_and_prints_a_table_of_100_columns(board, world, tmp_path):
    done = call(board, world, tmp_path / "s", "--dataset", f"{world}:images(count=200)")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if "tuned" not in line and "wrote" not in line]
    assert all(len(line) <= 100 for line in lines if "/" not in line)
    won = next(line for line in lines if "★" in line)
    plain = json.loads((tmp_path / "s" / "result.json").read_text(encoding="utf-8"))
    assert plain["winner"]["name"] in won
    assert f"{100 * plain['winner']['robust']['value']:.1f}" in won
    assert all(base in done.output for base in ("cosine", "linear", "constant"))
    assert plain["apart_from"] == ["linear"]
    best = robust(plain["winner"]["alphas"])
    assert best > robust([0.0] * N)
    assert plain["command"].startswith("purebench")


def test_the_default_folder_is_named_after_the_defense(board, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(board, world, None, "--dataset", f"{world}:images(count=200)", "--evaluations", "1", "--fresh", "4")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "tuned" / "linear_world.py-pixels" / "result.json").is_file()


def test_the_command_rejects_images_of_the_board_and_writes_nothing(board, world, tmp_path):
    done = call(board, world, tmp_path / "s", "--dataset", f"{world}:images(count=200, seed=5)")
    assert isinstance(done.exception, PurebenchError)
    assert "expected no images of the board linear" in str(done.exception)
    assert not (tmp_path / "s").exists()


def test_a_board_without_known_held_out_images_requires_a_dataset(board, world, tmp_path):
    done = call(board, world, tmp_path / "s")
    assert isinstance(done.exception, PurebenchError)
    assert "--dataset" in str(done.exception)
