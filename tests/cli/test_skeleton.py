"""Tests of `purebench new`: its files run unchanged, and it overwrites no existing files."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.cli.skeleton import write, write_board
from purebench.core.errors import PurebenchError
from purebench.data.adapt import load_images

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def command(*words: object) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_printed_commands_of_a_new_defense_run(own_folder: Path) -> None:
    output = command("new", "defense", "my_method").output
    tried, first, second, third = re.findall(r"^  (.*)$", output, re.MULTILINE)
    assert tried == "purebench try my_method/my_method.py:my_method"
    assert first == "purebench run my_method/board.yaml"
    assert second == "purebench run --defense my_method/my_method.py:my_method --board fashion-quick"
    assert third == "python -m pytest my_method/test_my_method.py"
    run = command(*first.split()[1:], "--images", 2, "--workers", 1)
    assert run.exit_code == 0
    assert "my_method" in run.output
    assert "errored" not in run.output
    one = command(*second.split()[1:-1], "my_method/board.yaml", "--images", 2, "--workers", 1)
    assert one.exit_code == 0
    assert "my_method" in one.output
    call_test(third.split()[-1], "test_it_keeps_the_shape_and_the_range")


def test_a_copy_of_a_bundled_board_is_the_same_board_under_another_name(own_folder: Path) -> None:
    done = command("new", "board", "mine", "--from", "fashion-quick", "--folder", "boards/mine")
    assert "purebench run boards/mine/board.yaml" in done.output
    original, copy = load_board(bundled()["fashion-quick"]), load_board(own_folder / "boards/mine/board.yaml")
    assert {**original.to_dict(), "name": "mine"} == copy.to_dict()
    assert "$schema=board.schema.json" in (own_folder / "boards/mine/board.yaml").read_text(encoding="utf-8")
    assert (own_folder / "boards/mine/board.schema.json").is_file()


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("mine", "fashion-quik", "'fashion-quik' is unknown; did you mean 'fashion-quick'"),
        (
            "fashion-linf",
            "fashion-quick",
            "lower-case letters, digits and hyphens that no bundled board has",
        ),
        ("Mine", "fashion-quick", "but got 'Mine'"),
        ("a b", "fashion-quick", "but got 'a b'"),
        ("../up", "fashion-quick", "but got '../up'"),
    ],
)
def test_a_board_is_not_copied_from_nowhere_or_under_a_bad_name(name: str, source: str, told: str) -> None:
    with pytest.raises(PurebenchError, match=re.escape(told)):
        write_board(name, source, Path("mine"))
    assert not any(Path().iterdir())


@pytest.mark.parametrize("name", ["null", "true", "123", "1e5"])
def test_a_copy_whose_name_is_no_text_in_yaml_can_be_read(name: str) -> None:
    write_board(name, "fashion-quick", Path("copy"))
    assert load_board(Path("copy/board.yaml")).name == name


def test_a_copy_overwrites_no_board(own_folder: Path) -> None:
    assert command("new", "board", "mine", "--from", "fashion-quick").exit_code == 0
    with pytest.raises(PurebenchError, match="expected no file of this name, but it exists"):
        write_board("mine", "fashion-linf", Path("mine"))
    assert load_board(own_folder / "mine/board.yaml").dataset.images == 48


def test_the_printed_commands_of_a_new_attack_run(own_folder: Path) -> None:
    output = command("new", "attack", "my_attack", "--folder", "attacks/mine").output
    first, second = re.findall(r"^  (.*)$", output, re.MULTILINE)
    run = command(*first.split()[1:], "--images", 2, "--workers", 1)
    assert run.exit_code == 0
    assert "errored" not in run.output
    assert [a.name for a in load_board(Path("attacks/mine/board.yaml")).attacks] == ["clean", "my_attack", "apgd-exact"]
    call_test(second.split()[-1], "test_it_breaks_what_has_no_defense")


def test_the_printed_commands_of_a_new_dataset_run(own_folder: Path) -> None:
    output = command("new", "dataset", "my_images").output
    first, second = re.findall(r"^  (.*)$", output, re.MULTILINE)
    run = command(*first.split()[1:], "-d", "none", "--images", 4, "--workers", 1)
    assert run.exit_code == 0
    assert "errored" not in run.output
    board = load_board(Path("my_images/board.yaml"))
    assert board.dataset.use.name == "my_images/my_images.py:my_images"
    data = load_images(board.dataset.use)
    assert data.images.shape == (60, 1, 16, 16)
    assert data.classes == ("horizontal", "vertical", "diagonal")
    call_test(second.split()[-1], "test_every_class_has_images_of_one_size")
    call_test(second.split()[-1], "test_the_classifier_knows_the_classes")


@pytest.mark.parametrize("kind", ["defense", "attack", "dataset"])
@pytest.mark.parametrize(
    ("place", "board"), [("mine", "board.yaml"), (".", "mine/board.yaml"), ("other", "../mine/board.yaml")]
)
def test_a_new_board_runs_from_any_folder(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, place: str, board: str
) -> None:
    write(kind, "my_own", Path("mine"))
    (own_folder / "other").mkdir()
    monkeypatch.chdir(own_folder / place)
    chosen = ("-d", "my_own") if kind == "defense" else ("-d", "none")
    done = command("run", board, *chosen, "--images", 1, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "errored" not in done.output


@pytest.mark.slow
def test_the_tests_of_a_new_defense_pass(own_folder: Path) -> None:
    if not any(point.value.startswith("purebench.") for point in entry_points(group="pytest11")):
        pytest.skip("the pytest plugin is not installed")
    write("defense", "my_method", Path("my_method"))
    call = [sys.executable, "-m", "pytest", "my_method/test_my_method.py", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def call_test(path: str, name: str) -> None:
    """Calls a test without fixtures in this process, which saves the seconds of a start-up."""
    runpy.run_path(path)[name]()


@pytest.mark.parametrize("kind", ["defense", "attack", "dataset"])
def test_new_files_pass_ruff(own_folder: Path, kind: str) -> None:
    """The formatter and the linter report nothing, including unused imports and long lines."""
    write(kind, "my_own_thing", Path("my_own_thing"))
    rules = ["check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "D1"]
    for words in (rules, ["format", "--line-length", "120", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, "."], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("defense", "my-method", "a valid Python name"),
        ("defense", "1st", "a valid Python name"),
        ("defense", "class", "a valid Python name"),
        ("defense", "", "a valid Python name"),
        ("defense", "größer", "a valid Python name"),
        ("defense", "../up", "a valid Python name"),
        ("defense", "__", "expected a letter"),
        ("defense", "__init__", "expected a letter"),
        ("defense", "a" * 300, "at most 59 more"),
        ("defense", "torch", "'torch' is a name of Python or of an installed package"),
        ("defense", "random", "'random' is a name of Python or of an installed package"),
        ("defense", "print", "'print' is a name of Python or of an installed package"),
        ("defense", "Tensor", "themselves use 'Tensor'"),
        ("defense", "without", "themselves use 'without'"),
        ("attack", "clean", "themselves use 'clean'"),
        ("dataset", "classifier", "themselves use 'classifier'"),
        ("dataset", "patterns", "themselves use 'patterns'"),
    ],
)
def test_invalid_names_are_rejected(own_folder: Path, kind: str, name: str, message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        command("new", kind, name)
    assert list(own_folder.iterdir()) == []


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py", "board.schema.json", "board.yaml"])
def test_existing_files_are_not_overwritten(own_folder: Path, there: str) -> None:
    (own_folder / "mine").mkdir()
    (own_folder / "mine" / there).write_text("precious", encoding="utf-8")
    with pytest.raises(PurebenchError, match=rf"{there}: expected no file of this name"):
        write("defense", "mine", Path("mine"))
    assert [(path.name, path.read_text(encoding="utf-8")) for path in (own_folder / "mine").iterdir()] == [
        (there, "precious")
    ]


def test_invalid_folders_are_rejected(own_folder: Path) -> None:
    with pytest.raises(PurebenchError, match="without spaces"):
        write("defense", "mine", Path("my folder"))
    (own_folder / "file").write_text("", encoding="utf-8")
    with pytest.raises(PurebenchError, match="cannot be written"):
        write("defense", "mine", Path("file"))


def test_run_takes_the_board_as_argument_or_option() -> None:
    """Both may be given if they agree; two boards or none are rejected before a run."""
    for words in (["nowhere.yaml"], ["--board", "nowhere.yaml"], ["nowhere.yaml", "--board", "nowhere.yaml"]):
        with pytest.raises(PurebenchError, match=r"^nowhere\.yaml: cannot be read .* Pass the path of a board\.yaml\."):
            command("run", *words)
    with pytest.raises(PurebenchError, match="expected one board, but got fashion-linf and fashion-quick"):
        command("run", "fashion-linf", "--board", "fashion-quick")
    with pytest.raises(PurebenchError, match=r"got none; known: .*fashion-quick"):
        command("run", "--defense", "vae")


def test_a_registered_name_is_mentioned(own_folder: Path) -> None:
    told = command("new", "attack", "latent").stderr
    assert (
        "'latent' is also the registered name of another attack; yours is named by its file, latent/latent.py" in told
    )
    assert command("new", "attack", "my_own").stderr == ""
