"""Tests the public API: every listed name exists, importing is cheap, and moved modules name their new place."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import purebench
import purebench.attacks
from purebench.core.source.moved_modules import MOVED


@pytest.mark.parametrize("module", [purebench, purebench.attacks])
def test_every_public_name_exists_and_is_listed_by_dir(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in names:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'Purifyer'"):
        _ = module.Purifyer  # type: ignore[attr-defined]


def test_importing_the_package_does_not_import_large_dependencies() -> None:
    code = (
        "import sys, purebench, purebench.attacks; sys.exit(bool({'torch', 'numpy', 'scipy', 'rich'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("old", ["defense", "runner", "leaderboards.results", "attacks.apgd", "statistics.halving"])
def test_importing_a_moved_module_names_its_new_place(old: str) -> None:
    with pytest.raises(ImportError, match=rf"has moved to purebench\.{MOVED[old]}"):
        importlib.import_module(f"purebench.{old}")


def test_importing_a_moved_module_from_the_package_names_its_new_place() -> None:
    with pytest.raises(ImportError, match=r"purebench\.registry has moved to purebench\.core\.registry"):
        from purebench import registry  # type: ignore[attr-defined]  # noqa: F401


def test_moved_modules_exist_at_the_new_place_and_not_at_the_old_one() -> None:
    for old, new in MOVED.items():
        assert importlib.util.find_spec(f"purebench.{new}") is not None, new
        try:
            spec = importlib.util.find_spec(f"purebench.{old}")
        except ImportError:
            continue
        # the name of the old module is now that of a package
        assert spec is not None
        assert spec.submodule_search_locations is not None, old


def test_an_unknown_module_raises_module_not_found_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'purebench\.nothing'"):
        importlib.import_module("purebench.nothing")
