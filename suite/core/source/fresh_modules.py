"""Imports modules of local code and plug-ins again when their files have changed.

So a run uses the code that its key contains.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.source.distributions import is_installed
from purebench.core.source.import_closure import FILE, Closure, ImportGraph

OWN = "purebench"
_KNOWN: dict[str, str] = {}
"""Digest of the source of every module that was examined, at the time of its import."""


def refresh_file(path: Path) -> str:
    """Prepare to run a file: local modules that it imports are imported again where they have changed.

    Args:
        path: a Python file.

    Returns:
        A text that changes with the file and with the local modules that it imports, directly or indirectly.

    Raises:
        PurebenchError: a module has one file beside this one and another on `sys.path`, or has changed and cannot be
            imported again.
    """
    folder = path.resolve().parent
    graph = ImportGraph("", folder, skip=OWN)
    found = graph.closure(path.resolve())
    for name, (here, there) in graph.hidden.items():
        if name in found.modules:
            raise PurebenchError(
                f"{path}: expected one module {name!r}, but there are two, and Python imports {here} instead of "
                f"{there}; rename one of them."
            )
    if graph.beside & found.modules.keys() and str(folder) not in sys.path:
        sys.path.append(str(folder))  # permanently: a function may import when it is called
    _refresh(found)
    return " ".join(f"{name}={digest}" for name, digest in found.modules.items())


def refresh_entry_point(point: EntryPoint) -> None:
    """Prepare to import an entry point of another package: its modules are imported again where they have changed.

    Args:
        point: an entry point of a plug-in; those of purebench itself are left unchanged.

    Raises:
        PurebenchError: a module has changed and cannot be imported again.
    """
    if point.module.partition(".")[0] != OWN:
        _refresh(ImportGraph(point.dist.name if point.dist else "", skip=OWN).closure(point.module))


def require_unchanged(found: Closure) -> None:
    """Check that purebench's own files have not changed since the first call of this function in this process.

    Args:
        found: the modules and files to check; those of other packages are ignored.

    Raises:
        PurebenchError: a file of purebench has changed.
    """
    for name, path in found.files.items():
        if name.partition(".")[0] == OWN and _KNOWN.setdefault(name, found.modules[name]) != found.modules[name]:
            raise PurebenchError(f"{path} has changed since Python imported it; restart Python.")


def _refresh(found: Closure) -> None:
    files = {name: path for name, path in found.files.items() if name != FILE}
    stale = [name for name, path in files.items() if name in sys.modules and _is_stale(name, path, found.modules[name])]
    for name in stale:
        if files[name].suffix != ".py":
            raise PurebenchError(f"{files[name]} has changed since Python imported it; restart Python.")
    if stale:  # modules that import them may hold the old objects
        for name in list(sys.modules):
            if any(name == one or name.startswith(f"{one}.") for one in files):
                del sys.modules[name]
    for name, path in files.items():
        _KNOWN[name] = found.modules[name]
        if path.suffix == ".py" and (stale or name not in sys.modules):
            _drop_old_bytecode(path, bool(stale))


def _is_stale(name: str, path: Path, digest: str) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    if file is None or os.path.realpath(file) != os.path.realpath(path):
        return True
    if name in _KNOWN:
        return _KNOWN[name] != digest
    stat = os.stat(path)
    return max(stat.st_mtime, stat.st_ctime) > _STARTED


def _drop_old_bytecode(path: Path, stale: bool) -> None:
    """Remove compiled code that Python would use for a changed source file of the same second and size."""
    with suppress(OSError, NotImplementedError):
        compiled, source = Path(importlib.util.cache_from_source(str(path))), path.stat()
        young = compiled.stat().st_mtime < max(source.st_mtime, source.st_ctime) + 2
        if stale or (young and not is_installed([path])):
            compiled.unlink()


def _started() -> float:
    """Return the start time of this process in seconds since 1970; if it is unknown, the current time."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = next(
            line for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines() if line.startswith("btime")
        )
        return float(boot.split()[1]) + float(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, StopIteration, IndexError):
        return time.time()


_STARTED = _started()
