"""Measures how long `purebench site build` takes for ten boards of 500 synthetic rows, and how large a page is.

    python benchmarks/leaderboard_site.py [--boards 10] [--rows 500] [--images 100]

Half of the rows are random. Ranks are those that `purebench run --results` would have written; writing them is not
measured, because a site reads them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from purebench.boards.board import AttackChoice, Board, DatasetChoice, DefenseChoice
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue
from purebench.results.files.export import as_json, load_results
from purebench.results.merge import header_of
from purebench.results.ranking.rank import ranked_results
from purebench.results.ranking.standing import RankInterval, Standing, ranks_file
from purebench.results.results import DefenseResult

ATTACKS = ("clean", *(f"attack-{number}" for number in range(11)))
DRAWS, FRESH = 16, 32


def board(name: str, rows: int, images: int) -> Board:
    """Return a board with these numbers of rows and images."""
    return Board(
        name=name,
        title=f"Synthetic {name}",
        about="",
        dataset=DatasetChoice(Spec("fashion-mnist"), images, images),
        classifier=Spec("fashion-resnet"),
        threat=ThreatModel("linf", 16 / 255),
        radius_text="16/255",
        attacks=tuple(
            AttackChoice(name, Spec("pgd", {"steps": 10 + place}), "exact") if place else AttackChoice(name, Spec(name))
            for place, name in enumerate(ATTACKS)
        ),
        defenses=tuple(DefenseChoice(f"row-{number:03d}", Spec("vae")) for number in range(rows)),
        draws=DRAWS,
        fresh=FRESH,
    )


def result(made: Board, name: str, rng: np.random.Generator, random: bool) -> DefenseResult:
    """Return a row whose images differ in how often they are right."""
    images = made.dataset.images
    draws, fresh = (DRAWS, FRESH) if random else (1, 1)
    level = rng.uniform(0.05, 0.85)

    def answers(count: int, ease: float) -> tuple[list[str], list[str]]:
        chance = rng.beta(2 * ease + 0.05, 2 * (1 - ease) + 0.05, images)
        told = ["".join("01"[int(one)] for one in row) for row in rng.random((images, count)) < chance[:, None]]
        return told, ["robust" if 2 * one.count("1") > count else "misclassified" for one in told]

    def attack(choice: AttackChoice) -> dict[str, Any]:
        told, outcomes = answers(draws, 0.9 if choice.name == "clean" else min(0.95, level * rng.uniform(1, 1.6)))
        return {
            **{
                "name": choice.name,
                "spec": {"name": choice.use.name, "params": dict(choice.use.params)},
                "gradient": choice.gradient,
            },
            **{"eot": 1, "source": None, "draws": told, "outcomes": outcomes, "distances": [0.0] * images},
            **{"forwards": 100 * images, "backwards": 50 * images, "claims": [], "nearest": [], "notes": []},
            **{"pictures": [], "reason_images": [], "reasons": [], "skips": [], "warnings": []},
        }

    attacks = [attack(one) for one in made.attacks]
    told, outcomes = answers(fresh, level)
    picked = ["attack-0"] * images
    if not random:  # one answer for all queries: the pick is the first attack that is wrong
        wrong = [next((one for one in attacks if one["draws"][image] == "0"), attacks[0]) for image in range(images)]
        picked = [str(one["name"]) for one in wrong]
        told = [str(one["draws"][image]) for image, one in enumerate(wrong)]
        outcomes = [str(one["outcomes"][image]) for image, one in enumerate(wrong)]
    picks = {
        "draws": told,
        "outcomes": outcomes,
        "distances": [0.0] * images,
        "forwards": 1,
        "notes": [],
        "reasons": [],
    }
    return DefenseResult.from_dict(
        {
            **{"board": header_of(made), "name": name, "spec": {"name": "vae", "params": {}}, "random": random},
            **{"parameters": 1_000_000, "weights": "ab" * 32, "images": list(range(images)), "complete": True},
            **{"labels": [one % 10 for one in range(images)], "attacks": attacks},
            **{"worst_case": {**picks, "picked": picked, "reasons": []}, "schema": 1},
            "provenance": {"data": "cd" * 32, "device": "cpu", "versions": {"purebench": "0.5.0"}, "commit": "0" * 40},
        }
    )


def write(folder: Path, made: Board, seed: int) -> None:
    """Write the results of a board, with ranks from normal approximations in place of those that take minutes."""
    rng = np.random.default_rng(seed)
    rows = [result(made, one.name, rng, place % 2 == 0) for place, one in enumerate(made.defenses)]
    folder.mkdir(parents=True)
    for row in rows:
        (folder / f"{row.name}.json").write_text(as_json(row.to_dict()), encoding="utf-8")
    known = ranked_results(load_results(folder))
    names = [row.name for row in known]
    values = np.stack([row.scores() for row in known])
    means, error = values.mean(axis=1), values.std(axis=1).mean() * 2.8 / np.sqrt(values.shape[1])
    apart = np.abs(means[:, None] - means) > error
    above = apart & (means[:, None] > means)
    places = {
        name: RankInterval(int(above[:, at].sum()) + 1, len(names) - int(above[at].sum()), "a", 1 / len(names), 1)
        for at, name in enumerate(names)
    }
    pairs = {(a, b): 0.01 if apart[i, j] else 1.0 for i, a in enumerate(names) for j, b in enumerate(names) if i < j}
    found = Standing(places, pairs, values.shape[1], "", 0.95)
    (folder / "ranks.json").write_text(as_json(ranks_file(found, known)), encoding="utf-8")


def measure(boards: int, rows: int, images: int) -> tuple[float, int]:
    """Return the processor seconds of a build, and the bytes of the largest page with its scripts and data."""
    from purebench.cli.commands.sharing.site_boards import load_source

    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / f"board-{number}" / "results" for number in range(boards)]
        for number, folder in enumerate(folders):
            write(folder, board(f"board-{number}", rows, images), number)
        start = time.process_time()
        build_site([load_source(folder) for folder in folders], Path(place) / "site", Catalogue())
        seconds = time.process_time() - start
        site = Path(place) / "site"
        static = sum(path.stat().st_size for path in (site / "static").rglob("*.*s"))
        pages = [(site / "boards" / f"board-{number}.html").stat().st_size for number in range(boards)]
        data = [(site / "data" / f"board-{number}.js").stat().st_size for number in range(boards)]
        return seconds, static + max(page + one for page, one in zip(pages, data, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=10)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--images", type=int, default=100)
    given = parser.parse_args()
    seconds, size = measure(given.boards, given.rows, given.images)
    print(f"{given.boards} boards of {given.rows} rows, {given.images} images: {seconds:.1f} s of processor time")
    print(f"largest page with its scripts, styles and data: {size / 1e6:.2f} MB")
