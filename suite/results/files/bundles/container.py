"""Writes and reads the container of a bundle: a zip file of a fixed layout, in which nothing is compressed.

Equal contents have equal bytes: names, order, dates and attributes are fixed, and no compressor is involved, whose
output may differ between versions. A file is accepted only if writing its contents again gives the same bytes, so that
it has no duplicate, hidden, encrypted, compressed, or differently named member, and no path outside of it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.files.text import MEBIBYTE, shown

RESULT, BOARD, MANIFEST, EXAMPLES, SUMS = "result.json", "board.json", "manifest.json", "examples.npy", "SHA256SUMS"
MEMBERS = (MANIFEST, RESULT, BOARD, EXAMPLES)
"""The members with content, in their order; the hash of each is in SUMS, the last member."""
MOST_BYTES = 300 * MEBIBYTE
"""Size of the largest bundle that is read."""
CURE = "make the bundle again (purebench bundle BOARD ROW)"
_DATE = (1980, 1, 1, 0, 0, 0)


def pack(members: Mapping[str, bytes]) -> bytes:
    """Return the bytes of the container of these members, with their hashes in the format of `sha256sum`.

    Args:
        members: the content of each of MEMBERS.
    """
    sums = "".join(f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in MEMBERS)
    return _zipped({**{name: members[name] for name in MEMBERS}, SUMS: sums.encode()})


def unpack(path: Path) -> dict[str, bytes]:
    """Read the members of a container, without writing files.

    Returns:
        The content of each of MEMBERS.

    Raises:
        PurebenchError: the file cannot be read, is larger than MOST_BYTES, or is not exactly as `pack` writes it.
    """
    return unpacked(_read(path), str(path))


def unpacked(data: bytes, name: str) -> dict[str, bytes]:
    """Return the members of a container in memory.

    Args:
        data: the bytes of the container.
        name: its name, for messages.

    Raises:
        PurebenchError: as for `unpack`.
    """
    try:
        found = _members(data)
        sums = found.pop(SUMS)
        _check_sums(found, sums)
        if pack(found) != data:
            raise PurebenchError(
                "expected a zip file exactly as purebench writes it, but its layout differs (order, dates, hidden or "
                "additional bytes)"
            )
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError) as error:
        raise PurebenchError(f"{name}: expected a bundle, a zip file, but it is damaged ({error}); {CURE}.") from error
    except PurebenchError as error:
        raise PurebenchError(f"{name}: {error}; {CURE}.") from error
    return found


def _members(data: bytes) -> dict[str, bytes]:
    """Return all members; raises for names, compression and sizes other than those of a bundle, before reading any."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        listed = file.infolist()
        names = [one.filename for one in listed]
        if names != [*MEMBERS, SUMS]:
            raise PurebenchError(
                f"expected the members {', '.join([*MEMBERS, SUMS])} in this order, but got {shown(names)}"
            )
        for one in listed:
            if one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size:
                raise PurebenchError(f"{one.filename}: expected a member that is not compressed, but it is compressed")
        if sum(one.file_size for one in listed) > len(data):
            raise PurebenchError("expected members within the file, but together they are larger than the file")
        return {one.filename: file.read(one) for one in listed}


def _check_sums(found: Mapping[str, bytes], sums: bytes) -> None:
    lines = sums.decode("ascii", "replace").splitlines()
    for name, line in zip(MEMBERS, [*lines, *[""] * len(MEMBERS)], strict=False):
        expected = f"{hashlib.sha256(found[name]).hexdigest()}  {name}"
        if line != expected:
            raise PurebenchError(f"{SUMS}: expected the hash of {name}, but got {shown(line)}; its content was changed")


def _zipped(members: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            file.writestr(entry, content)
    return made.getvalue()


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            inside = sorted(path.glob("*.zip")) if path.is_dir() else []
            cure = f"; name {inside[0]}" if len(inside) == 1 else ""
            raise PurebenchError(f"{path}: expected a bundle, a zip file, but it is a folder or a special file{cure}.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PurebenchError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if len(data) > MOST_BYTES:
        raise PurebenchError(f"{path}: expected at most {MOST_BYTES // MEBIBYTE} MiB, but the file is larger.")
    return data
