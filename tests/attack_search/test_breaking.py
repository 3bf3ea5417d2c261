"""Tests a whole search on a small linear world: images, confirmation, resumption, files, and the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from purebench.attack_search.bench import SEARCHED, AttackBench
from purebench.attack_search.breaking import SearchBudget, break_defense
from purebench.attack_search.candidate import AttackCandidate, Step
from purebench.attack_search.confirm import CONFIRMED, confirm
from purebench.attack_search.halving import Halving, Score
from purebench.attack_search.report import write
from purebench.attack_search.search import SearchResult
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.records import store

OWN = '''
import numpy as np
import torch
from purebench.core.defense import Defense
from purebench.data.image_set import ImageSet

SIDE = 6

def images(split="test", count=80, undivided=False):
    """Two classes, by the sign of the sum of the pixels less 0.5; dev and test differ."""
    rng = np.random.default_rng({"test": 0, "dev": 1}[split])
    labels = np.arange(count) % 2
    pixels = 0.5 + 0.05 * rng.standard_normal((count, 1, SIDE, SIDE)) + 0.1 * (2 * labels - 1)[:, None, None, None]
    stored = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    ids = tuple(f"{split}-{place}" for place in range(count))
    classes = ("low", "high")
    if undivided:
        return ImageSet("small", stored, labels, classes, "made")
    return ImageSet("small", stored, labels, classes, "made", ids, split)

class Linear(torch.nn.Module):
    def forward(self, x):
        value = (x - 0.5).flatten(1).sum(1)
        return torch.stack([-value, value], 1)

class Masked(torch.nn.Module):
    """The same answers with a gradient of zero; the answers come late if `delay` is set."""
    def __init__(self, delay):
        super().__init__()
        self.model, self.delay = Linear(), delay
    def forward(self, x):
        import time
        time.sleep(self.delay)
        return self.model(x).detach() + 0 * x.sum()

def linear():
    return Linear()

def masked(classifier, delay=0.0):
    return Defense(Masked(delay))
'''
BOARD = {
    "name": "small",
    "dataset": {"use": "own.py:images", "images": 24, "block": 12},
    "classifier": "own.py:linear",
    "threat": {"norm": "linf", "radius": "0.15"},
    "attacks": {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=5)", "gradient": "exact"}},
    "defenses": {"masked": "own.py:masked"},
}
FEW = SearchBudget(minutes=5, images=24, evaluations=6)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(BOARD, sort_keys=False), encoding="utf-8")
    return tmp_path


def searched(place: Path, budget: SearchBudget = FEW, name: str = "store", seed: int = 0, **options: object):
    board = choose(str(place / "board.yaml"), ["masked"], None)
    return break_defense(
        board, load_board(place / "board.yaml"), place / name, budget, seed=seed, how="random", **options
    )


def dev_records(path: Path) -> dict[str, tuple[object, ...]]:
    with store.reading(path) as saved:
        return {one.key: (one.attack, one.block, one.draws) for one in saved.of_board(f"small{SEARCHED}")}


def test_a_masked_gradient_is_broken_and_confirmed_on_test_images(place: Path) -> None:
    report = searched(place, SearchBudget(minutes=5, images=24, evaluations=30))
    first = next(iter(report.found.halving.candidates.values()))
    assert report.found.halving.scores[12][first.name].accuracy > 0.9  # the usual attack finds nothing
    assert report.found.ended == "broken"
    assert report.confirmation is not None
    assert report.confirmation.robust.value == 0
    assert report.confirmation.robust.n == 24
    assert report.confirmation.robust.confidence == pytest.approx(0.975)
    with store.reading(place / "store") as saved:
        dev, test = (saved.of_board(f"small{end}") for end in (SEARCHED, CONFIRMED))
    assert dev
    assert test
    assert dev[0].data_hash != test[0].data_hash


def test_the_same_seed_gives_the_same_search_and_the_same_confirmation_spends_alpha_once(place: Path) -> None:
    one, again = searched(place), searched(place)
    assert one.to_dict()["candidates"] == again.to_dict()["candidates"]
    assert again.confirmation is not None
    assert (again.confirmation.number, again.confirmation.robust) == (1, one.confirmation.robust)
    other = searched(place, replace(FEW, confirm=12))
    assert other.confirmation is not None
    assert other.confirmation.number == 2
    assert other.confirmation.robust.confidence == pytest.approx(0.9875)


def test_a_confirmation_with_other_draws_is_a_further_one(place: Path) -> None:
    assert searched(place).confirmation.number == 1
    (place / "board.yaml").write_text(yaml.safe_dump({**BOARD, "verify": {"draws": 32}}), encoding="utf-8")
    assert searched(place).confirmation.number == 2
    (place / "board.yaml").write_text(yaml.safe_dump(BOARD), encoding="utf-8")
    assert searched(place).confirmation.number == 1


def test_a_composition_is_confirmed(place: Path) -> None:
    steps = (Step("apgd", {"steps": 3}, "exact"), Step("apgd", {"steps": 5}, "inner(module=classifier.model)"))
    board, composed = choose(str(place / "board.yaml"), ["masked"], None), AttackCandidate(steps, "")
    done = confirm(board, composed, place / "store", random=False, images=24, device="cpu", workers=1)
    assert (done.robust.value, done.errored) == (0, 0)


def test_an_interrupted_search_is_continued_with_the_same_result(place: Path) -> None:
    whole = searched(place, name="whole")
    seen: list[str] = []

    def interrupt(what: str, done: int, total: int) -> None:
        seen.append(what)
        if len(seen) == 6:
            raise KeyboardInterrupt

    part = searched(place, name="part", progress=interrupt)
    assert part.found.ended == "interrupted"
    assert part.confirmation is None
    assert "Not confirmed" in part.conclusion()
    before = dev_records(place / "part")
    assert 0 < len(before) < len(dev_records(place / "whole"))
    rest = searched(place, name="part")
    assert dev_records(place / "part") == dev_records(place / "whole")
    assert [row["dev"] for row in rest.to_dict()["candidates"]] == [row["dev"] for row in whole.to_dict()["candidates"]]
    assert rest.confirmation is not None
    assert rest.confirmation.robust == whole.confirmation.robust


def test_a_killed_search_is_continued_with_the_same_result(place: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_breaking as t;"
        "t.searched(Path(sys.argv[2]), name='killed')"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(place)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path, end = place / "killed", time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        if path.is_file() and len(_keys(path)) >= 3:
            break
        time.sleep(0.02)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = searched(place, name="killed")
    whole = searched(place, name="whole")
    assert dev_records(path) == dev_records(place / "whole")
    assert killed.confirmation == replace(whole.confirmation, seconds=killed.confirmation.seconds)


def _keys(path: Path) -> dict[str, object]:
    try:
        return dict(dev_records(path))
    except PurebenchError:  # the tables are not there yet
        return {}


def test_the_files_have_the_report_and_an_attack_that_a_board_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = searched(place, SearchBudget(minutes=5, images=24, evaluations=30), command="purebench break x")
    monkeypatch.chdir(place)
    write(report, Path("out"))
    found = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    assert found["confirmation"]["number"] == 1
    assert found["passes_spent"] == report.found.passes > 0
    assert found["dev_ladder"]["24"] == 0
    assert found["controls"]["similar"] == 0
    assert len(found["candidates"]) == len(report.found.halving.candidates) <= 30
    text = (place / "out" / "report.md").read_text(encoding="utf-8")
    for part in (
        "Confirmed on 24 images of small",
        "unknown (no controls were measured)",
        "| dev accuracy |",
        "attacks:",
    ):
        assert part in text
    board = load_board(Path("out/board.yaml"))
    assert [attack.name for attack in board.attacks] == ["clean", "apgd", "found"]
    assert (
        yaml.safe_load(Path("out/attack.yaml").read_text(encoding="utf-8"))["attacks"]["found"]
        == report.attack()["found"]
    )
    command = report.run_command(Path("out")).split()[1:]
    result = CliRunner().invoke(app, [*command, "--store", "other-store", "--workers", "1"])
    assert result.exit_code == 0, result.output
    with store.reading(Path("other-store")) as saved:
        draws = [d for one in saved.of_board("small-found") if one.attack == "found" for d in one.draws]
    assert draws == ["0"] * 24


@pytest.mark.parametrize(
    ("answer", "told"), [("1 / 0", "ZeroDivisionError"), ("x.sum() * float('nan')", "finite logits")]
)
def test_a_defense_that_raises_or_answers_nan_is_refused_with_its_error(place: Path, answer: str, told: str) -> None:
    code = OWN.replace("return self.model(x).detach() + 0 * x.sum()", f"return self.model(x) + {answer}")
    (place / "own.py").write_text(code, encoding="utf-8")
    with pytest.raises(PurebenchError, match=f"expected a defense that answers the dev images, but: .*{told}"):
        searched(place)


def test_a_folder_that_cannot_be_written_is_refused_before_the_search(place: Path) -> None:
    words = ["break", "masked", "--board", f"{place}/board.yaml", "--store", f"{place}/s", "--out"]
    for out in (place / "own.py", place / "own.py" / "deeper"):
        with pytest.raises(PurebenchError, match=r"--out: expected a folder that can be written, but .*own.py is not"):
            CliRunner().invoke(app, [*words, str(out)], catch_exceptions=False)
    assert not (place / "s").exists()


def test_data_sets_without_dev_images_and_more_than_there_are_are_refused(place: Path) -> None:
    with pytest.raises(PurebenchError, match=r"--images: expected at most 80, the number of dev images"):
        searched(place, replace(FEW, images=81))
    plain = {**BOARD, "dataset": {"use": "own.py:images(count=30, undivided=true)", "images": 24, "block": 12}}
    (place / "board.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected at least 10 dev images"):
        searched(place)
    assert not (place / "store").exists()


def test_a_board_on_dev_images_is_refused_before_the_search(place: Path) -> None:
    dev = {**BOARD, "dataset": {"use": "own.py:images(split=dev)", "images": 24, "block": 12}}
    (place / "board.yaml").write_text(yaml.safe_dump(dev), encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected a board on test images, but small is on the dev images"):
        searched(place)
    assert not (place / "store").exists()


def test_an_unconfirmed_result_is_the_accuracy_on_the_largest_number_of_dev_images(place: Path) -> None:
    report, halving, one = searched(place), Halving([12, 24]), AttackCandidate((Step("apgd", {}, "exact"),), "")
    halving.add([one], 12, {one.name: Score(np.zeros(12), 1.0, 1.0)})
    halving.add([one], 24, {one.name: Score(np.repeat([0.0, 1.0], 12), 1.0, 1.0)})
    told = replace(report, found=SearchResult(halving), confirmation=None).conclusion()
    assert "accuracy 50.0 % on the 24 dev images" in told
    assert (
        "no attack was measured" in replace(report, found=SearchResult(Halving([12])), confirmation=None).conclusion()
    )


def test_a_report_begins_with_the_images_on_which_the_attack_failed(place: Path) -> None:
    report = searched(place)
    told = replace(report, confirmation=replace(report.confirmation, errored=1)).conclusion()
    assert told.startswith("The attack failed with an error on 1 image; these count as right. Confirmed on 24 images")


def test_dev_images_are_searched_on_and_none_is_on_the_board(place: Path) -> None:
    board = choose(str(place / "board.yaml"), ["masked"], None)
    bench = AttackBench.of(board, place / "store", device="cpu", workers=1, seconds=60, images=24, seed=0)
    assert all(one.startswith("dev-") for one in bench.context.images.identities)
    assert bench.known.inner == ["classifier.model"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minutes": 0}, "--minutes: expected a time above 0"),
        ({"minutes": float("nan")}, "--minutes"),
        ({"minutes": 1, "images": 0}, "--images: expected a whole number of at least 1"),
        ({"minutes": 1, "workers": 0}, "--workers"),
    ],
)
def test_invalid_budgets_are_rejected(fields: dict[str, float], message: str) -> None:
    with pytest.raises(PurebenchError, match=message):
        SearchBudget(**fields)  # type: ignore[arg-type]


def test_more_confirming_images_than_the_board_has_are_rejected(place: Path) -> None:
    with pytest.raises(PurebenchError, match="--confirm: expected at most 24"):
        searched(place, replace(FEW, confirm=25))


def test_the_command_searches_and_writes_its_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words = ["break", "masked", "--board", "board.yaml", "--minutes", "5", "--images", "24", "--evaluations", "4"]
    words += ["--search", "random", "--store", "store", "--out", "out"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "Next command" in result.output
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "attack.yaml",
        "board.yaml",
        "report.json",
        "report.md",
    ]
    both = CliRunner().invoke(app, ["break", "masked", "--hours", "1", "--minutes", "5"])
    assert isinstance(both.exception, PurebenchError)
    assert "either --hours or --minutes" in str(both.exception)
