"""Plans the jobs of a board, each with a key: a hash of everything that decides its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from purebench.boards.board import SOURCE, AttackChoice, Board, DefenseChoice
from purebench.boards.code_identity import BoardCode
from purebench.core.seeds import attack_stream, hash_of, worst_case_stream
from purebench.records.outcome import BEST_KNOWN, WORST_CASE


@dataclass(frozen=True)
class Job:
    """One attack on one defense over one block of images.

    Attributes:
        key: Hash of everything that decides the result.
        stream: Seeds every generator. It contains the board's seed, the block's images, the attack and its view, and no
            name of a board, row or attack, so that equal models get equal random numbers.
        defense: The defense.
        attack: The attack.
        block: Number of the block.
        after: In a cascade, or if the attack has `spare`, the keys of the jobs whose verdicts spare images this attack.
        source: Key of the job whose adversarial images the attack reuses, or None.
        code: The code that runs it, as returned by `BoardCode.of_job`.
        compiled: The networks of the defense that the attack calls compiled.
    """

    key: str
    stream: str
    defense: DefenseChoice
    attack: AttackChoice
    block: int
    after: tuple[str, ...] = ()
    source: str | None = None
    code: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    compiled: tuple[str, ...] = ()

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

    Attributes:
        key: Hash of everything that decides the result.
        stream: As in `Job`.
        defense: The defense.
        block: Number of the block.
        needs: The keys of the attack jobs of the defense and block, in the board's order. The job's own key hashes
            them, so that adding or removing an attack repeats only this job.
        code: As in `Job`; the code of the attacks is in the keys of the attack jobs.
        label: The name that replaces the attack's name in its record: `WORST_CASE`, or `BEST_KNOWN` if it also picks
            among the attacks that are bespoke to the row.
    """

    key: str
    stream: str
    defense: DefenseChoice
    block: int
    needs: tuple[str, ...]
    code: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    label: str = WORST_CASE


AnyJob = Job | WorstCaseJob


def plan(
    board: Board,
    block_hashes: Sequence[str],
    fingerprints: Mapping[str, str],
    version: str,
    code: BoardCode,
    view_weights: Mapping[tuple[str, str], str] | None = None,
    compiled: Mapping[str, Sequence[str]] | None = None,
) -> list[AnyJob]:
    """Return the jobs of a board, blocks outermost, so that an interrupted run has complete images for all rows.

    Of a row that is only a source, the jobs whose images are reused are included, and those that they need.

    Args:
        board: The board.
        block_hashes: Hash of the images of each block, in order.
        fingerprints: Hash of all weights of each defense, by name.
        version: Version of purebench.
        code: The code of the board's parts.
        view_weights: Hash of the weights of the models that the views of an attack name, by the names of the row and
            the attack; without an entry, they name none.
        compiled: The networks of each defense that its attacks call compiled, by name; without an entry, none.
    """
    keys = _Keys(board, block_hashes, fingerprints, version, code, view_weights or {}, compiled or {})
    every: list[AnyJob] = []
    for block in range(board.most_blocks):
        for defense in board.defenses:
            attacks = [keys.job(block, defense, attack) for attack in board.attacks]
            common = [job for job in attacks if not job.attack.rows]
            every += [*attacks, keys.worst_case(block, defense, common)]
            if board.has_bespoke(defense.name):
                some = [job for job in attacks if job.attack.for_row(defense.name)]
                every.append(keys.worst_case(block, defense, some, BEST_KNOWN))
    needed = {job.key: job.needs for job in every}
    wanted, left = set[str](), [job.key for job in every if not job.defense.only_source]
    while left:
        wanted.add(key := left.pop())
        left += [other for other in needed[key] if other not in wanted]
    return [job for job in every if job.key in wanted]


def picking_keys(jobs: Iterable[AnyJob]) -> dict[str, list[str]]:
    """Return the keys of the worst-case jobs of each row, block by block; each hashes the keys of its attack jobs.

    Two plans in which they are equal run a row with the same code, weights, images and settings.

    Args:
        jobs: The jobs of a board, in the order of its plan.
    """
    found: dict[str, list[str]] = {}
    for job in jobs:
        if isinstance(job, WorstCaseJob):
            found.setdefault(job.defense.name, []).append(job.key)
    return found


class _Keys:
    """The keys of a board's jobs; the key of a job that needs others contains theirs."""

    def __init__(
        self,
        board: Board,
        block_hashes: Sequence[str],
        fingerprints: Mapping[str, str],
        version: str,
        code: BoardCode,
        view_weights: Mapping[tuple[str, str], str],
        compiled: Mapping[str, Sequence[str]],
    ):
        self.view_weights, self.compiled = view_weights, compiled
        self.board, self.block_hashes, self.fingerprints, self.version = board, block_hashes, fingerprints, version
        self._code = cache(code.of_job)
        self._picking = {"purebench": code.worst_case.to_dict(), "packages": dict(code.worst_case.packages)}
        self.defenses = {defense.name: defense for defense in board.defenses}
        self.attacks = {attack.name: attack for attack in board.attacks}
        self.known: dict[tuple[int, str, str], Job] = {}

    def job(self, block: int, defense: DefenseChoice, attack: AttackChoice) -> Job:
        place = (block, defense.name, attack.name)
        if place not in self.known:
            after = self._before(block, defense, attack) if self.board.cascade or attack.spare else ()
            source = None  # also if the source's row was left out; that job is SKIPPED, and its key is another one
            if attack.source is not None and attack.source.defense in self.defenses:
                there = self.defenses[attack.source.defense], self.attacks[attack.source.attack]
                source = self.job(block, *there).key
            needed = {"after": list(after)} if after else {}
            needed |= {"source": [source]} if source else {}
            key = hash_of(self._decides(block, defense, attack) | needed)
            code = self._code(defense.name, attack.name)
            stream, compiled = self._stream(block, attack), tuple(self.compiled.get(defense.name, ()))
            self.known[place] = Job(key, stream, defense, attack, block, after, source, code, compiled)
        return self.known[place]

    def worst_case(
        self, block: int, defense: DefenseChoice, attacks: Sequence[Job], label: str = WORST_CASE
    ) -> WorstCaseJob:
        """Return the job that picks among the results of these jobs; deterministic defenses take one draw."""
        needs = tuple(job.key for job in attacks)
        decides = {"version": self.version, "code": self._picking, "attacks": needs, "fresh": self.board.fresh}
        # a job with the same attacks under the other label has a record of its own
        key = hash_of(decides if label == WORST_CASE else {**decides, "label": label})
        stream = worst_case_stream(self.board.seed, self.block_hashes[block])
        return WorstCaseJob(key, stream, defense, block, needs, self._picking, label)

    def _stream(self, block: int, attack: AttackChoice) -> str:
        source = self.attacks.get(attack.source.attack) if attack.source is not None else None
        reused = None if source is None else _attack(source)
        return attack_stream(self.board.seed, self.block_hashes[block], _attack(attack), reused)

    def _before(self, block: int, defense: DefenseChoice, attack: AttackChoice) -> tuple[str, ...]:
        names = list(self.attacks)
        before = [self.attacks[name] for name in names[: names.index(attack.name)]]
        if not attack.rows:  # bespoke attacks do not change the results of the common suite
            before = [one for one in before if not one.rows]
        return tuple(self.job(block, defense, one).key for one in before)

    def _decides(self, block: int, defense: DefenseChoice, attack: AttackChoice) -> dict[str, Any]:
        board, start = self.board, block * self.board.dataset.block
        view_weights = self.view_weights.get((defense.name, attack.name))
        compiled = self.compiled.get(defense.name)
        return {
            "version": self.version,
            "code": self._code(defense.name, attack.name),
            "names": [board.name, defense.name, attack.name],
            "data": self.block_hashes[block],
            "block": [start, min(start + board.dataset.block, board.dataset.images)],
            "classifier": board.classifier.to_dict(),
            "defense": defense.use.to_dict(),
            "weights": self.fingerprints[defense.name],
            **({"view weights": view_weights} if view_weights else {}),
            "threat": asdict(board.threat),
            "attack": {**_attack(attack), "only": attack.only, "precision": board.attack_precision},
            **({"channels last": True} if board.channels_last else {}),
            **({"compiled": list(compiled)} if compiled else {}),
            **({"counters": True} if attack.counters else {}),
            **({} if attack.for_row(defense.name) else {"bespoke": "to other rows"}),
            **({"reused": board.reuses(defense.name, attack.name)} if attack.only == SOURCE else {}),
            "draws": board.draws,
            "seed": board.seed,
        }


def _attack(attack: AttackChoice) -> dict[str, Any]:
    """Return an attack and its view, without its name on the board."""
    return {"use": attack.use.to_dict(), "gradient": attack.gradient, "eot": attack.eot}
