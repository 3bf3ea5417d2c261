"""Compares the settings of a bundle with those of the board that it is submitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.bundled import bundled, find_board
from purebench.boards.files.local_paths import with_files
from purebench.boards.parse import load_board
from purebench.boards.trust import local_files
from purebench.core.errors import PurebenchError
from purebench.core.seeds import hash_of
from purebench.core.source.local_imports import import_hashes
from purebench.results.files.bundles.bundle import Bundle
from purebench.results.files.bundles.writing import code_hashes
from purebench.results.merge import header_of


def check_settings(bundle: Bundle, board: str | None) -> tuple[list[str], str]:
    """Compare the settings of a bundle with those of its board; further attacks are accepted.

    Args:
        bundle: the bundle.
        board: the board that it is submitted to, bundled or the path of a board.yaml; None for the bundled board of the
            same name.

    Returns:
        The settings that differ from those of the bundled board, and a remark for the report; "" if there is none.

    Raises:
        PurebenchError: the board is given, and its settings differ.
    """
    name = bundle.board.name
    if board is None and name not in bundled():
        return [], (
            f"no board named {name} comes with purebench, so the settings are those of the bundle; --board PATH "
            "compares them with those of a leaderboard"
        )
    apart = differing(load_board(find_board(name if board is None else board)), bundle)
    if board is not None and apart:
        raise PurebenchError(
            f"{bundle.result.name}: expected the settings of {board}, but these differ: {', '.join(apart)}; run that "
            "board."
        )
    told = f"the settings differ from those of the bundled board {name}: {', '.join(apart)}" if apart else ""
    return apart, told


def differing(board: Board, bundle: Bundle) -> list[str]:
    """Return the names of the settings of a board that decide the row of a bundle and differ in the bundle.

    These are all settings but the other defenses; of these, the rows whose adversarial images the board's attacks
    reuse, and the row itself if it is on the board. Python files are compared by their contents and those of the local
    modules that they import, not by their paths.

    Args:
        board: the board.
        bundle: the bundle; it may have further attacks, which can only lower the accuracy.
    """
    row, manifest = bundle.result.name, bundle.manifest
    sources = {attack.source.defense for attack in board.attacks if attack.source is not None}
    needed = tuple(one for one in board.defenses if one.name in {row, *sources})
    part = replace(board, defenses=needed, controls=())
    imports = {path.as_posix(): import_hashes(path) for path in local_files(part)}
    own = _by_contents(part, code_hashes(part), imports)
    theirs = _by_contents(bundle.board, manifest.code_files, manifest.imports)
    mine, header = header_of(own), header_of(theirs)
    apart = [key for key in {**mine, **header} if key != "attacks" and mine.get(key) != header.get(key)]
    attacks = [name for name, one in mine["attacks"].items() if header["attacks"].get(name) != one]
    rows = {one.name: one.use for one in theirs.defenses}
    others = [one.name for one in own.defenses if rows.get(one.name) != one.use]
    return sorted(apart) + [f"attacks.{name}" for name in attacks] + [f"defenses.{name}" for name in others]


def _by_contents(board: Board, files: Mapping[str, str], imports: Mapping[str, Mapping[str, str]]) -> Board:
    """Return a board whose Python files are named by a hash of their contents and of the modules that they import."""

    def place(path: Path) -> Path:
        name = path.as_posix()
        return Path(f"{hash_of([files.get(name), dict(imports.get(name, {}))])}.py")

    return with_files(board, place)
