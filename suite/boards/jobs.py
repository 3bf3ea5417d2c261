"""A board's jobs, each with a key: a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from purebench.boards.board import SOURCE, AttackChoice, Board, DefenseChoice
from purebench.boards.code_identity import BoardCode
from purebench.records.record import WORST_CASE


@dataclass(frozen=True)
class Job:
    """One attack on one defense over one block of images; `key` is a hash of everything that decides its result.

    stream: seeds every generator; it holds the board's seed, the block's images, the attack and its view, and no
    name of a board, row or attack: equal models get equal random numbers. after: in a cascade, the keys of the jobs
    whose verdicts spare images this attack; source: the key of the job whose adversarial images the attack is given.
    code: what runs it, as `BoardCode.of_job` gives it.
    """

    key: str
    stream: str
    defense: DefenseChoice
    attack: AttackChoice
    block: int
    after: tuple[str, ...] = ()
    source: str | None = None
    code: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the jobs that must be finished before this one."""
        return self.after if self.source is None else (*self.after, self.source)

    @property
    def label(self) -> str:
        """The attack's name."""
        return self.attack.name


@dataclass(frozen=True)
class WorstCaseJob:
    """Picks one adversarial example for each image of a block, and scores it on fresh draws.

    needs: the keys of the attack jobs of the defense and block, in the board's order, which its own key hashes; so an
    attack more or less repeats this job alone. stream, code: as of a `Job`; the code of what it picks among is in the
    keys of the attack jobs.
    """

    key: str
    stream: str
    defense: DefenseChoice
    block: int
    needs: tuple[str, ...]
    code: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The name that its record has in the place of an attack's."""
        return WORST_CASE


AnyJob = Job | WorstCaseJob


def plan(
    board: Board, block_hashes: Sequence[str], fingerprints: Mapping[str, str], version: str, code: BoardCode
) -> list[AnyJob]:
    """The jobs of a board, blocks outermost, so that a run cut short has whole images for all.

    Of a row that is only a source, those whose images are reused, and those that they need.
    block_hashes: of the images of each block in their order; fingerprints: of all weights of each defense, by name;
    code: what runs them.
    """
    keys = _Keys(board, block_hashes, fingerprints, version, code)
    every: list[AnyJob] = []
    for block in range(board.most_blocks):
        for defense in board.defenses:
            attacks = [keys.job(block, defense, attack) for attack in board.attacks]
            every += [*attacks, keys.worst_case(block, defense, attacks)]
    needed = {job.key: job.needs for job in every}
    wanted, left = set[str](), [job.key for job in every if not job.defense.only_source]
    while left:
        wanted.add(key := left.pop())
        left += [other for other in needed[key] if other not in wanted]
    return [job for job in every if job.key in wanted]


class _Keys:
    """The keys of a board's jobs; that of a job which needs others holds theirs."""

    def __init__(
        self,
        board: Board,
        block_hashes: Sequence[str],
        fingerprints: Mapping[str, str],
        version: str,
        code: BoardCode,
    ):
        self.board, self.block_hashes, self.fingerprints, self.version = board, block_hashes, fingerprints, version
        self._code, self._worst_case_code = cache(code.of_job), code.worst_case.to_dict()
        self.defenses = {defense.name: defense for defense in board.defenses}
        self.attacks = {attack.name: attack for attack in board.attacks}
        self.known: dict[tuple[int, str, str], Job] = {}

    def job(self, block: int, defense: DefenseChoice, attack: AttackChoice) -> Job:
        place = (block, defense.name, attack.name)
        if place not in self.known:
            after = self._before(block, defense, attack) if self.board.cascade else ()
            source = None  # and no key where the source's row was left out: what is then SKIPPED is not kept for later
            if attack.source is not None and attack.source.defense in self.defenses:
                there = self.defenses[attack.source.defense], self.attacks[attack.source.attack]
                source = self.job(block, *there).key
            needed = {"after": list(after)} if after else {}
            needed |= {"source": [source]} if source else {}
            key = _hash(self._decides(block, defense, attack) | needed)
            code = self._code(defense.name, attack.name)
            self.known[place] = Job(key, self._stream(block, attack), defense, attack, block, after, source, code)
        return self.known[place]

    def worst_case(self, block: int, defense: DefenseChoice, attacks: Sequence[Job]) -> WorstCaseJob:
        """The job that picks among what these jobs found; of deterministic defenses it makes one draw."""
        needs = tuple(job.key for job in attacks)
        code = self._worst_case_code
        key = _hash({"version": self.version, "code": code, "attacks": needs, "fresh": self.board.fresh})
        stream = _hash({"seed": self.board.seed, "data": self.block_hashes[block], "job": WORST_CASE})
        return WorstCaseJob(key, stream, defense, block, needs, {"purebench": code})

    def _stream(self, block: int, attack: AttackChoice) -> str:
        seeds = {"seed": self.board.seed, "data": self.block_hashes[block], "attack": _attack(attack)}
        if attack.source is not None and attack.source.attack in self.attacks:
            seeds["source"] = _attack(self.attacks[attack.source.attack])
        return _hash(seeds)

    def _before(self, block: int, defense: DefenseChoice, attack: AttackChoice) -> tuple[str, ...]:
        names = list(self.attacks)
        return tuple(self.job(block, defense, self.attacks[name]).key for name in names[: names.index(attack.name)])

    def _decides(self, block: int, defense: DefenseChoice, attack: AttackChoice) -> dict[str, Any]:
        board, start = self.board, block * self.board.dataset.block
        return {
            "version": self.version,
            "code": self._code(defense.name, attack.name),
            "names": [board.name, defense.name, attack.name],
            "data": self.block_hashes[block],
            "block": [start, min(start + board.dataset.block, board.dataset.images)],
            "classifier": board.classifier.to_dict(),
            "defense": defense.use.to_dict(),
            "weights": self.fingerprints[defense.name],
            "threat": asdict(board.threat),
            "attack": {**_attack(attack), "only": attack.only, "precision": board.attack_precision},
            **({"reused": board.reuses(defense.name, attack.name)} if attack.only == SOURCE else {}),
            "draws": board.draws,
            "seed": board.seed,
        }


def _attack(attack: AttackChoice) -> dict[str, Any]:
    """An attack and its view, without the name that the board gives it."""
    return {"use": attack.use.to_dict(), "gradient": attack.gradient, "eot": attack.eot}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
