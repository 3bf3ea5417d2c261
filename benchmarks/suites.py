"""Compares a board's suite of attacks on its random rows with reference attacks, paired by image.

    python benchmarks/suites.py --board fashion-quick --defense diffpure-ddpm --reference plain-pgd
    python benchmarks/suites.py --board fashion-linf --images 100 --block 25 --reference guideline
    python benchmarks/suites.py --board benchmarks/boards/strength.yaml --radius 8/255 --defense noise

plain-pgd   three runs of a plain PyTorch PGD with momentum 0.9, 40 steps of 8 draws, step ε/8 (plain_pgd.py)
guideline   PGD with momentum, 200 steps of 20 draws from three random starts, and with a targeted loss from one start
            for each of the three likeliest wrong classes, through exact gradients: what the literature asks of an
            evaluation of a random purifier

The board is run first, then with the references as further attacks; the run resumes when it is started again. Printed
are, per row, the board's headline − reference (a mean over the runs of plain-pgd; of the two attacks of the guideline,
the one that the verification draws pick for the image) and, for each attack of the suite, the suite without it − the
suite; with the upper end of the one-sided 95 % bootstrap interval over the images. The headline and the references are
scored on further fresh draws of the defense (--draws) at their adversarial examples, because with the board's few draws
the difference is mostly noise. For the suite, half of an image's verification draws pick the attack and the other half
score it, then the halves change places, and the mean of both counts: picks and scores use separate draws. The headline
is picked on more draws, so it is usually lower than the suite. Bars: at most +2 points for the references, +3 for the
suite without one attack. Exit code 1 if a bar is missed. A second table has each attack alone − the best single attack,
which is chosen on the draws that do not score it. The board benchmarks/boards/strength.yaml has the attacks of papers
beside those of version 0.4.0, at equal cost.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attack_parts.subjects import answers
from common.paired import difference
from common.reporting import Report, parser, percent, perform, text

from purebench.boards.board import AttackChoice, Board
from purebench.boards.selection import choose
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.execution.board_run import run_board
from purebench.execution.progress.terminal import run_progress
from purebench.records.outcome import WORST_CASE
from purebench.records.record import Record
from purebench.results.attack_result import AttackResult
from purebench.results.files.adversarial import StoredExamples
from purebench.results.merge import merge
from purebench.results.results import CLEAN, DefenseResult

PLAIN = Path(__file__).parent / "attack_parts" / "plain_pgd.py"
GUIDELINE = {"steps": 200, "momentum": 0.9, "step": 0.05}
REFERENCES: dict[str, tuple[AttackChoice, ...]] = {
    "plain-pgd": tuple(
        AttackChoice(f"plain-pgd-{number}", Spec(f"{PLAIN}:PlainPGD", {"number": number}), "exact", only="random")
        for number in range(3)
    ),
    "guideline": (
        AttackChoice("guideline", Spec("pgd", {**GUIDELINE, "restarts": 3}), "exact", eot=20, only="random"),
        AttackChoice("guideline-t", Spec("pgd", {**GUIDELINE, "targets": 3}), "exact", eot=20, only="random"),
    ),
}
BAR, BAR_WITHOUT = 2.0, 3.0
"""Largest upper ends in points: the suite minus a reference, and the suite without an attack minus the suite."""
Shares = npt.NDArray[np.float64]


def shares(attack: AttackResult) -> tuple[Shares, Shares]:
    """Return each image's share of correct answers on the even and on the odd verification draws, [N] each."""
    draws = np.array([[char == "1" for char in line] for line in attack.draws], dtype=np.float64)
    return draws[:, ::2].mean(1), draws[:, 1::2].mean(1)


def worst(attacks: list[AttackResult]) -> Shares:
    """Return each image's share of correct answers at its picked attack, [N]; picks and scores use separate draws."""
    halves = [np.stack(half) for half in zip(*(shares(attack) for attack in attacks), strict=True)]
    rows = np.arange(halves[0].shape[1])
    scored = [halves[1 - pick][halves[pick].argmin(0), rows] for pick in (0, 1)]
    return np.asarray((scored[0] + scored[1]) / 2)


def answered(result: DefenseResult) -> dict[str, AttackResult]:
    """Return the attacks that answered on every image of the row, without the clean one."""
    return {attack.name: attack for attack in result.attacks if attack.name != CLEAN and all(attack.draws)}


@dataclass(frozen=True)
class FreshDraws:
    """Further fresh draws of a row's defense at its adversarial examples.

    Attributes:
        defense: The defense.
        draws: Draws of each image.
        seed: Decides the draws, the same for all attacks.
    """

    defense: Defense
    draws: int
    seed: int

    def shares(self, board: Board, records: list[Record], path: Path, row: str, attack: str) -> Shares:
        """Return each image's share of correct draws at the adversarial examples of an attack, [N]."""
        found = StoredExamples(path, records).read(board, row, attack)
        with seeded("suites", str(self.seed)):
            right = answers(self.defense, found.x_adv, self.draws) == found.y[:, None]
        return np.asarray(right.double().mean(1))


def reference(name: str, fresh: list[Shares], found: list[AttackResult]) -> Shares:
    """Return each image's share of correct fresh draws under a reference, [N].

    Args:
        name: The reference.
        fresh: The shares of its attacks on the fresh draws, [N] each.
        found: Its attacks, whose verification draws pick one of several for each image.
    """
    if name == "plain-pgd":
        return np.asarray(np.mean(fresh, axis=0))
    pick = np.stack([np.mean(shares(attack), axis=0) for attack in found]).argmin(0)
    return np.asarray(np.stack(fresh)[pick, np.arange(len(pick))])


def compare(report: Report, result: DefenseResult, headline: Shares, fresh: dict[str, Shares], seed: int) -> None:
    """Add the table and the bars of one row.

    Args:
        report: Gets them.
        result: The row of the board with the references.
        headline: Each image's share of correct fresh draws at the picked points of the board alone, [N].
        fresh: The shares of the attacks of the references, by their names.
        seed: Decides the bootstrap.
    """
    attacks = answered(result)
    others = {
        name: reference(name, [fresh[one.name] for one in several], [attacks.pop(one.name) for one in several])
        for name, several in REFERENCES.items()
        if several[0].name in fresh
    }
    suite = worst(list(attacks.values()))
    rows: list[dict[str, Any]] = [
        {"name": "headline", "accuracy": float(headline.mean()), "passes": None},
        {"name": "suite", "accuracy": float(suite.mean()), "passes": None},
    ]

    def add(name: str, found: Shares, first: Shares, second: Shares, bar: float, passes: float | None = None) -> None:
        told = difference(first, second, seed=seed, confidence=0.9)
        rows.append({"name": name, "accuracy": float(found.mean()), "difference": str(told), "passes": passes})
        report.at_most(f"{result.name}: {name}, upper end in points", told.high, bar)

    for name, found in others.items():
        add(f"headline − {name}", found, headline, found, BAR)
    for name, left_out in attacks.items():
        rest = worst([attack for other, attack in attacks.items() if other != name])
        add(f"without {name}", rest, rest, suite, BAR_WITHOUT, left_out.purifier_passes)
    columns = (
        ("name", "", text),
        ("accuracy", "accuracy left", percent),
        ("difference", "difference [two-sided 90 %]", text),
        ("passes", "passes an image", lambda value: "" if value is None else f"{value:.0f}"),
    )
    report.show(f"{result.name}: {len(result.images)} images", rows, columns)
    columns = (columns[0], columns[1], ("difference", "− best attack [95 %]", text), columns[3])
    report.show(f"{result.name}: each attack alone", alone(attacks, seed), columns)


def alone(attacks: Mapping[str, AttackResult], seed: int) -> list[dict[str, Any]]:
    """Return each attack's accuracy and its difference to the best single attack, the strongest attack first."""
    halves = {name: shares(attack) for name, attack in attacks.items()}
    best = [min(halves, key=lambda name: halves[name][pick].mean()) for pick in (0, 1)]
    rows = []
    for name, found in halves.items():
        each = [found[1 - pick] - halves[best[pick]][1 - pick] for pick in (0, 1)]
        told = difference(np.mean(each, axis=0), np.zeros(len(each[0])), seed=seed)
        row = {"name": name, "accuracy": float(np.mean(found)), "difference": str(told)}
        rows.append({**row, "passes": attacks[name].purifier_passes})
    return sorted(rows, key=lambda row: row["accuracy"])


def extended(board: Board, references: list[str]) -> Board:
    """Return the board with the references as further attacks."""
    extra = tuple(one for name in references for one in REFERENCES[name])
    return replace(board, attacks=(*board.attacks, *extra))


def main(arguments: list[str] | None = None) -> int:
    """Run the board and compare; the exit code says whether every bar was met."""
    made = parser(__doc__)
    made.add_argument("--board", default="fashion-quick", help="a bundled board, or the path of a board.yaml")
    made.add_argument("--defense", action="append", help="a row of the board, or a spec; may be repeated (all)")
    made.add_argument("--reference", action="append", choices=REFERENCES, help="may be repeated (none)")
    made.add_argument("--images", type=int, default=None, help="only the first so many images")
    made.add_argument("--block", type=int, help="images per job (the board's); with fewer, less is lost when killed")
    made.add_argument("--radius", help="radius, such as 8/255 (the board's)")
    made.add_argument("--store", type=Path, default=Path(".purebench/suites.sqlite"), help="where the records go")
    made.add_argument("--draws", type=int, default=96, help="fresh draws of the headline and of the references (96)")
    made.add_argument("--workers", type=int, default=None, help="processes")
    options = made.parse_args(arguments)

    def work(report: Report) -> None:
        references = options.reference or []
        chosen = choose(options.board, options.defense or [], options.images, radius=options.radius)
        if options.block is not None:
            if options.block < 1:
                raise PurebenchError(f"--block: expected at least 1 image per job, but got {options.block}.")
            chosen = replace(chosen, dataset=replace(chosen.dataset, block=options.block))
        board = extended(chosen, references)
        with run_progress() as tell:
            context, own = run_board(chosen, options.store, workers=options.workers, progress=tell)
            _, records = run_board(board, options.store, workers=options.workers, progress=tell)
        for result in merge(board, records):
            defense = context.defenses[result.name]
            if not defense.random or any(row.only_source for row in board.defenses if row.name == result.name):
                continue
            draws = FreshDraws(defense, options.draws, options.seed)
            headline = draws.shares(chosen, own, options.store, result.name, WORST_CASE)
            names = [one.name for name in references for one in REFERENCES[name]]
            fresh = {name: draws.shares(board, records, options.store, result.name, name) for name in names}
            compare(report, result, headline, fresh, options.seed)

    return perform("suites", options, work)


if __name__ == "__main__":
    sys.exit(main())
