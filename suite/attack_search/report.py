"""The report of a search: report.md, report.json, and the attack that it found as a board can use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from purebench.attack_search.confirm import Confirmation, level
from purebench.attack_search.controls import Control, similar
from purebench.attack_search.controls import told as told_controls
from purebench.attack_search.halving import told as told_ladder
from purebench.attack_search.search import Found
from purebench.boards.board import Board
from purebench.boards.replay import command

ENDED = {
    "time": "the time was over",
    "broken": "the best attack left no dev image",
    "exhausted": "no further candidate fits the time",
    "evaluations": "the number of candidates was reached",
    "interrupted": "it was interrupted",
}
ADDED = "found"
"""Name of the attack on the board that is written, if it is free."""
SHOWN = 12
"""Candidates in the table of report.md."""


@dataclass(frozen=True)
class BreakReport:
    """Everything that a search found.

    Attributes:
        board: The board, with the defense as its only shown row.
        original: The board with its own rows.
        found: The search.
        random: Whether the defense is random.
        seed: Seed of the search.
        minutes: Time of search and confirmation.
        images: Number of dev images.
        confirmation: The confirmation; None if there was none.
        controls: Measured controls.
        command: The command line.
    """

    board: Board
    original: Board
    found: Found
    random: bool
    seed: int
    minutes: float
    images: int
    confirmation: Confirmation | None
    controls: Sequence[Control]
    command: str

    @property
    def eot(self) -> int:
        """EOT samples of the winner's scores."""
        return 4 if self.random else 1

    @property
    def price(self) -> float:
        """Seconds of a purifier pass of one image."""
        scores = [score for some in self.found.ladder.scores.values() for score in some.values() if score.passes]
        return min((score.seconds / score.passes for score in scores), default=0.0)

    def attack(self) -> dict[str, Any]:
        """Return the winner as a key of `attacks` of a board.yaml, bespoke to the row; empty if there is none."""
        if self.found.winner is None:
            return {}
        return {self.added: {**self.found.winner[0].plain(self.eot), "rows": [self.board.shown[0].name]}}

    @property
    def added(self) -> str:
        """The name of the winner on the board that is written: `ADDED`, with a number if the board has this name."""
        taken = {attack.name for attack in self.original.attacks}
        return next(name for name in chain([ADDED], (f"{ADDED}-{n}" for n in count(2))) if name not in taken)

    def ladder(self) -> dict[str, float]:
        """Return the accuracies of the winner on dev images, by their number."""
        if self.found.winner is None:
            return {}
        name, scores = self.found.winner[0].name, self.found.ladder.scores
        return {str(images): some[name].accuracy for images, some in scores.items() if name in some}

    def controls_told(self) -> str:
        """Return in a sentence how often the same budget broke controls."""
        near = similar(self.controls, random=self.random, seconds_per_pass=self.price, minutes=self.minutes)
        return told_controls(near, len(self.controls))

    def conclusion(self) -> str:
        """Return the result in a sentence."""
        done = self.confirmation
        if done is None:
            best = min(self.ladder().values(), default=1.0)
            return (
                f"Not confirmed: accuracy {100 * best:.1f} % on the dev images that the attack was chosen on, which is "
                "too low for other images."
            )
        spent = "" if done.number == 1 else f", confirmation {done.number} of this defense with this store"
        return (
            f"Confirmed on {done.robust.n} images of {self.board.name} with fresh draws: accuracy "
            f"{done.robust.percent()} under this attack ({100 * done.robust.confidence:.4g} % {done.robust.method}"
            f"{spent}). It is an upper bound of the robust accuracy."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        done, found = self.confirmation, self.found
        near = similar(self.controls, random=self.random, seconds_per_pass=self.price, minutes=self.minutes)
        return {
            "command": self.command,
            "board": self.board.name,
            "defense": str(self.board.shown[0].use),
            "seed": self.seed,
            "minutes": self.minutes,
            "dev_images": self.images,
            "random": self.random,
            "ended": found.ended,
            "seconds_spent": found.spent,
            "passes_spent": found.passes,
            "seconds_per_pass": self.price,
            "clean": found.clean.accuracy,
            "brackets": found.brackets,
            "candidates": told_ladder(found.ladder),
            "left_out": [str(one) for one in found.expensive],
            "winner": self.attack().get(self.added),
            "dev_ladder": self.ladder(),
            "confirmation": None if done is None else {**asdict(done), "robust": done.robust.to_dict()},
            "next_confidence": level(self.board.confidence, 1 if done is None else done.number + 1),
            "controls": {"similar": len(near), "broken": sum(one.broken for one in near), "told": self.controls_told()},
        }

    def markdown(self) -> str:
        """Return report.md."""
        found = self.found
        lines = [
            f"# Search for an attack on {self.board.shown[0].use}",
            "",
            f"{self.board.name}, {self.board.threat.norm} {self.board.radius_text or self.board.threat.radius}, "
            f"{self.minutes:g} minutes, seed {self.seed}; the search ended because {ENDED[found.ended]}.",
            "",
            self.conclusion(),
            "",
            self.controls_told(),
            "",
            f"Tried: {len(found.ladder.candidates)} attacks in {found.brackets} brackets on {self.images} dev images, "
            f"{found.passes:,} purifier passes, {found.spent:.0f} s; {len(found.expensive)} were too expensive for the "
            f"time. Clean accuracy on dev images: {100 * found.clean.accuracy:.1f} %.",
            "",
            "## The attack",
            "",
            "```yaml",
            "attacks:",
            *("  " + line for line in yaml.safe_dump(self.attack(), sort_keys=False, width=100).splitlines()),
            "```",
            "",
            "Accuracy on dev images, on which it was chosen: "
            + (", ".join(f"{100 * value:.1f} % on {images}" for images, value in self.ladder().items()) or "none")
            + ".",
            "",
            "## The strongest candidates",
            "",
            "| dev accuracy | passes per image | attack | why it was tried |",
            "|---|---|---|---|",
        ]
        for row in told_ladder(found.ladder)[:SHOWN]:
            dev = ", ".join("–" if v is None else f"{100 * v:.0f} % ({n})" for n, v in row["dev"].items())
            attack = "; then ".join(f"{step['use']} through {step['gradient']}" for step in row["attack"])
            why = row["why"] if not row["failed"] else f"{row['why']}: {row['failed']}"
            lines.append(f"| {dev} | {row['passes']:.0f} | {attack} | {why.replace('|', '/')} |")
        return "\n".join([*lines, ""])

    def extended(self) -> Board:
        """Return the board with the defense as a row, and the winner as a further attack that is bespoke to it.

        The robust accuracies and the ranks of the common suite stay as they are.
        """
        (row,) = self.board.shown
        assert self.found.winner is not None
        rows = [other for other in self.original.defenses if other.name != row.name]
        choice = replace(self.found.winner[0].choice(self.added, self.eot), rows=(row.name,))
        return replace(
            self.original,
            name=f"{self.board.name}-found",
            title=f"{self.original.title}, with an attack that was searched for",
            attacks=(*self.original.attacks, choice),
            defenses=(*rows, row),
        )

    def run_command(self, out: Path, store: Path | None = None) -> str:
        """Return the command that runs the board with the attack.

        Args:
            out: The folder of board.yaml.
            store: The store; None for the default one.
        """
        board = self.extended()
        specs = [board.classifier, board.dataset.use, *(row.use for row in board.defenses)]
        specs += [attack.use for attack in board.attacks]
        files = any(spec.path is not None for spec in specs)  # they lie outside of the folder
        return command("run", str(out / "board.yaml"), defense=[self.board.shown[0].name], store=store, trust=files)


def write(report: BreakReport, out: Path) -> list[Path]:
    """Write report.md and report.json, and if an attack was found attack.yaml and board.yaml.

    Args:
        report: The report.
        out: The folder.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": report.markdown(),
        "report.json": json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n",
    }
    if report.found.winner is not None:
        head = f"# an attack on {report.board.shown[0].use}, found by: {report.command}\n"
        texts["attack.yaml"] = head + yaml.safe_dump({"attacks": report.attack()}, sort_keys=False, width=100)
        texts["board.yaml"] = head + yaml.safe_dump(report.extended().to_dict(), sort_keys=False, width=100)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]
