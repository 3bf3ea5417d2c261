"""Tests entries of RobustBench's leaderboard and model cards, with RobustBench's and huggingface_hub's own readers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from purebench.boards.board import AttackChoice
from purebench.core import third_party
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.integrations.model_card import model_card
from purebench.integrations.robustbench import model_info
from purebench.leaderboards.table_files import MARKDOWN
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult

from synthetic import judged, make_board, make_record, merge_all  # isort: skip

PUBLISHED = {
    "link": "https://arxiv.org/abs/1905.13736",
    "name": "Unlabeled Data Improves Adversarial Robustness",
    "authors": "Yair Carmon, Aditi Raghunathan, Ludwig Schmidt, Percy Liang, John C. Duchi",
    "additional_data": True,
    "number_forward_passes": 1,
    "dataset": "cifar10",
    "venue": "NeurIPS 2019",
    "architecture": "WideResNet-28-10",
    "eps": "8/255",
    "clean_acc": "89.69",
    "reported": "62.5",
    "autoattack_acc": "59.53",
}
"""RobustBench's file of Carmon2019Unlabeled (MIT)."""
HOSTILE = "x\x1b[31m|<script>alert(1)</script>`--- # '; rm -rf ~"


def result(square: str = "1", standard: str = "0111", *, random: bool = False, use: str = "standard") -> DefenseResult:
    """Returns a result on 4 images, of which the clean answer is wrong on one."""
    attacks = tuple(
        AttackChoice(name, Spec.parse(spec), "exact" if name != "clean" else "none", 1)
        for name, spec in {"clean": "clean", "aa": f"autoattack:{use}", "square": "square"}.items()
    )
    board = replace(make_board(defenses=("plain",), images=4, block=4), attacks=attacks)
    answers = {"clean": "0111", "aa": standard, "square": f"0{3 * square}"}
    draws = 4 if random else 1
    records = [
        make_record(board, "plain", name, 0, [one * draws for one in of], random=random) for name, of in answers.items()
    ]
    (found,) = merge_all(board, judged(board, records))
    return found


def test_the_fields_are_those_of_robustbench() -> None:
    entry = model_info.of_row(result(), {}, "unverified")
    assert list(entry) == [*PUBLISHED, "footnote"]
    assert {type(value) for value in entry.values()} <= {str, int, type(None)}
    assert (entry["eps"], entry["clean_acc"], entry["autoattack_acc"]) == ("16/255", "75.0", "75.0")
    assert entry["footnote"].startswith("Robust accuracy 75.0 % [")
    assert "interval, 4 images) under all attacks of the board" in entry["footnote"]
    assert "is not one of them" not in entry["footnote"]
    known = third_party.robustbench().utils.ModelInfo.__dataclass_fields__
    assert set(model_info.of_row(result(square="0"), {}, "unverified")) - {"external"} <= set(known)


def test_autoattack_alone_is_not_the_worst_case_of_the_board() -> None:
    entry = model_info.of_row(result(square="0"), {}, "unverified")
    assert (entry["autoattack_acc"], entry["external"]) == ("75.0", "0.0")
    assert "0.0 % [0.0, " in entry["footnote"]
    assert "4 images" in entry["footnote"]
    # a part of AutoAttack, or AutoAttack that was not asked on an image, is not AutoAttack standard
    for other in (result(use="fab"), result(use="standard(n_queries=5)")):
        entry = model_info.of_row(other, {}, "unverified")
        assert (entry["autoattack_acc"], entry["external"]) == (None, "75.0")
        assert "AutoAttack standard is not one of them" in entry["footnote"]


def test_random_rows_and_other_norms_are_refused_with_a_reason() -> None:
    with pytest.raises(
        PurebenchError, match="plain: expected a deterministic defense, but it is random; RobustBench's"
    ):
        model_info.of_row(result(random=True), {}, "unverified")
    found = result()
    with pytest.raises(PurebenchError, match="expected the norm linf or l2, which RobustBench has, but got l1"):
        model_info.of_row(
            replace(found, board={**found.board, "threat": {"norm": "l1", "radius": 12}}), {}, "unverified"
        )


def test_known_fields_are_kept_and_measured_ones_are_replaced() -> None:
    entry = model_info.of_row(result(), PUBLISHED, "unverified")
    assert {name: entry[name] for name in ("authors", "venue", "reported", "architecture")} == {
        name: PUBLISHED[name] for name in ("authors", "venue", "reported", "architecture")
    }
    assert entry["dataset"] == "fashion-mnist"
    assert model_info.missing(entry) == []
    assert model_info.missing(model_info.of_row(result(), {}, "unverified")) == [
        *("link", "name", "authors", "additional_data", "venue", "architecture", "reported")
    ]


def test_robustbench_builds_its_leaderboard_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RobustBench's own sorting by accuracy reads our file, and `external` goes before `autoattack_acc`."""
    fields = third_party.robustbench().utils.ACC_FIELDS[third_party.robustbench().model_zoo.enums.ThreatModel.Linf]
    for entry, shown in (
        (model_info.of_row(result(), {}, "unverified"), 75.0),
        (model_info.of_row(result(square="0"), {}, "unverified"), 0.0),
        (model_info.of_row(result(use="fab"), {}, "unverified"), 75.0),
    ):
        read = json.loads(model_info.as_text(entry))
        assert next(float(read[name]) for name in fields if name in read) == shown


@pytest.mark.parametrize(
    ("eps", "text"), [(8 / 255, "8/255"), (4 / 255, "4/255"), (0.5, "0.5"), (1.0, "1"), (0.03, "0.03")]
)
def test_radii_are_written_as_robustbench_writes_them(eps: float, text: str) -> None:
    assert model_info.radius_text(eps) == text


def test_the_path_says_the_data_set_and_the_threat(tmp_path: Path) -> None:
    good = tmp_path / "model_info" / "cifar10" / "Linf" / "Mine.json"
    assert model_info.is_model_info(good, "cifar10", "Linf")
    assert not model_info.is_model_info(tmp_path / "Mine.json", "cifar10", "Linf")
    for wrong in (good.with_suffix(".txt"), tmp_path / "model_info" / "cifar10" / "L2" / "Mine.json"):
        with pytest.raises(PurebenchError, match=r"expected model_info/cifar10/Linf/NAME\.json"):
            model_info.is_model_info(wrong, "cifar10", "Linf")
    found = result()
    entry = model_info.of_row(
        replace(found, board={**found.board, "dataset": {"use": "../../own.py:images"}}), {}, "unverified"
    )
    assert model_info.path_of(entry, "linf", "plain").as_posix() == "-..-own.py-images/Linf/plain.json"


def card(found: DefenseResult, command: str = "purebench run x") -> str:
    return model_card(rank([found])[0], command, "unverified", lambda text: text.translate(MARKDOWN))


def test_the_metadata_of_a_card_are_read_by_huggingface_hub() -> None:
    text = card(result(square="0"))
    data = ModelCard(text).data
    robust, clean = data.eval_results
    assert (robust.task_type, robust.dataset_type, robust.metric_type) == (
        *("image-classification", "fashion-mnist", "accuracy"),
    )
    assert (robust.metric_value, clean.metric_value) == (0.0, 0.75)
    assert "linf 16/255" in robust.metric_name
    assert data.model_name == "plain"
    assert "| robust accuracy | 0.0 % [0.0, 60.2] |" in text
    assert "```sh\npurebench run x\n```" in text
    assert "4 fresh draws at each adversarial example" in card(result(random=True))


def test_a_card_needs_a_robust_accuracy() -> None:
    row: Any = replace(rank([result()])[0], robust=None)
    with pytest.raises(PurebenchError, match="expected a robust accuracy"):
        model_card(row, "x", "unverified", str)


def test_hostile_names_are_inert_in_cards_and_entries() -> None:
    found = result()
    board = {
        **found.board,
        "name": HOSTILE,
        "dataset": {**found.board["dataset"], "use": re.sub(r"[() ]", "", HOSTILE)},
    }
    hostile = replace(found, name=HOSTILE, board=board, provenance={"versions": {"purebench": HOSTILE}})
    text = card(hostile, command=f"run '{HOSTILE}' ```")
    assert "\x1b" not in text
    _, rest = text.removeprefix("---\n").split("\n---\n", 1)
    assert ModelCard(text).data.model_name == HOSTILE.replace("\x1b", "\\x1b")
    table, command = rest.split("````sh\n")
    assert "<script>" not in table
    assert all(line.replace("\\|", "").count("|") == 3 for line in table.splitlines() if line.startswith("|"))
    assert command.count("\n") == 2  # the fence is longer than any in the command
    entry = model_info.as_text(model_info.of_row(hostile, {"authors": HOSTILE}, "unverified"))
    assert "\x1b" not in entry
    assert json.loads(entry)["authors"] == HOSTILE
