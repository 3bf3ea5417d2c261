"""Tests `purebench challenge`: own examples are not accepted, better ones are, and others are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from purebench.attacks import APGD
from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.execution.context import prepare
from purebench.execution.jobs.challenge_draws import ChallengeDraws
from purebench.results.files.challenge_history import Bound, Decided, Submitted, identity, read_history
from purebench.results.files.challenge_submission import read_submission
from purebench.results.files.challenge_writing import append, keep_examples, kept_examples
from purebench.results.files.export import load_results
from purebench.results.grading.best_known import best_known

from boards import write_board  # isort: skip

IMAGES, RADIUS = 12, 8 / 255
ATTACKS = {"clean": {"use": "clean"}, "square": {"use": "square(queries=2)"}}


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board after a run with a weak attack, the exported examples, and those of APGD as `strong.npz`."""
    folder = tmp_path_factory.mktemp("ran")
    definition = write_board(folder, images=IMAGES, block=6, attacks=ATTACKS, verify={"draws": 4, "fresh": 16})
    done = call("run", definition, "--store", folder / "s", "--results", folder / "results", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert call("export", "small", "--store", folder / "s", "-o", folder / "e", "--format", "npz").exit_code == 0
    context = prepare(load_board(definition))
    x, y = torch.as_tensor(context.images.floats()), torch.as_tensor(context.images.labels)
    model = create("classifiers", Spec("fashion-resnet")).eval()
    adversarial = APGD(steps=8)(model, x, y, eps=RADIUS, norm="linf")
    np.savez(folder / "strong.npz", adversarial=adversarial.numpy(), positions=context.order)
    return folder


@pytest.fixture
def folder(ran: Path, tmp_path: Path) -> Path:
    """A copy of the results, so that histories do not meet."""
    shutil.copytree(ran / "results", tmp_path / "results")
    return tmp_path


def submit(ran: Path, folder: Path, row: str, file: Path, *more: object) -> Any:
    words = ["--author", "A. Name", "--store", ran / "s", "--results", folder / "results"]
    return call("challenge", ran / "board.yaml", row, file, *words, *more)


def known(folder: Path, row: str) -> Any:
    return next(one for one in load_results(folder / "results") if one.name == row).challenged


@pytest.mark.parametrize("row", ["none", "noise", "coin"])
def test_the_incumbent_examples_do_not_lower_the_bound(ran: Path, folder: Path, row: str) -> None:
    done = submit(ran, folder, row, ran / "e" / "adversarial" / row / "worst-case.npz")
    assert done.exit_code == 1, done.output
    assert "submission 1 to" in done.output
    assert "not accepted: the best known accuracy stays" in done.output
    assert known(folder, row) is None


@pytest.mark.parametrize("row", ["none", "noise"])
def test_better_examples_lower_the_bound_and_become_the_incumbent(ran: Path, folder: Path, row: str) -> None:
    first = submit(ran, folder, row, ran / "strong.npz", "--note", "APGD")
    assert first.exit_code == 0, first.output
    result = next(one for one in load_results(folder / "results") if one.name == row)
    assert result.challenged is not None
    assert result.robust is not None
    assert result.challenged.value < result.robust.value - 0.3
    shown = call("show", "--results", folder / "results", "--page", folder / "page.html").output
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.count("best known, at the examples of an accepted challenge") == 1
    assert "no challenge was accepted" in page  # the cell of the other rows
    assert "best known" in shown
    assert result.challenged.percent().split(" [")[0] in shown
    graded = json.loads((folder / "results" / "grades.json").read_text(encoding="utf-8"))[row]["adequacy"]["reasons"]
    assert {one["code"]: one["letter"] for one in graded}["bespoke"] == "D"  # graded again, with the new bound
    # not strong.npz again: on a random row it may rightly win the images that the first picks missed by chance
    best = read_history(folder / "results").best(identity(result))
    assert best is not None
    kept = kept_examples(folder / "results", best.examples, result.images)
    with np.load(ran / "strong.npz") as file:
        np.savez(folder / "again.npz", adversarial=kept, positions=file["positions"])
    again = submit(ran, folder, row, folder / "again.npz")
    assert again.exit_code == 1, again.output
    (a, accepted), (b, refused) = read_history(folder / "results").submissions(identity(result))
    assert accepted is not None
    assert refused is not None
    assert (a.number, b.number, a.author, a.note, a.images) == (1, 2, "A. Name", "APGD", IMAGES)
    assert (accepted.accepted, refused.accepted) == (True, False)
    assert a.level == pytest.approx(0.05 * 6 / np.pi**2)
    assert b.level == pytest.approx(a.level / 4)
    assert a.seed != b.seed
    assert refused.before == accepted.after


def test_the_incumbent_is_the_better_of_the_attacks_and_an_accepted_submission(ran: Path, folder: Path) -> None:
    """A submission that the attacks of a later run beat: its bound is not shown, and their examples are not new."""
    result = next(one for one in load_results(folder / "results") if one.name == "none")
    assert result.robust is not None
    context = prepare(load_board(ran / "board.yaml"))
    high = Bound(1.0, 0.7, 1.0, 0.95, IMAGES, "clopper-pearson")
    append(folder / "results", Submitted(1, identity(result), "none", "A", "", "f", 1, 0.03, 1, "2026-01-01"))
    digest = keep_examples(folder / "results", context.images.floats(), result.images)
    append(folder / "results", Decided(1, identity(result), True, 0.0, 1, 0, 1, high, high, digest))
    (found,) = [one for one in load_results(folder / "results") if one.name == "none"]
    assert result.robust.value < 1
    assert best_known(found) == result.robust
    done = submit(ran, folder, "none", ran / "e" / "adversarial" / "none" / "worst-case.npz")
    assert done.exit_code == 1, done.output
    assert f"stays {result.robust.percent()}" in done.output
    assert submit(ran, folder, "none", ran / "strong.npz").exit_code == 0
    after = known(folder, "none")
    assert after.value < result.robust.value
    _, decision = read_history(folder / "results").submissions(identity(result))[-1]
    assert decision is not None
    kept = torch.as_tensor(kept_examples(folder / "results", decision.examples, result.images))
    scores = ChallengeDraws(context, "none", torch.as_tensor(context.images.labels), 5).score(kept)
    assert (scores <= result.scores()).all()  # no image is less broken than by the attacks alone


def test_a_submission_may_have_some_of_the_images_only(ran: Path, folder: Path) -> None:
    with np.load(ran / "strong.npz") as file:
        np.savez(folder / "some.npz", images=file["adversarial"][[7, 3]], positions=file["positions"][[7, 3]])
    done = submit(ran, folder, "none", folder / "some.npz")
    assert done.exit_code == 0, done.output
    before = next(one for one in load_results(folder / "results") if one.name == "none")
    assert before.robust is not None
    assert known(folder, "none").value == pytest.approx(before.robust.value - 2 / IMAGES)
    assert known(folder, "none").n == IMAGES


def test_renaming_the_row_does_not_restart_the_count(ran: Path, folder: Path) -> None:
    submit(ran, folder, "none", ran / "e" / "adversarial" / "none" / "worst-case.npz")
    path = folder / "results" / "none.json"
    data = json.loads(path.read_text(encoding="utf-8")) | {"name": "renamed"}
    path.with_name("renamed.json").write_text(json.dumps(data), encoding="utf-8")
    path.unlink()
    (result,) = [one for one in load_results(folder / "results") if one.name == "renamed"]
    assert len(read_history(folder / "results").submissions(identity(result))) == 1


def change(ran: Path, folder: Path, **arrays: Any) -> Path:
    with np.load(ran / "strong.npz") as file:
        np.savez(folder / "changed.npz", **{**{name: file[name] for name in file.files}, **arrays})
    return folder / "changed.npz"


def test_examples_outside_of_the_threat_model_are_refused_and_not_counted(ran: Path, folder: Path) -> None:
    with np.load(ran / "strong.npz") as file:
        images = file["adversarial"]
    far = np.clip(images + np.where(images > 0.5, -1.0, 1.0).astype(np.float32) * 3 * RADIUS, 0, 1)
    wrong = {
        "the attack left the threat model: linf distance": {"adversarial": far},
        "outside \\[0,1\\]": {"adversarial": images + 1},
        "expected the attack to return finite images": {"adversarial": np.full_like(images, np.nan)},
        "of shape": {"adversarial": images[:, :, :30]},
        "expected positions of the 12 images": {"positions": np.arange(100_000, 100_000 + IMAGES)},
        "expected one example for each position": {"positions": np.zeros(IMAGES, dtype=np.int64)},
        "as floating-point and whole numbers": {"adversarial": (images * 255).astype(np.uint8)},
    }
    for told, arrays in wrong.items():
        with pytest.raises(PurebenchError, match=told):
            raise submit(ran, folder, "none", change(ran, folder, **arrays)).exception
    assert read_history(folder / "results").events == ()


@pytest.mark.filterwarnings("error")
def test_examples_beyond_float32_are_refused_without_a_warning_of_numpy(ran: Path, folder: Path) -> None:
    with np.load(ran / "strong.npz") as file:
        huge = np.full(file["adversarial"].shape, 1e300)
    positions, images, _ = read_submission(change(ran, folder, adversarial=huge))
    assert len(positions) == IMAGES
    assert np.isinf(images).all()
    with pytest.raises(PurebenchError, match="expected the attack to return finite images"):
        raise submit(ran, folder, "none", folder / "changed.npz").exception


def test_files_that_are_no_submission_are_refused(ran: Path, folder: Path) -> None:
    (folder / "text.npz").write_text("no npz", encoding="utf-8")
    np.savez(folder / "objects.npz", images=np.array([{}]), positions=np.array([1]))
    np.savez(folder / "other.npz", x=np.zeros(3))
    for name, told in {
        "text": "but it is not one",
        "objects": "but it is not one",
        "other": "but it is not one",
        "no": "read",
    }.items():
        assert told in str(submit(ran, folder, "none", folder / f"{name}.npz").exception)
    done = call("challenge", ran / "board.yaml", "none", ran / "strong.npz", "--results", folder / "results")
    assert "--author: expected your name" in str(done.exception)
    assert "did you mean 'none'" in str(submit(ran, folder, "nine", ran / "strong.npz").exception)


def test_a_defense_that_has_changed_since_its_result_is_refused(ran: Path, tmp_path: Path) -> None:
    shutil.copytree(ran, tmp_path / "copy")
    copy = tmp_path / "copy"
    board = copy / "board.yaml"
    text = board.read_text(encoding="utf-8").replace(str(ran), str(copy))
    board.write_text(text, encoding="utf-8")
    done = call("run", board, "--store", copy / "s", "--results", copy / "results", "--workers", 1)
    assert done.exit_code == 0, done.output
    code = copy / "defenses.py"
    code.write_text(code.read_text(encoding="utf-8").replace("0.01 * torch", "0.02 * torch"), encoding="utf-8")
    done = submit(copy, copy, "noise", copy / "strong.npz")
    assert "something that decides it has changed; run it again: purebench run" in str(done.exception)


def test_the_history_is_shown_and_written(ran: Path, folder: Path) -> None:
    words = ["challenge", ran / "board.yaml", "none", "--results", folder / "results"]
    assert "none: no submission yet" in call(*words).output
    submit(ran, folder, "none", ran / "strong.npz", "--note", "a|b")
    done = call(*words, "--out", folder / "history.md")
    assert "accepted" in done.output
    assert "A. Name" in done.output
    assert "a\\|b" in (folder / "history.md").read_text(encoding="utf-8")
    assert "expected a file .md, .tex, .csv, .json" in str(call(*words, "--out", folder / "history.pdf").exception)
