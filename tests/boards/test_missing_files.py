"""Tests that a board runs without rows whose files are missing, reports them, and gives the same other results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from purebench.boards.board import Board
from purebench.boards.parse import load_board, parse_board
from purebench.boards.selection import at_radius, choose
from purebench.cli.main import app
from purebench.cli.missing_files import require_classifier
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.data.datasets import image_folder
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.records import store
from purebench.records.outcome import WORST_CASE, Outcome

from boards import write_board  # isort: skip

PUBLISHED = '''
from pathlib import Path
from purebench.core.defense import Function
from purebench.core.errors import Missing, MissingFiles

def published(place):
    """Darkens an image, if its file is there."""
    if not Path(place).is_file():
        raise MissingFiles(Missing(place, "example.org/" + Path(place).name))
    return Function(lambda x: 0.9 * x, random=False)

def broken(place):
    """Cannot be made."""
    raise RuntimeError("broken")
'''


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / "published.py").write_text(PUBLISHED, encoding="utf-8")
    row = {f"{tmp_path}/published.py:published": {"place": str(tmp_path / "weights.pt")}}
    path = write_board(
        tmp_path,
        images=6,
        block=3,
        attacks={
            "clean": {"use": "clean"},
            "apgd": {"use": "apgd(steps=3)", "gradient": "exact"},
            "transfer": {"use": "transfer", "source": {"defense": "dark", "attack": "apgd"}},
        },
        defenses={"none": "none", "dark": row, "blur": "gaussian-blur(sigma=1)"},
    )
    return load_board(path)


def test_a_row_with_a_missing_file_is_left_out_with_a_message(board: Board, tmp_path: Path) -> None:
    messages: list[str] = []
    context, records = run_board(board, tmp_path / "s", workers=1, tell=messages.append)
    assert list(context.defenses) == ["none", "blur"]
    assert len(messages) == 1
    assert "dark" in messages[0]
    assert "example.org/weights.pt" in messages[0]
    assert {record.defense for record in records} == {"none", "blur"}
    transfers = [record for record in records if record.attack == "transfer"]
    assert all(set(record.outcomes) == {Outcome.SKIPPED} for record in transfers)
    assert all("missing" in str(record.reason) for record in transfers)


def test_rows_added_later_change_no_other_result_and_repeat_no_job(board: Board, tmp_path: Path) -> None:
    context, records = run_board(board, tmp_path / "s", workers=1)
    before = {job.key for job in context.jobs() if job.label not in ("transfer", WORST_CASE)}
    (tmp_path / "weights.pt").touch()
    whole = prepare(board)
    assert not whole.left_out
    after = {job.key for job in whole.jobs()}
    assert before < after
    assert not {record.key for record in records if record.attack == "transfer"} & after
    ran: list[str] = []
    _, all_records = run_board(
        board, tmp_path / "s", workers=1, progress=lambda done, total, r: ran.append(r.key) if r else None
    )
    assert not before & set(ran)
    transferred = [r for r in all_records if r.attack == "transfer" and r.defense == "blur"]
    assert all(Outcome.SKIPPED not in record.outcomes for record in transferred)
    fresh, _ = run_board(board, tmp_path / "fresh", workers=1)
    with store.reading(tmp_path / "s") as one, store.reading(tmp_path / "fresh") as other:
        for job in fresh.jobs():
            assert one.get(job.key).draws == other.get(job.key).draws  # type: ignore[union-attr]


def test_workers_plan_the_same_jobs_for_the_reduced_board(board: Board, tmp_path: Path) -> None:
    here = prepare(board)
    (tmp_path / "weights.pt").touch()  # the file appears between the two calls
    there = prepare(here.board)
    assert [job.key for job in there.jobs()] == [job.key for job in here.jobs()]


def test_missing_images_classifier_and_rows_are_reported_together(board: Board, tmp_path: Path) -> None:
    dark = next(row for row in board.defenses if row.name == "dark")
    with pytest.raises(MissingFiles, match=r"example\.org/weights\.pt"):
        prepare(replace(board, defenses=(dark,)))
    definition = board.to_dict()
    definition["dataset"] |= {"use": {"image-folder": {"folder": "faces", "size": 8, "published": "faces.org"}}}
    definition["classifier"] = {f"{tmp_path}/published.py:published": {"place": str(tmp_path / "classifier.pt")}}
    definition["defenses"]["broken"] = {f"{tmp_path}/published.py:broken": {"place": "x"}}
    with pytest.raises(MissingFiles) as caught:
        prepare(parse_board(definition))
    assert [file.published for file in caught.value.files] == [
        "faces.org",
        "example.org/classifier.pt",
        "example.org/weights.pt",
    ]
    assert "\n" not in str(caught.value)


def test_a_run_names_all_missing_files_before_it_downloads_images(board: Board, tmp_path: Path) -> None:
    definition = board.to_dict()
    definition["dataset"] |= {"use": "cifar10"}
    require_classifier(parse_board(definition))  # the classifier is here
    definition["classifier"] = {f"{tmp_path}/published.py:published": {"place": str(tmp_path / "classifier.pt")}}
    with pytest.raises(MissingFiles) as caught:
        require_classifier(parse_board(definition))
    names = [Path(file.place).name for file in caught.value.files]
    assert names[-2:] == ["classifier.pt", "weights.pt"]


def test_other_errors_of_a_row_stop_the_board(board: Board, tmp_path: Path) -> None:
    definition = board.to_dict()
    definition["defenses"]["broken"] = {f"{tmp_path}/published.py:broken": {"place": "x"}}
    with pytest.raises(PurebenchError, match="broken"):
        prepare(parse_board(definition))


def test_terminal_and_page_list_the_rows_that_were_not_run(board: Board, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ["run", str(tmp_path / "board.yaml"), "--store", str(tmp_path / "s"), "--workers", "1", "--page", str(page)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "not run: file missing: dark" in done.stdout
    assert "no finished block yet" not in done.stdout
    assert "dark is not run: files are missing on this machine" in done.stderr
    assert "Not run: file missing: dark" in page.read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, ["show", "small", "--store", str(tmp_path / "s")])
    assert shown.exit_code == 0, shown.output


def test_another_radius_gives_another_board(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    titled = yaml.safe_load(path.read_text(encoding="utf-8")) | {"title": "Small, linf 8/255"}
    path.write_text(yaml.safe_dump(titled), encoding="utf-8")
    wider = choose(str(path), None, None, radius="16/255")
    assert (wider.name, wider.title) == ("small@16-255", "Small, linf 16/255")
    assert wider.threat.radius == pytest.approx(16 / 255)
    assert parse_board(wider.to_dict()) == wider
    assert at_radius(board, "0.50").name == "small@0.5"
    assert at_radius(board, "8 / 255") == board
    assert choose(str(path), None, None, radius="8/255").name == "small"
    keys = [{job.key for job in prepare(chosen).jobs()} for chosen in (board, wider)]
    assert not keys[0] & keys[1]
    with pytest.raises(PurebenchError, match="radius"):
        at_radius(board, "wide")
    words = ["run", str(path), "-d", "none", "--images", "1", "--workers", "1", "--radius", "0.5"]
    done = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output
    assert "linf 0.5" in done.stdout
    with store.reading(tmp_path / "s") as saved:
        assert list(saved.plans()) == ["small@0.5"]


def test_the_number_of_classes_fixes_the_labels_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUREBENCH_DATA", str(tmp_path))
    for name in ("ant", "bee", "cat"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    for name in ("ant", "cat"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "pets" / name / "1.png")
    data = image_folder(folder="pets", size=8, classes=3)
    assert data.labels.tolist() == [0, 2]
    assert data.classes == ("ant", "bee", "cat")
    (tmp_path / "pets" / "bee").rmdir()
    with pytest.raises(PurebenchError, match=r"expected 3 sub-folders .* but got 2, .*may shift the labels"):
        image_folder(folder="pets", size=8, classes=3)
    (tmp_path / "pets" / "bee").mkdir()
    (tmp_path / "pets" / ".cache").mkdir()
    (tmp_path / "pets" / "bee" / "._2.png").write_bytes(b"left behind by another system")
    assert image_folder(folder="pets", size=8, classes=3).labels.tolist() == [0, 2]
    (tmp_path / "pets" / "bee" / "2.png").write_bytes((tmp_path / "pets" / "ant" / "1.png").read_bytes()[:40])
    with pytest.raises(PurebenchError, match=r"bee/2\.png: expected a picture, but it is truncated or damaged"):
        image_folder(folder="pets", size=8, classes=3)
    with pytest.raises(MissingFiles, match=r"dogs \(published at dogs\.org\)"):
        image_folder(folder="dogs", size=8, published="dogs.org")
    with pytest.raises(PurebenchError, match="dogs is not a folder"):
        image_folder(folder="dogs", size=8)
