"""The public API: every name is there, typed, and cheap; modules that moved say where to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import purebench
import purebench.attacks
from purebench.core.source.moved_modules import MOVED


@pytest.mark.parametrize("module", [purebench, purebench.attacks])
def test_every_public_name_is_there_and_is_listed(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in names:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'Purifyer'"):
        _ = module.Purifyer  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, purebench, purebench.attacks; sys.exit(bool({'torch', 'numpy', 'scipy', 'rich'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("old", ["defense", "runner", "leaderboards.results", "attacks.apgd", "statistics.halving"])
def test_a_module_that_moved_says_where_to(old: str) -> None:
    with pytest.raises(ImportError, match=rf"has moved to purebench\.{MOVED[old]}"):
        importlib.import_module(f"purebench.{old}")


def test_a_moved_module_is_named_too_where_it_is_imported_from_the_package() -> None:
    with pytest.raises(ImportError, match=r"purebench\.registry has moved to purebench\.core\.registry"):
        from purebench import registry  # type: ignore[attr-defined]  # noqa: F401


def test_every_new_place_exists_and_no_module_is_both_there_and_moved() -> None:
    for old, new in MOVED.items():
        assert importlib.util.find_spec(f"purebench.{new}") is not None, new
        try:
            spec = importlib.util.find_spec(f"purebench.{old}")
        except ImportError:
            continue
        # the name of a module that is now that of a package
        assert spec is not None
        assert spec.submodule_search_locations is not None, old


def test_a_name_that_never_was_is_not_found_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'purebench\.nothing'"):
        importlib.import_module("purebench.nothing")
