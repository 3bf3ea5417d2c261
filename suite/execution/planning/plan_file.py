"""Writes and reads plan files: a board with the keys and expected times of its jobs, from which shards are run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import ConfigDict

from purebench.boards.board import Board
from purebench.boards.jobs import AnyJob
from purebench.boards.parse import parse_board
from purebench.core.errors import PurebenchError
from purebench.core.files.text import MEBIBYTE, read_text
from purebench.core.files.versioned_model import STRICT, Distance, Line, Plain, Position, from_json
from purebench.execution.planning.shards import Shard
from purebench.records.provenance import versions

SCHEMA: Final = 1
MOST_BYTES = 512 * MEBIBYTE
CURE = "write the plan again (purebench plan BOARD --write PLAN), and run all shards from it"


@dataclass(frozen=True)
class PlannedJob:
    """A job of a plan file.

    Attributes:
        key: its key.
        defense: the row.
        attack: the attack, or the worst case.
        block: the number of the block.
        needs: the keys of the jobs that it needs.
        seconds: its expected time.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    key: Line
    defense: Line
    attack: Line
    block: Position
    needs: list[Line]
    seconds: Distance


@dataclass(frozen=True)
class PlanFile:
    """The contents of a plan file.

    Attributes:
        purebench: the version that wrote it.
        board: the board as plain values.
        origin: the board as the user named it.
        source: sha256 of the board's file; empty if the origin is not a file.
        jobs: the jobs, in the order of the plan.
        schema: the version of this schema.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    purebench: Line
    board: dict[str, Plain]
    origin: Line
    source: Line
    jobs: list[PlannedJob]
    schema: Literal[1] = SCHEMA


def plan_of(board: Board, jobs: Sequence[AnyJob], seconds: Mapping[tuple[str, str, int], float]) -> PlanFile:
    """Return the plan of a board.

    Args:
        board: the board, without the rows that are left out.
        jobs: its jobs.
        seconds: the expected seconds of the jobs, by defense, attack and block.

    Raises:
        PurebenchError: results would decide where the run stops, or which attacks are run, which a shard cannot know.
    """
    if board.effort is not None and board.effort.auto:
        raise PurebenchError(
            "--write: expected a board without effort: auto, because a shard does not know the results by which the "
            "attacks are doubled; run the board without a plan (purebench run BOARD, on several machines with "
            "--backend ray), or write effort: {} in its file, whose ladder is run into the merged store."
        )
    if board.stop is not None and board.stop.early:
        raise PurebenchError(
            "--write: expected a board without a stopping rule (--until), because a shard does not know the results of "
            "the others; choose the number of images with --images."
        )
    planned = [
        PlannedJob(
            job.key,
            job.defense.name,
            job.label,
            job.block,
            list(job.needs),
            float(seconds.get((job.defense.name, job.label, job.block), 0.0)),
        )
        for job in jobs
    ]
    return PlanFile(versions()["purebench"], board.to_dict(), board.origin, _digest(board.origin), planned)


def as_text(plan: PlanFile) -> str:
    """Return the contents of the file."""
    return json.dumps(asdict(plan), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_plan(path: Path) -> tuple[Board, PlanFile]:
    """Read a plan file.

    Args:
        path: the file.

    Returns:
        The board, and the plan.

    Raises:
        PurebenchError: it is not a plan file, another version of purebench wrote it, or the board's file has changed.
    """
    text = read_text(path, MOST_BYTES)
    try:
        plan = from_json(PlanFile, text, version=SCHEMA, cure=CURE)
        board = replace(parse_board(plan.board), origin=plan.origin)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected a plan file, but: {error}") from error
    here = versions()["purebench"]
    if plan.purebench != here:
        raise PurebenchError(f"{path}: expected a plan of purebench {here}, but {plan.purebench} wrote it; {CURE}.")
    if plan.source and (now := _digest(plan.origin)) and now != plan.source:
        raise PurebenchError(f"{path}: {plan.origin} has changed since this plan was written; {CURE}.")
    return board, plan


def require_same_jobs(path: Path, plan: PlanFile, jobs: Sequence[AnyJob]) -> None:
    """Check that the plan has the jobs that this machine would run.

    Args:
        path: the plan file, for the message.
        plan: the plan.
        jobs: the jobs of the prepared board.

    Raises:
        PurebenchError: the jobs differ, because code, weights, images or versions of packages do.
    """
    here = {(job.defense.name, job.label, job.block): job.key for job in jobs}
    there = {(job.defense, job.attack, job.block): job.key for job in plan.jobs}
    other = [place for place in {**there, **here} if here.get(place) != there.get(place)]
    if other:
        defense, attack, block = other[0]
        raise PurebenchError(
            f"{path}: expected the jobs of this plan, but {len(other)} of {len(there)} have another key on this "
            f"machine, such as {attack} on {defense}, block {block}: code, weights, images or versions of packages "
            f"have changed since the plan was written, or differ from those of the machine that wrote it; {CURE}."
        )


def _digest(origin: str) -> str:
    """Return the sha256 of the board's file; empty if there is none."""
    path = Path(origin)
    if not origin.endswith((".yaml", ".yml")) or not path.is_file():
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shard_store(path: Path, shard: Shard) -> Path:
    """Return the default store of a shard, beside its plan file."""
    return path.with_name(f"{path.stem}.{shard.number}-of-{shard.count}.sqlite")


def merged_store(path: Path) -> Path:
    """Return the store that the commands which a shard prints merge all shards into, beside the plan file."""
    return path.with_name(f"{path.stem}.sqlite")
