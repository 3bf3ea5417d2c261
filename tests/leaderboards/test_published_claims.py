"""Tests what others claim for rows: which row gets which claim, and that every place says the protocol is another."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from importlib.resources import files

import pytest
import yaml
from rich.console import Console

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.core.files.versioned_model import from_plain
from purebench.core.registry import Spec
from purebench.core.threat import parse_radius
from purebench.leaderboards.page import render
from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue
from purebench.leaderboards.table_files import CLAIMED, comma_separated, latex, markdown
from purebench.leaderboards.terminal import print_board
from purebench.results.figures.published_claims import PROTOCOL, Claims, _data, _same, claims, claims_of
from purebench.results.ranking.rank import rank

from published_rows import on_board, published_rows, published_source  # isort: skip

CARMON = "59.53 % (AutoAttack, 10,000 images; RobustBench, model_info)"


def test_a_claim_belongs_to_the_same_defense_data_norm_radius_and_classifier() -> None:
    _, results = published_rows()
    texts = {one.name: [claim.text for claim in claims_of(one)] for one in results}
    assert texts == {
        "carmon-2019": [CARMON],
        "none": ["0.0 % (AutoAttack, 10,000 images; RobustBench, model_info)"],
        "diffpure": [],
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"threat": {"norm": "linf", "radius": "4/255"}},
        {"threat": {"norm": "l2", "radius": "8/255"}},
        {"dataset": {"use": "fashion-mnist"}},
        {"dataset": {"use": {"image-folder": {"folder": "cifar10-c"}}}},
        {"dataset": {}},
        {"dataset": {"use": "cifar10(split=train)"}},
    ],
)
def test_no_claim_is_shown_for_another_threat_or_other_images(settings: dict[str, object]) -> None:
    _, results = published_rows()
    assert not any(claims_of(on_board(one, **settings)) for one in results)


def test_the_radius_may_be_written_as_a_number_and_the_undefended_row_needs_its_classifier() -> None:
    _, results = published_rows()
    carmon, none = results[0], results[1]
    assert claims_of(on_board(carmon, threat={"norm": "linf", "radius": 8 / 255}))
    assert claims_of(on_board(carmon, classifier="wrn-70-16-dropout"))
    assert not claims_of(on_board(none, classifier="wrn-70-16-dropout"))


def test_the_folder_of_the_images_of_cifar10_changes_no_claim() -> None:
    carmon = published_rows()[1][0]
    assert claims_of(on_board(carmon, dataset={"use": "cifar10(folder='/data', download=false)"}))


@pytest.mark.parametrize(
    ("classifier", "images", "claimed"),
    [
        ("torchvision:resnet50", "resize=256, center_crop=224", True),
        ("torchvision:resnet50(weights='/my/own.pth')", "resize=256, center_crop=224", False),
        ("torchvision:resnet50(version=IMAGENET1K_V2)", "resize=256, center_crop=224", False),
        ("torchvision:resnet50", "size=64", False),
        ("torchvision:resnet50", "resize=256, center_crop=192", False),
    ],
)
def test_no_claim_is_shown_for_weights_or_pictures_of_the_user(classifier: str, images: str, claimed: bool) -> None:
    none = published_rows()[1][1]
    settings = {"threat": {"norm": "linf", "radius": "4/255"}, "classifier": classifier}
    data = {"use": f"image-folder(folder='imagenet/val', {images})"}
    assert bool(claims_of(on_board(none, dataset=data, **settings))) is claimed


def test_no_claim_is_shown_for_a_zoo_in_a_folder_of_the_user() -> None:
    """Its files may be others."""
    carmon = published_rows()[1][0]
    own = Spec.parse("robustbench:Carmon2019Unlabeled(model_dir='/my/finetuned')").to_dict()
    assert not claims_of(replace(carmon, spec=own))


def test_every_claim_is_about_a_row_of_a_bundled_board() -> None:
    """A claim that matches no row would never be shown, for example because of a misspelled name."""
    boards = [load_board(bundled()[name]) for name in ("cifar10-linf", "cifar10-l2", "imagenet-linf")]
    for claim in claims().claims:
        found = [
            board.name
            for board in boards
            for row in board.defenses
            if board.threat.norm == claim.norm
            and _same(_data(claim.data), _data(board.to_dict()["dataset"]["use"]))
            and board.threat.radius == pytest.approx(parse_radius(claim.radius))
            and _same(Spec.parse(claim.defense), row.use)
            and (not claim.classifier or _same(Spec.parse(claim.classifier), board.classifier))
        ]
        assert len(found) == 1, claim


def test_rows_of_the_zoo_have_the_claims_of_their_own_radius() -> None:
    """RobustBench evaluated Zhang2019Theoretically at 0.031, so nothing is claimed for it at 8/255."""
    claimed = {(claim.norm, claim.radius, claim.defense) for claim in claims().claims}
    for name in ("cifar10-linf", "cifar10-l2", "imagenet-linf"):
        board = load_board(bundled()[name])
        norm, radius = board.threat.norm, str(board.to_dict()["threat"]["radius"])
        without = [
            row.name
            for row in board.defenses
            if row.use.name.startswith("robustbench:")
            and not any(claim[:2] == (norm, radius) and Spec.parse(claim[2]) == row.use for claim in claimed)
        ]
        assert without == (["zhang-2019"] if name == "cifar10-linf" else [])


def test_a_lower_accuracy_under_other_attacks_is_a_claim_of_its_own() -> None:
    found = {}
    for claim in claims().claims:
        found.setdefault((claim.norm, claim.defense), {})[claim.source] = claim
    both = [sources for sources in found.values() if len(sources) > 1]
    assert len(both) == 8
    for sources in both:
        usual, external = sources["robustbench"], sources["robustbench-external"]
        assert float(external.robust) < float(usual.robust)
        assert external.clean == usual.clean
    kang = found["linf", "robustbench:Kang2021Stable"]
    assert (kang["robustbench"].robust, kang["robustbench-external"].robust) == ("71.28", "64.20")


def content() -> dict[str, object]:
    return yaml.safe_load(files("purebench.defenses").joinpath("claims.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        ("source", "read", "remembered", "read"),
        ("source", "attack", "", "attack"),
        ("source", "url", "javascript:alert(1)", "url"),
        ("claim", "source", "hearsay", "expected one of the sources robustbench"),
        ("claim", "robust", "101", "robust"),
        ("claim", "images", 0, "images"),
    ],
)
def test_a_claim_needs_its_source_attack_and_number_of_images(part: str, key: str, value: object, told: str) -> None:
    plain = content()
    assert from_plain(Claims, plain) == claims()
    changed = plain["sources"]["robustbench"] if part == "source" else plain["claims"][0]  # type: ignore[index]
    changed[key] = value
    with pytest.raises(PurebenchError, match=told):
        from_plain(Claims, plain)


def test_the_terminal_lists_the_claims_below_the_table() -> None:
    board, results = published_rows()
    file = io.StringIO()
    print_board(board, results, Console(file=file, width=100))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert " ".join(PROTOCOL.split()) in " ".join(text.split())
    (line,) = (line for line in text.splitlines() if "59.53 %" in line)
    numbers = "59.53 % 89.69 % AutoAttack 10,000 RobustBench, model_info"
    assert " ".join(line.split()) == f"carmon-2019 {numbers}"
    file = io.StringIO()
    print_board(board, [one for one in results if one.name == "diffpure"], Console(file=file, width=100))
    assert "claimed" not in file.getvalue()


def test_the_page_shows_claims_in_a_column_and_with_a_link() -> None:
    board, results = published_rows()
    html = render(board, results, (), {})
    assert "Claimed, other protocol" in html
    assert "59.53 <small>AutoAttack, 10,000&nbsp;images</small>" in html
    assert html.count(f"{PROTOCOL}</span>") == 1
    assert "59.53&nbsp;% robust and 89.69&nbsp;% clean under AutoAttack (linf 8/255, 10,000 images)" in html
    assert 'href="https://github.com/RobustBench/robustbench/tree/78fcc9e/model_info"' in html
    assert "Claimed" not in render(board, [one for one in results if one.name == "diffpure"], (), {})


def test_exports_have_a_column_of_claims() -> None:
    _, results = published_rows()
    rows = rank(results)
    table = {line["defense"]: line for line in csv.DictReader(io.StringIO(comma_separated(rows)))}
    assert table["carmon-2019"]["claimed_by_another_protocol"] == CARMON
    assert table["diffpure"]["claimed_by_another_protocol"] == ""
    for text, mark in ((markdown(rows), "|"), (latex(rows, "x"), "&")):
        heading = next(line for line in text.splitlines() if "defense" in line)
        assert CLAIMED in heading
        counts = {line.count(mark) for line in text.splitlines() if "diffpure" in line or "carmon" in line}
        assert counts == {heading.count(mark)}
        assert "AutoAttack, 10,000 images" in text
    assert r"\begin{tabular}{rllrrlrll}" in latex(rows, "x")
    unclaimed = rank([one for one in results if one.name == "diffpure"])
    assert CLAIMED not in markdown(unclaimed)
    assert r"\begin{tabular}{rllrrlrl}" in latex(unclaimed, "x")


def test_the_data_of_the_site_contain_the_claims(tmp_path) -> None:
    build_site([published_source(tmp_path)], tmp_path / "site", Catalogue())
    data = json.loads((tmp_path / "site" / "data" / "published.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row["claimed"] for row in data["rows"]}
    assert data["claimed"] == PROTOCOL
    assert rows["diffpure"] is None
    (claim,) = rows["carmon-2019"]
    assert (claim["robust"], claim["attack"], claim["images"], claim["norm"]) == ("59.53", "AutoAttack", 10_000, "linf")
