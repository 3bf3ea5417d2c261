"""Finds all modules that a module or a file imports, from the source and without running it.

Modules of purebench, local code (outside of site-packages) and the distribution of the start are followed; for all
others, the versions of their distributions are recorded.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path

from purebench.core.source.moved_modules import MovedModules
from purebench.core.source.source_file import Import, SourceFile, read

INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed packages."""
ABSENT = "not installed"
FILE = "<file>"
"""The name of a file that is not imported by a name."""
NAMESPACE = "namespace"
"""The digest of a package without a file."""


@dataclass(frozen=True)
class Closure:
    """All modules and packages that are imported, directly or indirectly.

    Attributes:
        modules: the digest of every module that was followed, by name.
        files: the files of these modules, by name.
        packages: the version of every other distribution that is imported, by its name, or `not installed`.
    """

    modules: Mapping[str, str]
    files: Mapping[str, Path]
    packages: Mapping[str, str]


@dataclass(frozen=True)
class _Reach:
    """The modules that an imported name leads to, and the versions of other packages.

    Attributes:
        modules: the modules that are followed.
        packages: the versions of other packages.
        whole: whether the name itself is a module that is followed.
    """

    modules: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False


class ImportGraph:
    """The modules and their imports, as the files are at present; a new graph is created for every examination.

    Args:
        own: the distribution whose modules are followed although they are installed.
        folder: the folder of a start file, which is searched for modules that are not on `sys.path`.
        skip: a top-level module that is left out.

    Attributes:
        beside: modules that are found in the folder alone.
        hidden: modules that are in the folder but are found elsewhere first, with both places.
    """

    def __init__(self, own: str = "purebench", folder: Path | None = None, *, skip: str = ""):
        importlib.invalidate_caches()
        self.own, self.folder, self.skip = own, folder, skip
        self.beside: set[str] = set()
        self.hidden: dict[str, tuple[str, str]] = {}
        self.specs: dict[str, ModuleSpec | None] = {}
        self.reached: dict[str, _Reach] = {}
        self.sources: dict[str, tuple[SourceFile, Path] | None] = {}
        self.needs: dict[str, _Reach] = {}

    def closure(self, start: str | Path) -> Closure:
        """Find everything that a module, or a Python file, imports.

        Args:
            start: the dotted name of a module, or the path of a file, which has the name `<file>`.

        Returns:
            The modules that were followed, and the versions of the other packages. There are no modules if the module
                or file does not exist.
        """
        if isinstance(start, str):
            first = self.reach(start)
        else:
            first = _Reach((FILE,) if start.is_file() else ())
            self.sources[FILE] = (read(start), start) if start.is_file() else None
        packages, found, left = dict(first.packages), set[str](), list(first.modules)
        while left:
            if (name := left.pop()) not in found:
                found.add(name)
                needs = self.direct(name)
                packages |= needs.packages
                left += needs.modules
        sources = {name: self.sources[name] for name in sorted(found)}
        return Closure(
            {name: source[0].digest if source else NAMESPACE for name, source in sources.items()},
            {name: source[1] for name, source in sources.items() if source},
            dict(sorted(packages.items())),
        )

    def direct(self, name: str) -> _Reach:
        """Return the direct imports of a module that is followed."""
        if name not in self.needs:
            modules: dict[str, None] = {}
            packages: dict[str, str] = {}
            for one in self._imported(name):
                reach = self.reach(one)
                modules |= dict.fromkeys(reach.modules)
                packages |= reach.packages
            self.needs[name] = _Reach(tuple(modules), packages)
        return self.needs[name]

    def _imported(self, name: str) -> Iterator[str]:
        """Yield the dotted names of everything that a module may import, also of names inside modules."""
        found = self.sources[name]
        if found is None:
            return
        source, path = found
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for one in source.imports:
            module = _absolute(one, package)
            yield module
            if one.name == "*":
                yield from self._below(module)
            elif one.name and self.reach(module).whole:
                yield f"{module}.{one.name}"
        if name.partition(".")[0] != "purebench":  # computed names in purebench are entry points, or not used by a job
            for written in source.computed:
                yield from self._below(written) if written else self._anything(name, path)

    def _below(self, package: str) -> Iterator[str]:
        """Yield all modules directly below a package that is followed."""
        spec = self.spec(package) if self.reach(package).whole else None
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from (f"{package}.{name}" for name in _names_in(Path(folder)))

    def _anything(self, name: str, path: Path) -> Iterator[str]:
        """Yield what a computed name may refer to: all modules of its package, or all files in its folder."""
        top = self.sources.get(name.partition(".")[0])
        if top is None or top[1].name != "__init__.py":
            yield from (beside for beside in _names_in(path.parent) if beside != path.stem)
            return
        folder = top[1].parent
        for file in sorted(folder.rglob("*.py")):
            yield ".".join([name.partition(".")[0], *file.relative_to(folder).with_suffix("").parts])

    def reach(self, name: str) -> _Reach:
        """Return what the import of a dotted name leads to: the packages around it, and the module itself."""
        if name not in self.reached:
            self.reached[name] = self._reach(name)
        return self.reached[name]

    def _reach(self, name: str) -> _Reach:
        above, _, last = name.rpartition(".")
        if not last or last == "__init__" or name in sys.stdlib_module_names or name == self.skip:
            return self.reach(above) if above and last == "__init__" else _Reach()
        around = self.reach(above) if above else _Reach()
        if above and not around.whole:
            return around
        spec = self.spec(name)
        if spec is None:
            return _Reach(around.modules, around.packages if above else {name: ABSENT})
        if not above and not self._is_followed(spec):
            return _Reach((), {owner: installed_version(owner) for owner in owners_of(name)})
        path = Path(spec.origin) if spec.origin and os.path.isfile(spec.origin) else None
        self.sources[name] = None if path is None else (read(path), path)
        return _Reach((*around.modules, name), {}, True)

    def spec(self, name: str) -> ModuleSpec | None:
        """Find a module by Python's own finders, without running it; return None if it does not exist."""
        if name not in self.specs:
            above = name.rpartition(".")[0]
            around = self.spec(above) if above else None
            if not above:
                self.specs[name] = self._top(name)
            else:
                places = around.submodule_search_locations if around else None
                self.specs[name] = None if places is None else _find(name, list(places))
        return self.specs[name]

    def _top(self, name: str) -> ModuleSpec | None:
        here = _find(name, None)
        there = _find(name, [str(self.folder)]) if self.folder else None
        if there is None or there.origin is None:
            return here
        if here is None:
            self.beside.add(name)
            return there
        if here.origin != there.origin:
            self.hidden[name] = (str(here.origin), there.origin)
        return here

    def _is_followed(self, spec: ModuleSpec) -> bool:
        """Return whether a top-level module is purebench, local, or of the followed or of no distribution."""
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        if spec.name == "purebench" or not is_installed(places):
            return spec.origin not in ("built-in", "frozen")
        owners = owners_of(spec.name)
        return not owners or self.own in owners


def is_installed(places: Iterable[str | Path]) -> bool:
    """Return whether one of the paths is in a folder of installed packages."""
    return any(part in INSTALLED for place in places for part in Path(place).parts)


def _absolute(one: Import, package: str) -> str:
    """Return the absolute dotted name of a relative import in a package; empty if it leads out of all packages."""
    if not one.level:
        return one.module
    around = package.split(".") if package else []
    if len(around) < one.level:
        return ""  # raises an error when the code runs
    return ".".join([*around[: len(around) - one.level + 1], *([one.module] if one.module else [])])


def _find(name: str, places: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if finder is MovedModules:  # it finds nothing, and raises where a module has moved
            continue
        find = getattr(finder, "find_spec", None)  # Python 3.11 has finders without it
        if find is not None and (spec := find(name, places)) is not None:
            return spec  # type: ignore[no-any-return]
    return None


def _names_in(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".py" and path.stem.isidentifier() and path.stem != "__init__":
            yield path.stem
        elif (path / "__init__.py").is_file():
            yield path.name


def owners_of(top: str) -> tuple[str, ...]:
    """Return the names of the distributions that installed a top-level module, in alphabetical order."""
    return tuple(sorted({found.name for found in _owners(_installed_state()).get(top, ())}))


def installed_version(distribution: str) -> str:
    """Return the version of a distribution, or `not installed`."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ABSENT


def _installed_state() -> tuple[tuple[str, int], ...]:
    """Return a value that changes when a package is installed."""
    return tuple(
        (place, os.stat(place).st_mtime_ns) for place in sys.path if is_installed([place]) and os.path.exists(place)
    )


@lru_cache(maxsize=1)
def _owners(state: tuple[tuple[str, int], ...]) -> dict[str, list[Distribution]]:
    """Like `importlib.metadata.packages_distributions`, which takes over a second with torch installed."""
    found: dict[str, list[Distribution]] = {}
    for distribution in distributions():
        for top in _tops(distribution):
            found.setdefault(top, []).append(distribution)
    return found


def _tops(distribution: Distribution) -> set[str]:
    listed = distribution.read_text("top_level.txt")
    if listed is not None:
        return set(listed.split())
    return set(re.findall(r"^[^/.,\n]+", distribution.read_text("RECORD") or "", re.MULTILINE))
