"""Joins stores that were written apart, such as those of shards, into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.records import store
from purebench.records.cells import MOST_UNLISTED
from purebench.records.record import Record

ROWS = ("defenses", "only_sources", "title", "about")
"""Keys of a board in which plans of the same board may differ."""
MOST_NAMED = 5


def merge_stores(sources: Sequence[Path], target: Path) -> dict[str, tuple[int, int]]:
    """Write the records, images and plans of several stores into one.

    The target appears at once, when it is complete; until then, and if the process is killed, it is as before.

    Args:
        sources: the stores.
        target: the file to write; it must not exist, or be one of the sources, which is then replaced.

    Returns:
        For each board, the number of its finished jobs, and of all.

    Raises:
        PurebenchError: a store cannot be read; two stores disagree on a record, on the settings of a board, or on the
            keys of a row's jobs; or the target exists.
    """
    if target.exists() and target.resolve() not in [path.resolve() for path in sources]:
        raise PurebenchError(
            f"{target}: expected a file that does not exist yet, but it does; choose another (-o), or add it to the "
            "stores that are merged."
        )
    missing = [str(path) for path in sources if not path.is_file()]
    if missing:
        raise PurebenchError(f"expected stores, but these files do not exist: {', '.join(missing)}.")
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=0):
            for left in (part, part.with_name(f"{part.name}-journal")):  # of a merge that was killed
                left.unlink(missing_ok=True)
            try:
                done = _write(sources, part)
                part.replace(target)
            finally:  # under the lock, because the file belongs to the process that holds it
                part.unlink(missing_ok=True)
    except Timeout as error:
        raise PurebenchError(
            f"{target}: another process of purebench is writing to this store; wait for it."
        ) from error
    except OSError as error:
        raise PurebenchError(f"{target}: cannot be written ({error.strerror}).") from error
    return done


def _write(sources: Sequence[Path], part: Path) -> dict[str, tuple[int, int]]:
    with ExitStack() as stack:
        made = stack.enter_context(store.creating(part))
        opened = [stack.enter_context(store.reading(path)) for path in sources]
        conflicts: list[str] = []
        for source in opened:
            for key in source.record_keys():
                found = source.get(key)
                assert found is not None
                if (known := made.get(key)) is None:
                    made.copy(key, source)
                elif not _agree(known, found, made, source):
                    conflicts.append(f"{found.attack} on {found.defense}, block {found.block} of {found.board}")
        if conflicts:
            named = "; ".join(conflicts[:MOST_NAMED]) + ("; …" if len(conflicts) > MOST_NAMED else "")
            raise PurebenchError(
                f"expected equal records of equal jobs, but {len(conflicts)} differ between the stores: {named}; their "
                "machines compute different numbers, or a job errored on one of them: run it again there "
                "(--retry-errors), or merge only one of these stores."
            )
        plans = _merged_plans(opened)
        for name, plan in plans.items():
            made.set_plan(name, plan.definition, plan.keys, plan.origin, plan.unlisted, plan.rows)
        return {name: (sum(made.has(key) for key in plan.keys), len(plan.keys)) for name, plan in plans.items()}


def _agree(one: Record, other: Record, first: store.Store, second: store.Store) -> bool:
    """Return whether two records of a job, and their images, are equal except for the seconds and the commit.

    The key of a job hashes the code that computes it, so that commits in which other files changed compute the same.
    """
    if _without_run(one) != _without_run(other):
        return False
    images = first.adversarial(one.key), second.adversarial(one.key)
    if images[0] is None or images[1] is None:
        return images[0] is images[1]
    return bool(np.array_equal(images[0], images[1]))


def _without_run(record: Record) -> Record:
    """Return the record without what may differ between two runs of the same job."""
    provenance = {key: value for key, value in record.provenance.items() if key != "commit"}
    return replace(record, seconds={}, provenance=provenance)


@dataclass(frozen=True)
class Plan:
    """The plan of a board in a store.

    Attributes:
        definition: the board as plain values.
        keys: the keys of its jobs.
        origin: the board as the user named it.
        unlisted: definitions and origins of earlier runs with rows that the plan lacks.
        rows: the keys of the worst-case jobs of each row, block by block. They hash the keys of the attack jobs, and so
            code, weights, images and versions of packages.
    """

    definition: dict[str, Any]
    keys: list[str]
    origin: str
    unlisted: list[tuple[dict[str, Any], str]]
    rows: dict[str, list[str]]


def _merged_plans(stores: Sequence[store.Store]) -> dict[str, Plan]:
    found: dict[str, Plan] = {}
    for source in stores:
        for name, (definition, keys) in source.plans().items():
            plan = Plan(definition, keys, source.origin(name), source.unlisted(name), source.rows(name))
            found[name] = _joined(name, found[name], plan, source.path) if name in found else plan
    return found


def _joined(name: str, one: Plan, other: Plan, path: Path) -> Plan:
    """Return the plan of a board that was run with the same settings for some rows here, and for others there."""
    ours, theirs = one.definition, other.definition
    differ = [key for key in {**ours, **theirs} if key not in ROWS and ours.get(key) != theirs.get(key)]
    rows = {**ours["defenses"], **theirs["defenses"]}
    differ += [f"defenses.{row}" for row in ours["defenses"] if rows[row] != ours["defenses"][row]]
    if differ:
        raise PurebenchError(
            f"{path}: expected the settings of the board {shown(name)} in the stores before it, but "
            f"{', '.join(differ)} differ; merge only stores of the same board."
        )
    _require_same_keys(name, one, other, path)
    sources = [row for row in rows if all(_only_source(row, plan) for plan in (ours, theirs))]
    definition = {**ours, "defenses": rows}
    definition.pop("only_sources", None)
    definition |= {"only_sources": sources} if sources else {}
    keys = list(dict.fromkeys([*one.keys, *other.keys]))
    unlisted = [*one.unlisted, *(plan for plan in other.unlisted if plan not in one.unlisted)][:MOST_UNLISTED]
    longer = {row: max(one.rows.get(row, []), other.rows.get(row, []), key=len) for row in {**one.rows, **other.rows}}
    return Plan(definition, keys, one.origin or other.origin, unlisted, longer)


def _require_same_keys(name: str, one: Plan, other: Plan, path: Path) -> None:
    """Raise PurebenchError if a row has other keys in the two plans; a run that stopped has only its first blocks."""
    both = [row for row in one.rows if row in other.rows]
    if differ := [row for row in both if any(a != b for a, b in zip(one.rows[row], other.rows[row], strict=False))]:
        raise PurebenchError(
            f"{path}: expected the jobs that the board {shown(name)} has in the stores before it, but those of the "
            f"rows {', '.join(map(shown, differ))} have other keys: code, weights, images or versions of packages "
            "have changed between the runs, or differ between their machines; run the shards or rows of one of the "
            "two again with the files of the other, or merge only stores of the same files."
        )


def _only_source(row: str, definition: Mapping[str, Any]) -> bool:
    return row not in definition["defenses"] or row in definition.get("only_sources", [])
