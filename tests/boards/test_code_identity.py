"""Tests that results are reused only under unchanged code, and that comments and other files change no result."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import purebench
from purebench.boards.board import Board
from purebench.boards.code_identity import code_of, code_of_board
from purebench.boards.parse import parse_board
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.source import fresh_modules
from purebench.core.source.import_closure import Closure
from purebench.records.outcome import WORST_CASE
from purebench.testing.fixture import Robustness
from purebench.testing.settings import Settings

MINE = """
import torch
from {helper} import right
from purebench.core.defense import Defense
from purebench.data.datasets import fashion_mnist

DATA = fashion_mnist()
EVERY, LABELS = torch.as_tensor(DATA.floats()).flatten(1), torch.as_tensor(DATA.labels)

def knows():
    def answer(x):
        label = LABELS[torch.cdist(x.flatten(1), EVERY).argmin(1)]
        return torch.nn.functional.one_hot(label if right() else (label + 1) % 10, 10).float()
    return Defense(answer)
"""
RIGHT, WRONG = "def right():\n    return True\n", "def right():\n    return None\n"  # of the same length


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Removes local modules and folders from `sys.modules` and `sys.path` after each test."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("helper", "helped", "plug", "pack"):
            del sys.modules[name]
            fresh_modules._KNOWN.pop(name, None)
    sys.path[:] = path


@pytest.fixture
def board() -> Board:
    return parse_board(
        {
            "name": "small",
            "dataset": {"use": "fashion-mnist", "images": 2, "block": 2},
            "classifier": "fashion-resnet",
            "threat": {"norm": "linf", "radius": "1/255"},
            "attacks": {"clean": {"use": "clean"}},
            "defenses": {"none": "none"},
        }
    )


def accuracy(spec: str, board: Board, store: Path) -> float:
    report = purebench.evaluate({"row": spec}, board, store=store, progress=False)
    clean = report.results[0].clean
    assert clean is not None
    return clean.value


def test_an_edited_helper_module_is_evaluated_anew(
    tmp_path: Path, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds within one process, for an equal file size and modification time, and if the old code is restored."""
    (tmp_path / "mine.py").write_text(MINE.format(helper="helper"), encoding="utf-8")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    found = []
    for text in (RIGHT, WRONG, RIGHT, "# a comment\n" + RIGHT):
        (tmp_path / "helper.py").write_text(text, encoding="utf-8")
        os.utime(tmp_path / "helper.py", (1e9, 1e9))
        found.append(accuracy(f"{tmp_path}/mine.py:knows", board, tmp_path / "store.sqlite"))
    assert found == [1.0, 0.0, 1.0, 1.0]


def test_code_identity_includes_indirect_imports(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from helped import x\ndef make(): return x\n", encoding="utf-8")
    (tmp_path / "helped.py").write_text("from helper import x\n", encoding="utf-8")
    spec, made = Spec(f"{tmp_path}/mine.py:make"), []
    sources = set()
    for value in (1, 2):
        (tmp_path / "helper.py").write_text(f"x = {value}\n", encoding="utf-8")
        sources.add(code_of("defenses", spec).source)
        made.append(registry.create("defenses", spec))
    assert (made, len(sources)) == ([1, 2], 2)


def test_an_assertion_is_repeated_after_its_code_changed(tmp_path: Path, board: Board) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(helper="helper"), encoding="utf-8")
    more = replace(board, dataset=replace(board.dataset, images=16, block=8))
    claims = Robustness(Settings(store=tmp_path / "found", images=tmp_path / "images", board=more, confidence=0.8))
    results = []
    for text in (RIGHT, WRONG):
        (tmp_path / "helper.py").write_text(text, encoding="utf-8")
        results.append(str(claims.clean_at_least(f"{tmp_path}/mine.py:knows", 0.3).result))
    assert results == ["holds", "fails"]


def plug(place: Path, number: str, right: str) -> None:
    """Writes a plug-in into a folder of installed packages, as a package manager does."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "plug").mkdir(parents=True)
    (place / "plug" / "__init__.py").write_text("", encoding="utf-8")
    (place / "plug" / "rows.py").write_text(MINE.format(helper="plug.inner"), encoding="utf-8")
    (place / "plug" / "inner.py").write_text(right, encoding="utf-8")
    info = place / f"the_plug-{number}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: the-plug\nVersion: {number}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[purebench.defenses]\nplugged = plug.rows:knows\n", encoding="utf-8")
    (info / "top_level.txt").write_text("plug\n", encoding="utf-8")


def test_a_plugin_with_changed_code_or_version_is_evaluated_anew(
    tmp_path: Path, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site-packages"
    plug(place, "1.0", RIGHT)
    monkeypatch.syspath_prepend(str(place))
    assert accuracy("plugged", board, tmp_path / "store.sqlite") == 1.0
    first = code_of("defenses", Spec("plugged"))
    plug(place, "1.0", WRONG)  # the same version, as in an editable installation
    assert accuracy("plugged", board, tmp_path / "store.sqlite") == 0.0
    plug(place, "1.1", RIGHT)
    assert accuracy("plugged", board, tmp_path / "store.sqlite") == 1.0
    second = code_of("defenses", Spec("plugged"))
    assert (first.distribution, first.version, second.version) == ("the-plug", "1.0", "1.1")
    assert first.source == second.source
    assert {"plug", "plug.rows", "plug.inner", "purebench.core.defense"} <= first.modules.keys()


def test_code_identity_includes_specs_in_parameters(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    specs = [
        Spec.parse(f"vote(defense='{file}:make(a=1)', draws=3)"),
        Spec.parse({"before": {"purifier": {f"{file}:make": {"a": 1}}, "classifier": "fashion-trades"}}),
        Spec.parse({"x": {"many": [f"{file}:make"]}}),
    ]
    found = []
    for text in ("def make(a): return a", "def make(a): return -a"):
        file.write_text(text, encoding="utf-8")
        found.append([code_of("defenses", spec).source for spec in specs])
    assert all(before != after for before, after in zip(*found, strict=True))
    nested = code_of("defenses", Spec.parse("before(purifier=diffpure, classifier=fashion-trades)")).modules
    assert {"purebench.defenses.diffusion.diffpure", "purebench.defenses.classifiers.resnet"} <= nested.keys()


def test_code_identity_names_torch_and_the_library_of_an_adapter(board: Board) -> None:
    assert code_of("attacks", Spec("art:ProjectedGradientDescent")).packages["adversarial-robustness-toolbox"]
    assert code_of("attacks", Spec("foolbox:LinfPGD")).packages["foolbox"] == version("foolbox")
    assert code_of("attacks", Spec("autoattack:apgd-ce")).packages["pyautoattack"] == version("pyautoattack")
    assert code_of("classifiers", Spec("robustbench")).packages["robustbench"] == version("robustbench")
    assert code_of("defenses", Spec("diffpure")).packages["diffusers"] == version("diffusers")
    identity = code_of_board(board).of_job("none", "clean")
    assert identity["packages"]["torch"] == version("torch")
    assert identity["packages"]["torchvision"] == version("torchvision")
    for part in ("classifier", "dataset", "defense", "attack", "view", "purebench"):
        assert (identity[part]["distribution"], identity[part]["version"]) == ("purebench", version("purebench"))
        assert len(identity[part]["source"]) == 64


def test_records_contain_the_identity_of_their_code(tmp_path: Path, board: Board) -> None:
    from purebench.execution.board_run import run_board

    context, records = run_board(board, tmp_path / "store.sqlite", workers=1)
    recorded, code = {record.attack: record.provenance["code"] for record in records}, code_of_board(board)
    picking = {"purebench": code.worst_case.to_dict(), "packages": dict(code.worst_case.packages)}
    assert "scipy" in picking["packages"]  # its special functions affect the pick
    expected = {"clean": code.of_job("none", "clean"), WORST_CASE: picking}
    assert recorded == {job.label: job.code for job in context.jobs()} == expected


@pytest.mark.parametrize("part", ["purebench", "classifier", "dataset", "defenses", "attacks", "views", "worst_case"])
def test_every_part_of_the_code_changes_the_key(board: Board, part: str) -> None:
    from purebench.boards.jobs import plan

    code = code_of_board(board)
    old = getattr(code, part)
    changed = replace(code.purebench, source="other")
    other = replace(code, **{part: dict.fromkeys(old, changed) if isinstance(old, dict) else changed})
    before, after = (plan(board, ["d"], {"none": "w"}, "1", each) for each in (code, other))
    same = [first.key == second.key for first, second in zip(before, after, strict=True)]
    assert same == [part == "worst_case", False]  # an attack job, and the worst-case job that needs it
    assert [job.stream for job in before] == [job.stream for job in after]


def test_two_modules_of_the_same_name_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text("x = 1\n", encoding="utf-8")
        (tmp_path / name / "mine.py").write_text("import helper\ndef make(): return 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    assert registry.create("defenses", Spec(f"{tmp_path}/a/mine.py:make")) == 1
    with pytest.raises(
        PurebenchError, match=r"expected one module 'helper', but there are two, .*; rename one of them"
    ):
        registry.create("defenses", Spec(f"{tmp_path}/b/mine.py:make"))


def test_a_changed_package_is_reloaded_with_its_submodules(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    for name, text in (("__init__", "x = 1"), ("used", "y = 1"), ("unused", "z = 1")):
        (tmp_path / "pack" / f"{name}.py").write_text(text + "\n", encoding="utf-8")
    file = tmp_path / "mine.py"
    file.write_text("import pack.used\ndef make():\n    import pack\n    return pack.used.y\n", encoding="utf-8")
    assert registry.create("defenses", Spec(f"{file}:make")) == 1
    import importlib

    importlib.import_module("pack.unused")
    (tmp_path / "pack" / "used.py").write_text("y = 2\n", encoding="utf-8")
    assert registry.create("defenses", Spec(f"{file}:make")) == 2
    assert importlib.import_module("pack.unused") is sys.modules["pack"].unused


def test_unchanged_modules_are_not_reloaded(tmp_path: Path) -> None:
    """A class that a test has imported is the class that the defense uses."""
    (tmp_path / "helper.py").write_text("class C: pass\n", encoding="utf-8")
    file = tmp_path / "mine.py"
    file.write_text("import helper\ndef make(): return helper.C\n", encoding="utf-8")
    first = registry.create("defenses", Spec(f"{file}:make"))
    file.write_text("import helper\ndef make(): return (helper.C,)\n", encoding="utf-8")
    assert registry.create("defenses", Spec(f"{file}:make")) == (first,)


def test_changed_purebench_modules_require_a_restart_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_modules, "_KNOWN", {})
    file = {"purebench.x": tmp_path / "x.py"}
    fresh_modules.require_unchanged(Closure({"purebench.x": "1"}, file, {}))
    fresh_modules.require_unchanged(Closure({"purebench.x": "1"}, file, {}))
    with pytest.raises(PurebenchError, match=r"x\.py has changed since Python imported it; restart Python"):
        fresh_modules.require_unchanged(Closure({"purebench.x": "2"}, file, {}))
    monkeypatch.setitem(fresh_modules._KNOWN, "purebench.defenses.transforms.jpeg", "as it was")
    with pytest.raises(PurebenchError, match=r"jpeg\.py has changed since"):
        code_of("defenses", Spec("jpeg"))


def test_notebook_code_has_a_new_identity_in_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no file to compare; records of an object are not reused after its lifetime."""
    sources = []
    for _ in range(2):
        typed: dict[str, object] = {"__name__": "__main__"}
        exec("def make(): return 1", typed)
        monkeypatch.setitem(registry.LOCAL["defenses"], "typed", typed["make"])
        monkeypatch.setitem(sys.modules, "__main__", type(sys)("__main__"))
        sources.append(code_of("defenses", Spec("typed")).source)
        assert code_of("defenses", Spec("typed")).source == sources[-1]
    assert sources[0] != sources[1]
    monkeypatch.setitem(registry.LOCAL["defenses"], "in-memory:x", lambda: 1)
    assert code_of("defenses", Spec("in-memory:x")).source == ""


def test_a_registered_name_has_the_code_of_its_file(tmp_path: Path) -> None:
    """The factory of this test is defined in this file."""
    registry.register("defenses", "of-this-file")(lambda: 1)
    try:
        modules = code_of("defenses", Spec("of-this-file")).modules
        assert {"<file>", "purebench.testing.fixture"} <= modules.keys()
    finally:
        del registry.LOCAL["defenses"]["of-this-file"]


def test_unknown_names_have_no_code() -> None:
    assert code_of("attacks", Spec("nothing-of-the-kind")).source == ""
    assert code_of("attacks", Spec("no/such/file.py:x")).source == ""
