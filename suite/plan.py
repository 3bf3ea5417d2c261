"""A board's jobs, each with a key: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from purebench.board import AttackChoice, Board, DefenseChoice


@dataclass(frozen=True)
class Job:
    """One attack on one defense over one block of images; `key` is a hash of everything that decides its result."""

    key: str
    defense: DefenseChoice
    attack: AttackChoice
    block: int


def plan(board: Board, block_hashes: Sequence[str], fingerprints: Mapping[str, str], version: str) -> list[Job]:
    """The jobs of a board, blocks outermost, so that a run cut short has whole images for all.

    block_hashes: of the images of each block in their order; fingerprints: of all weights of each defense, by name.
    """
    jobs = []
    for block in range(board.blocks):
        start = block * board.dataset.block
        for defense in board.defenses:
            for attack in board.attacks:
                decides = {
                    "version": version,
                    "names": [board.name, defense.name, attack.name],
                    "data": block_hashes[block],
                    "block": [start, min(start + board.dataset.block, board.dataset.images)],
                    "classifier": board.classifier.to_dict(),
                    "defense": defense.use.to_dict(),
                    "weights": fingerprints[defense.name],
                    "threat": asdict(board.threat),
                    "attack": {
                        "use": attack.use.to_dict(),
                        "gradient": attack.gradient,
                        "eot": attack.eot,
                        "only": attack.only,
                    },
                    "draws": board.draws,
                    "seed": board.seed,
                }
                text = json.dumps(decides, sort_keys=True)
                jobs.append(Job(hashlib.sha256(text.encode()).hexdigest(), defense, attack, block))
    return jobs
