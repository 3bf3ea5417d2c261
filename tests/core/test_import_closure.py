"""Tests that the imports of a file or module are found without running it, and only those of Python itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from purebench.core.errors import PurebenchError
from purebench.core.source import import_closure
from purebench.core.source.distributions import ABSENT
from purebench.core.source.import_closure import FILE, ImportGraph


def write(folder: Path, **files: str) -> Path:
    """Write files by dotted name, with `_` for a dot and `_init` for `__init__`; each fails if it is run."""
    for name, text in files.items():
        *above, last = name.split("_")
        path = folder.joinpath(*above, "__init__.py" if last == "init" else f"{last}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\nraise SystemExit('this was run')\n", encoding="utf-8")
    return folder / "mine.py"


def names(file: Path) -> list[str]:
    return list(ImportGraph("", file.parent).closure(file).modules)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import helper", ["helper"]),
        ("def late():\n    from helper import x", ["helper"]),
        ("import pack.part", ["pack", "pack.other", "pack.part"]),
        ("from pack import part", ["pack", "pack.other", "pack.part"]),
        ("from pack import something", ["pack"]),
        ("from pack import *", ["pack", "pack.deep", "pack.deep.end", "pack.other", "pack.part"]),
        ("from pack.deep.end import x", ["pack", "pack.deep", "pack.deep.end"]),
        ("importlib.import_module('pack.part')", ["pack", "pack.other", "pack.part"]),
        ("import lazy", ["lazy", "lazy.one", "lazy.two"]),
        ("import circle", ["circle", "helper", "round"]),
        ("import_module(f'pack.{x}')", ["pack", "pack.deep", "pack.deep.end", "pack.other", "pack.part"]),
        ("import os, json, never_written", []),
    ],
)
def test_imports_of_local_modules_are_followed(tmp_path: Path, text: str, expected: list[str]) -> None:
    file = write(
        tmp_path,
        mine=text,
        helper="x = 1",
        circle="import round",
        round="import circle, helper",
        pack_init="",
        pack_part="from . import other",
        pack_other="from .. import beyond",
        pack_deep_init="from .end import x",
        pack_deep_end="x = 1",
        lazy_init="def __getattr__(name): return import_module('.' + name, __name__)",
        lazy_one="",
        lazy_two="",
    )
    assert names(file) == sorted([FILE, *expected])


def test_a_computed_import_includes_all_files_of_the_folder(tmp_path: Path) -> None:
    file = write(tmp_path, mine="import_module(name)", helper="", other="import deep", deep="", pack_init="")
    assert names(file) == [FILE, "deep", "helper", "other", "pack"]


@pytest.mark.parametrize(
    "text", ["import_module(name)", "spec_from_file_location(n, p)", "SourceFileLoader(n, p)", "runpy.run_path(p)"]
)
def test_a_computed_import_includes_the_files_of_subfolders(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, mine=text, helper="")
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for hidden in (".git", "__pycache__", "env"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "other.py").write_text("", encoding="utf-8")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "sub" / "part.py").write_text("", encoding="utf-8")
    (tmp_path / "sub" / "deep" / "no-name.py").write_text("x = 1", encoding="utf-8")
    before = ImportGraph("", tmp_path).closure(file).modules
    assert list(before) == [FILE, f"{FILE}/sub/deep/no-name.py", "helper", "sub", "sub.part"]
    (tmp_path / "sub" / "deep" / "no-name.py").write_text("x = 2", encoding="utf-8")
    after = ImportGraph("", tmp_path).closure(file).modules
    assert [name for name in after if after[name] != before[name]] == [f"{FILE}/sub/deep/no-name.py"]


def test_a_folder_without_init_is_a_package(tmp_path: Path) -> None:
    file = write(tmp_path, mine="import sub.part")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "part.py").write_text("", encoding="utf-8")
    assert names(file) == [FILE, "sub", "sub.part"]


def test_a_computed_import_with_too_many_files_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_closure, "MOST_FILES", 2)
    assert names(write(tmp_path, mine="import_module(name)", helper=""))
    file = write(tmp_path, mine="import_module(name)", helper="", third="")
    with pytest.raises(PurebenchError, match=r"at most 2 Python files below .* separate folder"):
        names(file)


def test_other_packages_are_recorded_by_version(tmp_path: Path) -> None:
    file = write(tmp_path, mine="import torch.nn, helper, not_of_this_world", helper="from PIL import Image")
    found = ImportGraph("", tmp_path).closure(file)
    assert found.packages == {"torch": version("torch"), "pillow": version("pillow"), "not_of_this_world": ABSENT}
    assert not {"torch", "PIL"} & found.modules.keys()


def test_extension_modules_are_hashed_by_their_bytes(tmp_path: Path) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES

    file, compiled = write(tmp_path, mine="import fast"), tmp_path / f"fast{EXTENSION_SUFFIXES[0]}"
    digests = []
    for content in (b"\x7fELF 1", b"\x7fELF 2"):
        compiled.write_bytes(content)
        digests.append(ImportGraph("", tmp_path).closure(file).modules["fast"])
    assert digests[0] != digests[1]


def test_modules_of_the_given_distribution_are_followed_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site-packages"
    write(place, plug="import plugged, owned", plugged="", owned="")
    for name, top in (("the-plug", "plug\nplugged"), ("the-owner", "owned")):
        folder = place / f"{name.replace('-', '_')}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n", encoding="utf-8")
        (folder / "top_level.txt").write_text(top, encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    found = ImportGraph("the-plug").closure("plug")
    assert (list(found.modules), found.packages) == (["plug", "plugged"], {"the-owner": "1.5"})
    assert ImportGraph("purebench").closure("plug").packages == {"the-plug": "1.5"}


JOB = """
import sys
from purebench.boards.board import AttackChoice, Board, DatasetChoice, DefenseChoice
from purebench.boards.code_identity import code_of_board
from purebench.execution.context import prepare
from purebench.boards.jobs import Job
from purebench.core.registry import Spec
from purebench.execution.jobs.job import run_job
from purebench.core.threat import ThreatModel
rows = {"mlvgm": "mlvgm-hvae", "nested": "before(purifier=jpeg, classifier=fashion-trades)"}
board = Board(
    "small",
    "",
    "",
    DatasetChoice(Spec("fashion-mnist"), 1, 1),
    Spec("fashion-resnet"),
    ThreatModel("linf", 8 / 255),
    (AttackChoice("apgd", Spec.parse("apgd(steps=1)"), "exact"),),
    tuple(DefenseChoice(name, Spec.parse(text)) for name, text in rows.items()),
    draws=2,
)
context = prepare(board)
attacks = {job.key: job for job in context.jobs() if isinstance(job, Job)}
found = {key: run_job(job, context) for key, job in attacks.items()}
print(*(outcome for finding in found.values() for outcome in finding.record.outcomes))
code = code_of_board(board)
parts = [code.purebench, code.classifier, code.dataset, *code.defenses.values(), *code.attacks.values()]
known = {name for part in [*parts, *code.views.values()] for name in part.modules}
def loaded():
    return {name for name in sys.modules if name.partition(".")[0] == "purebench"}
print("MISSING", sorted(loaded() - known))
before = loaded()
from purebench.execution.jobs.worst_case_job import run_worst_case
for job in context.jobs():
    if job.key not in attacks:
        print(*run_worst_case(job, context, [found[key] for key in job.needs]).record.outcomes)
print("MISSING HERE", sorted(loaded() - before - set(code.worst_case.modules)))
print("ALL", sorted(known), "AND", sorted(code.worst_case.modules))
"""


def test_the_code_of_a_job_has_every_module_that_it_loads_and_no_unrelated_ones() -> None:
    """Compared with the modules that Python has imported after running the jobs."""
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, check=True)
    assert "errored" not in done.stdout
    assert "MISSING []" in done.stdout
    assert "MISSING HERE []" in done.stdout
    attack_modules, _, worst_case_modules = done.stdout.partition("ALL ")[2].partition(" AND ")
    for name in (
        "attacks.gradient.apgd",
        "attacks.views.view",
        "execution.jobs.verification",
        "execution.jobs.job",
        "defenses.transforms.jpeg",
        "core.norms.norms",
    ):
        assert f"'purebench.{name}'" in attack_modules
    for name in ("leaderboards", "results", "cli", "report", "api", "records.store'", "statistics", "checks"):
        assert f"'purebench.{name}" not in attack_modules, name
        assert (f"'purebench.{name}" in worst_case_modules) is (name == "statistics"), name
    for name in ("execution.jobs.worst_case_job", "statistics", "execution.jobs.verification", "core.compute.batching"):
        assert f"'purebench.{name}" in worst_case_modules
