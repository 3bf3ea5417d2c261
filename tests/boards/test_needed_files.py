"""Tests that the published files of a board are all listed, those within parameters too, and none is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from purebench.boards.bundled import bundled
from purebench.boards.files.needed_files import needed_files, runnable_rows
from purebench.boards.parse import load_board, parse_board
from purebench.core.errors import Missing, MissingFiles
from purebench.core.files.published import LookedUp, find_published, listing, note

STANDARD = "robustbench/cifar10/Linf/Standard.pt"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folders of models and of data."""
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PUREBENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a model: loading it would fail")


def test_listing_raises_whether_a_file_exists_or_not(tmp_path: Path) -> None:
    here, gone = (Missing(str(tmp_path / name), "example.org") for name in ("here", "gone"))
    put(tmp_path / "here")
    put(tmp_path / "other")
    assert find_published(here) == tmp_path / "here"
    assert find_published(gone, [tmp_path / "other"]) == tmp_path / "other"
    note(LookedUp(here, None))  # outside of `listing` nothing happens
    with listing() as found:
        for file in (here, gone):
            with pytest.raises(MissingFiles):
                find_published(file)
    assert found == [LookedUp(here, tmp_path / "here"), LookedUp(gone, None)]
    with pytest.raises(MissingFiles):
        find_published(gone)
    assert len(found) == 2


def test_files_of_a_board_are_listed_once_with_what_needs_them(home: Path) -> None:
    needed = {
        one.file.place.removeprefix(f"{home}/"): one for one in needed_files(load_board(bundled()["cifar10-linf"]))
    }
    assert list(needed)[:2] == ["data/cifar-10-python.tar.gz", f"models/{STANDARD}"]
    assert needed["data/cifar-10-python.tar.gz"].parts == ("images",)
    assert needed[f"models/{STANDARD}"].parts == ("classifier",)
    both = needed["models/pretrained/cifar10/wrn-70-16-dropout/weights.pt"]
    assert both.parts == tuple(
        f"{name}-wrn-70-16" for name in ("ddpm-surrogate", "likelihood-maximisation", "diffpure")
    )
    assert {both.parts[0], both.parts[2]} < set(needed["models/score_sde/checkpoint_8.pth"].parts), (
        "purifier and classifier of `before`"
    )
    assert needed["models/ebm/ebm.pth"].parts == ("ebm-hill", "ebm-hill-vote-150")
    dm = needed["models/pretrained/cifar10/wresnet-76-10/weights-best.pt"]
    assert dm.parts == ("freqpure-dm-wrn-70-16", "freqpure-dm-wrn-70-16-vote-10")
    assert needed["models/robustbench/cifar10/Linf/Wang2023Better_WRN-28-10.pt"].parts == (
        "wang-2023-28-10",
        "ddpm-surrogate-wang-2023",
        "diffpure-wang-2023",
    )
    assert not any(one.found for one in needed.values())
    assert needed["models/edm/edm-cifar10-32x32-uncond-vp.pkl"].file.download.startswith("https://")
    assert not needed[f"models/{STANDARD}"].file.download, "Google Drive shows a page first"


def test_nothing_is_loaded_and_rows_run_as_soon_as_their_files_are_there(home: Path) -> None:
    board = load_board(bundled()["cifar10-linf"])
    assert runnable_rows(board, needed_files(board)) == []
    put(home / "models" / STANDARD)
    put(home / "data" / "cifar-10-python.tar.gz")
    assert runnable_rows(board, needed_files(board)) == ["none"]
    put(home / "models" / "score_sde" / "checkpoint_8.safetensors")
    needed = needed_files(board)
    rows = runnable_rows(board, needed)
    assert rows == ["none", "ddpm-surrogate", "diffpure", "freqpure", "gradual-noise", "gradual-noise-vote-10"]
    found = [one.found for one in needed if one.file.place.endswith("checkpoint_8.pth")]
    assert found == [home / "models" / "score_sde" / "checkpoint_8.safetensors"]


def test_unpacked_images_count_as_found(home: Path) -> None:
    (home / "data" / "cifar-10-batches-py").mkdir(parents=True)
    (home / "data" / "imagenet" / "val").mkdir(parents=True)
    for name in ("cifar10-linf", "imagenet-linf"):
        first = needed_files(load_board(bundled()[name]))[0]
        assert (first.parts, first.found is not None) == (("images",), True)


def test_defenses_within_mappings_and_gradient_modes_are_listed(home: Path) -> None:
    board = load_board(bundled()["cifar10-linf"]).to_dict()
    inner = {"before": {"purifier": "gdmp/cifar10", "classifier": "robustbench:Rice2020Overfitting"}}
    board["defenses"] = {"voted": {"vote": {"defense": inner, "draws": 4}}}
    board["attacks"]["apgd-exact"]["gradient"] = "stand-in(defense='ebm-langevin/hill')"
    board["attacks"] = {name: board["attacks"][name] for name in ("clean", "apgd-exact")}
    needed = {Path(one.file.place).name: one.parts for one in needed_files(parse_board(board))}
    assert needed["ema_cifar10.ckpt"] == needed["Rice2020Overfitting.pt"] == ("voted",)
    assert needed["ebm.pth"] == ("apgd-exact",)


def test_boards_of_bundled_models_need_no_files(home: Path) -> None:
    assert needed_files(load_board(bundled()["fashion-quick"])) == []
