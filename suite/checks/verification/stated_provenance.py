"""Compares the provenance, cost and warnings that a result states with those of its rebuilt and repeated evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from textwrap import shorten

from purebench.boards.jobs import Job
from purebench.execution.context import Context
from purebench.records.outcome import WORST_CASE
from purebench.records.provenance import commit, device_name, versions
from purebench.records.record import Record
from purebench.results.attack_result import BACKWARD
from purebench.results.files.bundles.bundle import Bundle
from purebench.results.merge import code_of_attacks
from purebench.results.results import DefenseResult

COST_FACTOR = 2.0
"""Largest ratio of stated and repeated passes per image: both vary with the images that are attacked."""
LONGEST = 1_000
"""Most characters of the list of other conditions, whose texts are those of the bundle."""


def provenance_remarks(bundle: Bundle, context: Context) -> list[str]:
    """Return the differences between the stated and the rebuilt code, versions, commit, device and keys, in sentences.

    Args:
        bundle: the bundle.
        context: its board, prepared on this machine.
    """
    told, stated = [], bundle.result.provenance
    if apart := _other_code(bundle, context):
        told.append(f"the code that was run is not that of the result: {', '.join(apart)}")
    here, there = versions()["purebench"], bundle.manifest.purebench
    if here != there:
        told.append(f"the bundle was made with purebench {there}, and is verified with {here}")
    found = dict(stated.get("versions") or {}) | {name: str(stated.get(name, "")) for name in ("commit", "device")}
    own = versions() | {"device": device_name(str(context.device)), "commit": commit() or found["commit"]}
    names = sorted(name for name in {*found, *own} if found.get(name) != own.get(name))
    if names:
        both = (f"{name} {found.get(name) or 'none'} (here {own.get(name) or 'none'})" for name in names)
        text = shorten(", ".join(both), LONGEST, placeholder=" …")
        told.append(f"the result states other conditions than those of this verification: {text}")
    if context.board.compile or context.board.attack_precision != "float32":
        return [*told, "the keys of the jobs were not compared, because they depend on the device of the attacks"]
    if not told and (other := _other_keys(bundle, context)):
        told.append(f"the keys of these jobs are not those of this evaluation: {', '.join(other)}")
    return told


def repetition_remarks(result: DefenseResult, records: Iterable[Record]) -> list[str]:
    """Return which stated costs and warnings differ from those of the repeated attacks, in sentences.

    Args:
        result: the result of the bundle.
        records: the records of its row, of the repeated attacks.
    """
    every = list(records)
    common = {attack.name: {warning.code for warning in attack.warnings} for attack in result.common}
    images = sum(len(record.images) for record in every if record.attack == WORST_CASE)
    again = sum(record.forwards + BACKWARD * record.backwards for record in every) / images
    passes = sum(attack.weighted_passes for attack in result.common) + result.worst_case.forwards
    stated, told = passes / len(result.images), []
    if not again / COST_FACTOR <= stated <= again * COST_FACTOR:
        told.append(
            f"the result states {stated:,.4g} passes per image under the common attacks, but they cost {again:,.4g}"
        )
    new = {
        f"{warning.code} ({record.attack})"
        for record in every
        for warning in record.warnings
        if warning.code not in common.get(record.attack, set())
    }
    return [
        *told,
        *([f"repeated attacks gave warnings that the result lacks: {', '.join(sorted(new))}"] if new else []),
    ]


def _other_code(bundle: Bundle, context: Context) -> list[str]:
    """Return which hashes of code in the result are not those of the code that is run.

    Each hash covers purebench, too, so that all differ for another version.
    """
    # settings of the attacks' passes affect no code, and may need a compiler or a GPU that this machine lacks
    plain = context.on(replace(context.board, compile=False, attack_precision="float32"))
    jobs = [job for job in plain.jobs() if isinstance(job, Job) and job.defense.name == bundle.result.name]
    found = code_of_attacks((job.attack.name, job.code) for job in jobs)
    claimed = bundle.result.provenance.get("code") or {}
    parts = {"defense": "defense", "shared": "classifier and data set"}
    apart = [name for part, name in parts.items() if claimed.get(part) != found[part]]
    attacks = claimed.get("attacks") or {}
    return apart + [name for name, code in found["attacks"].items() if attacks.get(name) != code]


def _other_keys(bundle: Bundle, context: Context) -> list[str]:
    """Return the attacks whose job keys in the bundle are not those that are computed here."""
    found: dict[str, list[str]] = {name: [] for name in bundle.manifest.keys}
    for job in context.jobs(bundle.board):
        if job.defense.name == bundle.result.name and job.label in found:
            found[job.label].append(job.key)
    return [name for name, keys in found.items() if keys != bundle.manifest.keys[name]]
