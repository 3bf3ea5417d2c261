"""Tests that the wheel contains every file of the packages and installs into an empty environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"suite": "", "attacks": "attacks/", "defenses": "defenses/", "leaderboards": "leaderboards/"}
NOT_SHIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree, so that no build folder is left in it."""
    copy, out = tmp_path_factory.mktemp("tree") / "tree", tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def tree() -> set[str]:
    """Returns the files of the four folders by their paths in the package."""
    return {
        f"purebench/{inside}{path.relative_to(ROOT / folder)}"
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }


def test_the_wheel_contains_exactly_the_files_of_the_tree(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("purebench/")}
    assert packed == tree()


def test_the_wheel_installs_without_dependencies_as_purebench_only(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    code = (
        "import importlib.util as u, importlib.metadata as m, purebench, purebench.core.registry as r; "
        "assert all(u.find_spec(n) is None for n in ('attacks', 'defenses', 'leaderboards', 'suite')); "
        "assert {e.name for e in m.entry_points(group='purebench.attacks')} >= {'apgd', 'square'}; "
        "print(purebench.__version__, m.version('purebench'))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    one, two = done.stdout.split()
    assert one == two
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    installed = {str(path.relative_to(site)) for path in (site / "purebench").rglob("*") if path.is_file()}
    assert {name for name in installed if "__pycache__" not in name} == tree()
