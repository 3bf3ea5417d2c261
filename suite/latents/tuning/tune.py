"""Runs a search from its setting to its result: on the bench, kept in a folder, then the best on fresh images."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from purebench.boards.code_identity import code_of
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.data.datasets import Array
from purebench.defenses.mlvgm.alpha_spaces import find_space
from purebench.latents.progress import Progress
from purebench.latents.tuning.bench import Bench
from purebench.latents.tuning.finalists import Candidate, Finalist, ask_again, with_baselines
from purebench.latents.tuning.journal import Journal
from purebench.latents.tuning.loop import best_few, search
from purebench.latents.tuning.setting import Setting
from purebench.latents.tuning.trial import Trial
from purebench.records.provenance import commit, device_name, versions
from purebench.statistics.design.propose import find_proposer


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        setting: The setting.
        searches: All searches of the folder, by (how, space).
        finalists: The finalists, the winner first.
        apart_from: Names of the boards whose images were compared with those of the search.
        device: Device that it ran on.
    """

    setting: Setting
    searches: Mapping[tuple[str, str], Sequence[Trial]]
    finalists: Sequence[Finalist]
    apart_from: Sequence[str]
    device: str

    @property
    def winner(self) -> Finalist:
        """The list that was best on the half of the fresh images that chooses the winner."""
        return self.finalists[0]

    def learned(self, command: str = "") -> dict[str, Any]:
        """Return the winner in the format of learned.yaml of the MLVGM purifiers, by the model's name.

        Args:
            command: Command line that made it.

        Returns:
            The content of the file.
        """
        return {model_name(self.setting): self._entry(command)}

    def _entry(self, command: str) -> dict[str, Any]:
        alphas = list(self.winner.candidate.alphas)
        return {"alphas": alphas, "attenuation": self.setting.attenuation, "command": command, "found": self.told()}

    def told(self) -> str:
        """Return one line on the winner: its robust accuracy, how it was measured, and its value in the search."""
        won, setting = self.winner, self.setting
        asked = sum(len(trials) for trials in self.searches.values())
        searched = "not asked" if won.candidate.searched is None else f"{100 * won.candidate.searched:.1f} %"
        return (
            f"{won.candidate.name}: robust {won.robust.percent()}, clean {won.clean.percent()} on {won.robust.n} fresh "
            f"images, {won.robust.method} at {100 * setting.confidence:g} %; {searched} in the search "
            f"({asked} evaluations, {setting.images} images); {attack_text(setting)}"
        )

    def to_dict(self, command: str = "") -> dict[str, Any]:
        """Return everything as plain JSON values.

        Args:
            command: Command line that made it.

        Returns:
            The values.
        """
        return {
            "command": command,
            "setting": self.setting.to_dict(),
            "defense": str(self.setting.spec(self.winner.candidate.alphas)),
            "winner": self.winner.to_dict(),
            "finalists": [finalist.to_dict() for finalist in self.finalists],
            "searches": {f"{how} {space}": len(trials) for (how, space), trials in self.searches.items()},
            "apart_from": list(self.apart_from),
            "device": self.device,
            "versions": versions(),
            "commit": commit(),
        }


def tune(
    setting: Setting,
    out: Path,
    *,
    how: str = "gp",
    space: str = "full",
    evaluations: int = 100,
    minutes: float | None = None,
    finalists: int = 5,
    device: str = "cpu",
    progress: Progress = lambda what, done, total: None,
) -> Tuned:
    """Search alphas for a setting in a folder; an earlier run is continued.

    Args:
        setting: The setting.
        out: The folder.
        how: Name in PROPOSERS.
        space: Name in SPACES; searches of one setting share a folder and the values that they found.
        evaluations: Evaluations of this search, those of earlier runs included.
        minutes: No evaluation begins after this time; None for no limit.
        finalists: Number of the best lists of all searches of the folder to evaluate again, besides the baselines.
        device: cpu, cuda or cuda:0.
        progress: Called as the work proceeds.

    Returns:
        The result.

    Raises:
        PurebenchError: For invalid arguments, before anything is written, and for a folder of another setting.
    """
    find_proposer(how)((), find_space(space).axes(1), setting.seed)  # fails early if a package is missing
    if finalists < 1 or evaluations < 1:
        raise PurebenchError(f"tune: expected at least 1 evaluation and finalist, but got {evaluations}, {finalists}.")
    progress("preparing", 0, evaluations)
    bench = Bench(setting, device)
    journal = Journal(out, decides(setting, bench))
    known = journal.known()
    before = journal.trials(how, space)
    progress("searching", len(before), evaluations)

    def measure(alphas: Sequence[float]) -> float:
        return known[tuple(alphas)] if tuple(alphas) in known else bench.value(alphas)

    def keep(trial: Trial) -> None:
        journal.keep(how, space, trial)
        progress("searching", trial.number + 1, evaluations)

    trials = search(
        measure,
        bench.latents,
        evaluations=evaluations,
        how=how,
        space=space,
        seed=setting.seed,
        minutes=minutes,
        before=before,
        keep=keep,
    )
    searches = journal.searches()
    named = [(trial, f"{how} {space} {trial.number}") for (how, space), some in searches.items() for trial in some]
    names = {trial.alphas: trial.name or name for trial, name in reversed(named)}
    best = best_few([trial for trial, _ in named], finalists)
    candidates = [Candidate(names[trial.alphas], trial.alphas, trial.value) for trial in best]
    everyone = [_with_value(c, {t.alphas: t.value for t in trials}) for c in with_baselines(candidates, bench.latents)]
    found = ask_again(
        everyone,
        lambda what, alphas: _ask(bench, journal, what, alphas),
        bench.latents,
        setting.confidence,
        lambda done, total: progress("asking again", done, total),
    )
    return Tuned(setting, searches, found, bench.apart_from, device_name(device))


def decides(setting: Setting, bench: Bench) -> dict[str, Any]:
    """Return everything that decides the value of a list in a search, as plain values."""
    plain = {**setting.to_dict(), "weights": bench.weights, "images_hash": bench.search.hash}
    for group, use in (
        ("defenses", setting.defense),
        ("classifiers", setting.classifier),
        ("attacks", setting.attack.use),
    ):
        plain[f"{group}_code"] = code_of(group, use).to_dict()
    return {**plain, "purebench": versions()["purebench"], "device": bench.device.type}


def _with_value(candidate: Candidate, values: Mapping[tuple[float, ...], float]) -> Candidate:
    """Return the candidate with its value in the search, if it was evaluated there."""
    return Candidate(candidate.name, candidate.alphas, values.get(candidate.alphas, candidate.searched))


def _ask(bench: Bench, journal: Journal, what: str, alphas: tuple[float, ...]) -> tuple[Array, bool]:
    """Return the answer on the fresh images, from the journal if it is there."""
    import numpy as np

    images = bench.fresh.hash
    draws = journal.answer(what, images, alphas)
    if draws is None:
        found = (bench.ask if what == "attacked" else bench.clean)(alphas, bench.fresh)
        draws = ["".join("1" if draw else "0" for draw in row) for row in found.tolist()]
        journal.keep_answer(what, images, alphas, draws)
    return np.array([[draw == "1" for draw in row] for row in draws], dtype=np.bool_), bench.random(alphas)


def write(tuned: Tuned, out: Path, command: str = "") -> list[Path]:
    """Write learned.yaml (the winner), result.json (everything) and search.png.

    Args:
        tuned: The result.
        out: The folder.
        command: Command line that made it.

    Returns:
        The paths of the files.
    """
    from purebench.latents.tuning.picture import draw

    out.mkdir(parents=True, exist_ok=True)
    places = [out / "learned.yaml", out / "result.json", out / "search.png"]
    text = yaml.safe_dump(
        tuned.learned(command), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    places[0].write_text(text, encoding="utf-8")
    places[1].write_text(json.dumps(tuned.to_dict(command), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(tuned, places[2])
    return places


def attack_text(setting: Setting) -> str:
    """Describe in words how the lists were attacked."""
    own = setting.threat == setting.board.threat and setting.board.radius_text
    where = f"{setting.threat.norm} {own or f'{setting.threat.radius:.4g}'}"
    if setting.objective == "paper":
        return f"images of FGSM on the reconstruction, {where}"
    attack = setting.attack
    return f"{attack.use} through {attack.gradient}, EOT {attack.eot}, {where}, anew for every list"


def model_name(setting: Setting) -> str:
    """Return the name that a list is filed under.

    It is the weights of the defense's factory, given or its default, else the defense's name.
    """
    make, _ = registry.factory("defenses", setting.defense.name)
    takes = inspect.signature(make).parameters
    usual = takes["weights"].default if "weights" in takes else None
    weights = setting.defense.params.get("weights", usual)
    return weights if isinstance(weights, str) else setting.defense.name
