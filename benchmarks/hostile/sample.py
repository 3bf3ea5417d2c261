"""An intact board, folder of results and store, created without a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from purebench.boards.board import Board
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import Job, WorstCaseJob, plan
from purebench.boards.parse import load_board
from purebench.records import store
from purebench.records.outcome import Outcome
from purebench.records.record import Picture, Record
from purebench.results.files.export import export_results
from purebench.results.merge import merge

BOARD: dict[str, Any] = {
    "name": "hostile",
    "title": "A board to be damaged",
    "dataset": {"use": "fashion-mnist", "images": 8, "block": 4, "seed": 0},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "8/255"},
    "verify": {"draws": 4},
    "confidence": 0.95,
    "seed": 0,
    "attacks": {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=3)", "gradient": "exact", "eot": 2},
        "fmn": {"use": {"fmn": {"steps": 3}}, "gradient": "exact", "only": "deterministic"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}},
    },
    "defenses": {"none": "none", "noise": {"gaussian-noise": {"sigma": 0.1}}},
    "stop": {"max_images": 8},
}


@dataclass(frozen=True)
class Sample:
    """An intact board, folder of results and store."""

    folder: Path

    @property
    def boards(self) -> Path:
        """The path of board.yaml."""
        return self.folder / "board.yaml"

    @property
    def results(self) -> Path:
        """The path of the folder of results."""
        return self.folder / "results"

    @property
    def stores(self) -> Path:
        """The path of the store."""
        return self.folder / "store.sqlite"


def make_sample(folder: Path) -> Sample:
    """Write the intact files without a run."""
    sample = Sample(folder)
    sample.boards.write_text(yaml.safe_dump(BOARD, sort_keys=False), encoding="utf-8")
    board = load_board(sample.boards)
    rng = np.random.default_rng(0)
    jobs = plan(board, ["data"] * board.blocks, {"none": "w", "noise": "w"}, "1", code_of_board(board))
    found: dict[str, Record] = {}
    for job in jobs:
        if isinstance(job, WorstCaseJob):
            found[job.key] = _worst_case(board, job, [found[key] for key in job.needs], rng)
        else:
            found[job.key] = _record(board, job, rng)
    records = list(found.values())
    export_results(sample.results, merge(board, records))
    with store.writing(sample.stores) as saved:
        saved.set_plan(board.name, board.to_dict(), [job.key for job in jobs])
        for record in records:
            saved.add(record, rng.random((len(record.images), 1, 4, 4), dtype=np.float32))
    Path(f"{sample.stores}.lock").unlink(missing_ok=True)
    return sample


def _record(board: Board, job: Job, rng: np.random.Generator) -> Record:
    is_random = job.defense.name == "noise"
    start, count = job.block * board.dataset.block, board.dataset.block
    skipped = (is_random and job.attack.only == "deterministic") or (job.attack.name == "transfer" and not is_random)
    draws = ["".join(rng.choice(["0", "1"], 4 if is_random else 1)) for _ in range(count)]
    held = [Outcome.ROBUST if 2 * row.count("1") > len(row) else Outcome.MISCLASSIFIED for row in draws]
    shown = [Picture(start, start % 10, "AAAA", "BBBB", 1)] if job.block == 0 and not skipped else []
    return Record(
        key=job.key,
        board=board.name,
        defense=job.defense.name,
        attack=job.attack.name,
        block=job.block,
        images=list(range(start, start + count)),
        labels=[image % 10 for image in range(start, start + count)],
        outcomes=[Outcome.SKIPPED] * count if skipped else held,
        draws=[""] * count if skipped else draws,
        distances=[None] * count if skipped else [0.01] * count,
        nearest=[0.02, None] * (count // 2) if job.attack.name == "fmn" and not skipped else [],
        reasons=["does not apply"] * count if skipped else [],
        forwards=16,
        backwards=8,
        pictures=shown,
        provenance={
            "defense": {"random": is_random, "parameters": 10, "weights": "ab" * 32, "spec": job.defense.name},
            "data": "cd" * 32,
            "versions": {"purebench": "1", "torch": "2"},
            "commit": "",
            "device": "cpu",
        },
        seconds={"attack": 1.0, "verify": 0.5},
    )


def _worst_case(board: Board, job: WorstCaseJob, attacks: list[Record], rng: np.random.Generator) -> Record:
    """Return a worst-case record: picks any attack with a result, for a deterministic row the first successful one."""
    first, is_random = attacks[0], job.defense.name == "noise"
    asked = [[one for one in attacks if one.draws[i]] for i in range(len(first.images))]
    picks = [
        rng.choice(some) if is_random else min(some, key=lambda one: one.draws[i])  # type: ignore[arg-type]
        for i, some in enumerate(asked)
    ]
    picked = [one.attack for one in picks]
    draws = ["".join(rng.choice(["0", "1"], board.fresh)) if is_random else one.draws[i] for i, one in enumerate(picks)]
    return Record(
        key=job.key,
        board=board.name,
        defense=job.defense.name,
        attack=job.label,
        block=job.block,
        images=first.images,
        labels=first.labels,
        outcomes=[Outcome.ROBUST if 2 * row.count("1") > len(row) else Outcome.MISCLASSIFIED for row in draws],
        draws=draws,
        distances=[0.01] * len(picked),
        picked=[str(name) for name in picked],
        reasons=[""] * len(picked),
        notes=["made up"],
        forwards=64,
        provenance=first.provenance,
        seconds={"pick": 0.5, "verify": 0.25},
    )
