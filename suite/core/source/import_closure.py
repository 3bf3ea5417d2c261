"""Finds all modules that a module or a file imports, from the source and without running it.

Modules of purebench, local code (outside of site-packages) and the distribution of the start are followed; for all
others, the versions of their distributions are recorded.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.source.distributions import ABSENT, installed_version, is_installed, owners_of
from purebench.core.source.moved_modules import MovedModules
from purebench.core.source.source_file import Import, SourceFile, read

FILE = "<file>"
"""The name of a file that is not imported by a name."""
MOST_FILES = 2000
"""Largest number of files below a folder that count as possible targets of a computed import."""
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
        package = "" if "/" in name else name if path.name == "__init__.py" else name.rpartition(".")[0]
        for one in source.imports:
            module = _absolute(one, package)
            yield module
            if one.name == "*":
                yield from self._below(module)
            elif one.name and self.reach(module).whole:
                yield f"{module}.{one.name}"
        if name.partition(".")[0] != "purebench":  # computed names in purebench are entry points, or not used by a job
            for written in source.computed:
                yield from self._anything(name, path, written)

    def _below(self, package: str) -> Iterator[str]:
        """Yield all modules directly below a package that is followed."""
        spec = self.spec(package) if self.reach(package).whole else None
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from (f"{package}.{name}" for name in _names_in(Path(folder)))

    def _anything(self, name: str, path: Path, package: str) -> Iterator[str]:
        """Yield what a computed name may refer to: every file of the package, or of the folder of the file."""
        top, inside = name.partition(".")[0], self.sources.get(name.partition(".")[0])
        if package:
            spec = self.spec(package) if self.reach(package).whole else None
            folders = {Path(place): package for place in (spec.submodule_search_locations or ())} if spec else {}
        elif inside is not None and inside[1].name == "__init__.py":
            folders = {inside[1].parent: top}
        else:
            folders = {path.parent: ""}
        for folder, above in folders.items():
            for file in _files_below(folder):
                if file != path:
                    yield self._file(top, above, file.relative_to(folder), file)

    def _file(self, start: str, above: str, place: Path, path: Path) -> str:
        """Return the dotted name of a file, or a name with slashes if Python would not find it by a dotted name."""
        parts = [*above.split("."), *place.with_suffix("").parts] if above else list(place.with_suffix("").parts)
        dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if all(part.isidentifier() for part in parts) and self.reach(dotted).whole:
            found = self.sources[dotted]
            if found is not None and found[1].resolve() == path.resolve():
                return dotted
        name = f"{start}/{place.as_posix()}"
        self.sources[name], self.reached[name] = (read(path), path), _Reach((name,), {}, True)
        return name

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
        if there is None:
            return here
        if here is None:
            self.beside.add(name)
            return there
        if there.origin is not None and here.origin != there.origin:
            self.hidden[name] = (str(here.origin), there.origin)
        return here

    def _is_followed(self, spec: ModuleSpec) -> bool:
        """Return whether a top-level module is purebench, local, or of the followed or of no distribution."""
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        if spec.name == "purebench" or not is_installed(places):
            return spec.origin not in ("built-in", "frozen")
        owners = owners_of(spec.name)
        return not owners or self.own in owners


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


def _files_below(folder: Path) -> list[Path]:
    """Return the Python files below a folder in a fixed order, without those of hidden folders and of environments.

    Raises:
        PurebenchError: there are too many.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith((".", "__")) and not os.path.exists(f"{place}/{each}/pyvenv.cfg")
        )
        found += [Path(place, file) for file in sorted(files) if file.endswith(".py")]
        if len(found) > MOST_FILES:
            raise PurebenchError(
                f"expected at most {MOST_FILES} Python files below {folder}, because code there computes the name "
                "of a module that it imports, so that every file may affect the result and is part of its key; "
                "move this code to a separate folder, or import a fixed name."
            )
    return found
