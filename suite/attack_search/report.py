"""The report of a search: report.md, report.json, and the attack that it found as a board can use it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from purebench.attack_search.candidate import in_words, sequence_eot
from purebench.attack_search.confirm import Confirmation, level
from purebench.attack_search.controls import BreakFrequency, MeasuredFault
from purebench.attack_search.found_board import FoundBoard, found_board
from purebench.attack_search.halving import candidate_rows
from purebench.attack_search.search import SearchResult
from purebench.boards.board import SOURCE, Board
from purebench.boards.replay import command
from purebench.core.errors import PurebenchError
from purebench.core.files.text import counted
from purebench.results.files.export import write_files

ENDED = {
    "time": "the time was over",
    "broken": "the best attack left no dev image",
    "exhausted": "no further candidate fits the time",
    "evaluations": "the number of candidates was reached",
    "interrupted": "it was interrupted",
}
SHOWN = 12
"""Candidates in the table of report.md."""
NAMED = 3
"""Largest number of candidates that are named among those that were not run."""


@dataclass(frozen=True)
class BreakReport:
    """The results of a search.

    Attributes:
        board: The board, with the defense as its only shown row.
        original: The board with its own rows.
        found: The search.
        random: Whether the defense is random.
        inner: Whether the defense has a part that classifies images by itself.
        seed: Seed of the search.
        minutes: Time of search and confirmation.
        images: Number of dev images.
        confirmation: The confirmation; None if there was none.
        controls: Controls, measured or not.
        command: The command line.
    """

    board: Board
    original: Board
    found: SearchResult
    random: bool
    inner: bool
    seed: int
    minutes: float
    images: int
    confirmation: Confirmation | None
    controls: Sequence[MeasuredFault]
    command: str

    @property
    def eot(self) -> int:
        """EOT samples of the winner's scores."""
        return sequence_eot(self.random)

    @property
    def price(self) -> float:
        """Seconds of a purifier pass of one image, from passes of the defense itself."""
        halving = self.found.halving
        whole = {name for name, candidate in halving.candidates.items() if candidate.whole}
        scores = [score for some in halving.scores.values() for name, score in some.items() if name in whole]
        scores += [] if self.found.clean is None else [self.found.clean]
        return min((score.seconds / score.passes for score in scores if score.passes), default=0.0)

    @property
    def extended(self) -> FoundBoard:
        """The board with the winner as an attack that is bespoke to the row; there must be a winner."""
        assert self.found.winner is not None
        return found_board(self.original, self.board.shown[0], self.found.winner[0], random=self.random)

    def attack(self) -> dict[str, Any]:
        """Return the winner as a key of `attacks` of a board.yaml, bespoke to the row; empty if there is none."""
        if self.found.winner is None:
            return {}
        found = self.extended
        if found.existing:
            return {found.attack.name: self.found.winner[0].plain(self.eot)}
        return {found.attack.name: found.board.to_dict()["attacks"][found.attack.name]}

    def dev_accuracies(self) -> dict[str, float]:
        """Return the accuracies of the winner on dev images, by their number, which rises."""
        if self.found.winner is None:
            return {}
        name, scores = self.found.winner[0].name, self.found.halving.scores
        return {str(images): scores[images][name].accuracy for images in sorted(scores) if name in scores[images]}

    @property
    def frequency(self) -> BreakFrequency:
        """The share of controls, similar to the defense, that the same budget broke."""
        return BreakFrequency.of(
            self.controls,
            random=self.random,
            inner=self.inner,
            seconds_per_pass=self.price,
            minutes=self.minutes,
        )

    def conclusion(self) -> str:
        """Return the result in a sentence."""
        done = self.confirmation
        if done is None:
            if not (dev := self.dev_accuracies()):
                return "Not confirmed: no attack was measured."
            images, accuracy = list(dev.items())[-1]
            return (
                f"Not confirmed: accuracy {100 * accuracy:.1f} % on the {images} dev images that the attack was chosen "
                "on, which is too low for other images."
            )
        spent = "" if done.number == 1 else f", confirmation {done.number} of this defense with this store"
        failed = f"The attack failed with an error on {counted(done.errored, 'image')}; these count as right. "
        with_interval = f"{100 * done.robust.confidence:.4g} % {done.robust.method}{spent}"
        return (
            f"{failed if done.errored else ''}Confirmed on {done.robust.n} images of {self.board.name} with fresh "
            f"draws: accuracy {done.robust.percent()} under this attack ({with_interval}). "
            f"It is an upper bound of the robust accuracy.{self._existing()}"
        )

    def _existing(self) -> str:
        """Return a sentence if the board has the winner among its own attacks; else nothing."""
        if self.found.winner is None or not (found := self.extended).existing:
            return ""
        only = f", on rows with only: {found.attack.only}" if found.attack.only == SOURCE else ""
        return f" {self.original.name} has this attack already, as {found.attack.name}{only}: it adds nothing to it."

    def not_run(self, most: int | None = None) -> list[str]:
        """Return which candidates were left out or not reached, and why; empty if there are none.

        Args:
            most: Largest number of candidates that a sentence names; None for all.
        """
        found, told = self.found, []
        if found.expensive:
            named = [f"{one.candidate.words} ({one.reason})" for one in found.expensive]
            told.append(f"Left out as too expensive for the time: {_listed(named, most)}.")
        if found.unreached and found.ended not in ("broken", "exhausted"):
            named = [one.words for one in found.unreached]
            told.append(f"Not reached, because {ENDED[found.ended]}: {_listed(named, most)}.")
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        done, found = self.confirmation, self.found
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
            "clean": None if found.clean is None else found.clean.accuracy,
            "brackets": found.brackets,
            "candidates": candidate_rows(found.halving),
            "left_out": [{"attack": str(one.candidate), "why": one.reason} for one in found.expensive],
            "not_reached": [str(one) for one in found.unreached],
            "winner": next(iter(self.attack().values()), None),
            "dev_ladder": self.dev_accuracies(),
            "confirmation": None if done is None else {**asdict(done), "robust": done.robust.to_dict()},
            "next_confidence": level(self.board.confidence, 1 if done is None else done.number + 1),
            "controls": self.frequency.to_dict(),
        }

    def markdown(self) -> str:
        """Return report.md."""
        found = self.found
        clean = "not measured" if found.clean is None else f"{100 * found.clean.accuracy:.1f} %"
        tried, brackets = counted(len(found.halving.candidates), "attack"), counted(found.brackets, "bracket")
        lines = [
            f"# Search for an attack on {self.board.shown[0].use}",
            "",
            f"{self.board.name}, {self.board.threat.norm} {self.board.radius_text or self.board.threat.radius}, "
            f"{self.minutes:g} minutes, seed {self.seed}; the search ended because {ENDED[found.ended]}.",
            "",
            self.conclusion(),
            "",
            self.frequency.sentence(),
            "",
            f"Tried: {tried} in {brackets} on {self.images} dev images, {found.passes:,} purifier passes, "
            f"{found.spent:.0f} s. Clean accuracy on dev images: {clean}.",
            "",
            *chain.from_iterable((line, "") for line in self.not_run()),
            "## The attack",
            "",
            "```yaml",
            "attacks:",
            *("  " + line for line in yaml.safe_dump(self.attack(), sort_keys=False, width=100).splitlines()),
            "```",
            "",
            "Accuracy on dev images, on which it was chosen: "
            + (
                ", ".join(f"{100 * value:.1f} % on {images}" for images, value in self.dev_accuracies().items())
                or "none"
            )
            + ".",
            "",
            "## The strongest candidates",
            "",
            "| dev accuracy | passes per image | attack | why it was tried |",
            "|---|---|---|---|",
        ]
        for row in candidate_rows(found.halving)[:SHOWN]:
            dev = ", ".join("–" if v is None else f"{100 * v:.0f} % ({n})" for n, v in row["dev"].items())
            attack = in_words(row["attack"])
            why = row["why"] if not row["failed"] else f"{row['why']}: {row['failed']}"
            lines.append(f"| {dev} | {row['passes']:.0f} | {attack} | {why.replace('|', '/')} |")
        return "\n".join([*lines, ""])

    def run_command(self, out: Path, store: Path | None = None) -> str:
        """Return the command that runs the defense under the attack, with the evidence that grades it.

        Args:
            out: The folder of board.yaml.
            store: The store; None for the default one.
        """
        found = self.extended
        board, row = found.board, self.board.shown[0]
        if found.existing:
            return command("run", self.board.origin, defense=[str(row.use)], store=store, evidence=True)
        specs = [board.classifier, board.dataset.use, *(row.use for row in board.defenses)]
        specs += [attack.use for attack in board.attacks]
        files = any(spec.path is not None for spec in specs)  # they lie outside of the folder
        path = str(out / "board.yaml")
        return command("run", path, defense=[row.name], store=store, trust=files, evidence=True)


def _listed(named: Sequence[str], most: int | None) -> str:
    """Return names in one line, at most some of them."""
    shown = named if most is None or len(named) <= most + 1 else named[:most]
    return "; ".join(shown) + (f"; and {len(named) - len(shown)} more" if len(shown) < len(named) else "")


def write(report: BreakReport, out: Path) -> list[Path]:
    """Write report.md and report.json, and if an attack was found that the board lacks attack.yaml and board.yaml.

    Args:
        report: The report.
        out: The folder.

    Returns:
        The files.
    """
    texts = {
        "report.md": report.markdown(),
        "report.json": json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n",
    }
    if report.found.winner is not None and not report.extended.existing:
        head = f"# an attack on {report.board.shown[0].use}, found by: {report.command}\n"
        texts["attack.yaml"] = head + yaml.safe_dump({"attacks": report.attack()}, sort_keys=False, width=100)
        texts["board.yaml"] = head + yaml.safe_dump(report.extended.board.to_dict(), sort_keys=False, width=100)
    write_files({out / name: text for name, text in texts.items()})
    return [out / name for name in texts]


def check_folder(out: Path) -> None:
    """Check before a search that its files can be written.

    Args:
        out: The folder.

    Raises:
        PurebenchError: If there is a file in its place, or its folder cannot be written.
    """
    there = next((place for place in (out, *out.resolve().parents) if place.exists()), out)
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise PurebenchError(f"--out: expected a folder that can be written, but {there} is not one; choose another.")
