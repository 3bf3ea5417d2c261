"""Tests the boards of CIFAR-10 and ImageNet: their rows, and what is said where files of others are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.cli.main import main
from purebench.core.errors import Missing, MissingFiles
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.data import datasets
from purebench.data.image_set import ImageSet
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.integrations.robustbench.zoo import models as models_of_the_zoo

BOARDS = {"cifar10-linf": ("linf", 8 / 255), "cifar10-l2": ("l2", 0.5), "imagenet-linf": ("linf", 4 / 255)}
ZOO = "robustbench"
VOTES = {
    "cifar10-linf": {
        "gdmp/cifar10": (10, "majority"),
        "gradual-noise/cifar10": (10, "majority"),
        "freqpure/cifar10": (10, "majority"),
        "ebm-langevin/hill": (150, "logits"),
    },
    "cifar10-l2": {"gradual-noise/cifar10": (10, "majority")},
    "imagenet-linf": {"gdmp/imagenet": (5, "majority"), "gradual-noise/imagenet": (10, "majority")},
}
"""Released purifiers that answer by a vote: its draws and how they are combined."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models."""
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PUREBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "models"


def small() -> nn.Module:
    with seeded("small"):
        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10)).eval()


def score_sde(models: Path) -> None:
    """Write a small network under the name of score_sde's checkpoint."""
    with seeded("score"):
        model = DDPMpp(width=8, multiples=(1, 1), blocks=1, attended=(False, False))
    (models / "score_sde").mkdir(parents=True)
    torch.save({"model": model.state_dict()}, models / "score_sde" / "checkpoint_8.pth")


@pytest.mark.parametrize("name", BOARDS)
def test_threat_model_is_that_of_the_literature(name: str) -> None:
    board = load_board(bundled()[name])
    norm, radius = BOARDS[name]
    assert board.threat.norm == norm
    assert float(board.threat.radius) == pytest.approx(radius)


@pytest.mark.parametrize("name", BOARDS)
def test_every_row_but_none_names_its_missing_file(name: str, models: Path) -> None:
    board = load_board(bundled()[name])
    for choice in board.defenses:
        if choice.name == "none":
            continue
        with pytest.raises(MissingFiles) as found:
            create("defenses", choice.use, classifier=small())
        for file in found.value.files:
            assert file.place.startswith(str(models)), choice.name
            assert file.published.startswith("https://"), choice.name


def parts_of(spec: Spec) -> tuple[Spec, Spec | None]:
    """Return the purifier of a row, and the classifier that the row names."""
    if spec.name != "before":
        return spec, None
    return Spec.parse(spec.params["purifier"]), Spec.parse(spec.params["classifier"])


@pytest.mark.parametrize("name", BOARDS)
def test_purifiers_that_were_released_with_a_vote_have_a_row_with_it_and_one_without(name: str) -> None:
    purifiers = {row.name: parts_of(row.use)[0] for row in load_board(bundled()[name]).defenses}
    voting = {row: spec for row, spec in purifiers.items() if spec.name == "vote"}
    assert {row for row in purifiers if "-vote-" in row} == set(voting)
    found = {
        spec.params["defense"]: (spec.params["draws"], spec.params.get("how", "majority")) for spec in voting.values()
    }
    assert found == VOTES[name]
    for row, spec in voting.items():
        single, draws = row.split("-vote-")
        assert purifiers[single] == Spec.parse(spec.params["defense"]), "the same row without a vote"
        assert int(draws) == spec.params["draws"]


@pytest.mark.parametrize("name", BOARDS)
def test_rows_of_the_zoo_are_in_it_for_the_threat_and_the_preprocessing_of_the_board(name: str) -> None:
    board = load_board(bundled()[name])
    dataset, threat_model = name.split("-")[0], board.threat.norm.capitalize()
    rows = [parts_of(row.use) for row in board.defenses]
    used = [spec for row in rows for spec in row if spec is not None and spec.name.startswith(f"{ZOO}:")]
    assert len(used) > 4
    for spec in used:
        settings = {"dataset": "cifar10", "threat_model": "Linf", **spec.params}
        assert settings == {"dataset": dataset, "threat_model": threat_model}, spec
        entry = models_of_the_zoo(dataset, threat_model)[spec.name.partition(":")[2]]
        assert entry.get("preprocessing") == ("Res256Crop224" if dataset == "imagenet" else None), spec


@pytest.mark.parametrize("name", BOARDS)
def test_a_purifier_is_combined_with_an_adversarially_trained_model_that_has_its_own_row(name: str) -> None:
    specs = [row.use for row in load_board(bundled()[name]).defenses]
    behind = [classifier for _, classifier in map(parts_of, specs) if classifier and ZOO in classifier.name]
    assert len(behind) >= 2
    assert all(classifier in specs for classifier in behind)


def test_published_classifiers_other_than_that_of_the_board_have_rows() -> None:
    rows = {row.name: parts_of(row.use) for row in load_board(bundled()["cifar10-linf"]).defenses}
    assert rows["freqpure-dm-wrn-70-16"] == (Spec("freqpure/cifar10"), Spec("dm-wrn-70-16"))
    for purifier in ("likelihood-maximisation/iclr", "diffpure/cifar10"):
        assert (Spec(purifier), Spec("wrn-70-16-dropout")) in rows.values()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar10-linf", ("with dropout", "seed 1", "with Swish", "origin.t7", "clf.pth", "150 chains", "10 paths")),
        ("cifar10-linf", ("kang-2021 as unreliable",)),
        ("cifar10-l2", ("with dropout", "seed 1", "majority of 10 runs")),
        ("imagenet-linf", ("IMAGENET1K_V1", "majority of 10 runs", "5 paths", "float32")),
    ],
)
def test_about_says_what_differs_from_the_releases(name: str, words: tuple[str, ...]) -> None:
    about = load_board(bundled()[name]).about
    for word in (*words, "Image subsets differ", "A vote is another defense than a single run"):
        assert word in about


def test_rows_run_as_soon_as_their_files_are_there(models: Path) -> None:
    score_sde(models)
    board = load_board(bundled()["cifar10-linf"])
    built = []
    for choice in board.defenses:
        try:
            create("defenses", choice.use, classifier=small())
            built.append(choice.name)
        except MissingFiles:
            continue
    assert built == ["none", "ddpm-surrogate", "diffpure", "freqpure", "gradual-noise", "gradual-noise-vote-10"]


def test_command_lists_all_missing_files_with_exit_code_2(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    made = ImageSet("cifar10", images, np.arange(64) % 10, tuple("abcdefghij"), "random numbers")
    monkeypatch.setattr(datasets, "cifar10", lambda **_: made)
    monkeypatch.setattr(sys, "argv", ["purebench", "run", "cifar10-linf"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err
    for words in (
        "files are missing on this machine",
        "robustbench/cifar10/Linf/Standard.pt",
        "score_sde/checkpoint_8.pth",
        "1,707,310,559 bytes; md5 db26ca82b7ea36b75199abf6ed94339d (of a third party's copy); licence Apache 2.0",
        "published at https://nvlabs-fi-cdn.nvidia.com/edm/",
        "size not known; hash not known; licence CC BY-NC-SA 4.0",
    ):
        assert words in told
    assert told.count("score_sde/checkpoint_8.pth\n    1,707") == 1, "each file is listed once"


def test_one_missing_file_is_told_in_one_line_with_what_is_known() -> None:
    file = Missing("a.pt", "https://example.org", 1234, "sha256 ab", "MIT")
    assert str(file) == "a.pt (published at https://example.org; 1,234 bytes; sha256 ab; licence MIT)"
    assert str(Missing("a.pt", "https://example.org")) == "a.pt (published at https://example.org)"
