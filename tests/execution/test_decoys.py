"""Tests with decoys: defenses with the predictions of the classifier and misleading gradients, of known accuracy."""

from __future__ import annotations

import pytest
import yaml

from purebench.boards.parse import load_board
from purebench.core.warning_codes import WarningCode
from purebench.execution.board_run import run_board
from purebench.results.merge import merge
from purebench.results.ranking.rank import Row, rank

BOARD = {
    "name": "decoys",
    "dataset": {"use": "fashion-mnist", "images": 20, "block": 20},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "16/255"},
    "verify": {"draws": 8},
    "attacks": {
        "clean": {"use": "clean"},
        "apgd-bpda": {"use": "apgd(steps=5)", "gradient": "bpda", "eot": 2},
        "margin": {"use": "apgd(steps=8, loss=cw, stop=false)", "gradient": "exact", "only": "source"},
        "transfer-none": {"use": "transfer", "source": {"defense": "none", "attack": "margin"}},
    },
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    folder = tmp_path_factory.mktemp("decoys")
    defenses = {
        "none": "none",
        "noise": "gaussian-noise(sigma=0.1)",
        "jpeg": "jpeg(quality=50)",
        "trades": "trades",
        "decoy": "masked(fault=decoy)",
        "noisy-decoy": "masked(fault=decoy-noise)",
    }
    (folder / "board.yaml").write_text(
        yaml.safe_dump({**BOARD, "defenses": defenses}, sort_keys=False), encoding="utf-8"
    )
    board = load_board(folder / "board.yaml")
    _, records = run_board(board, folder / "store", workers=1)
    return {row.name: row for row in rank(merge(board, records))}


def accuracy_under(row: Row, attack: str) -> float:
    (cell,) = (cell for cell in row.cells if cell.attack == attack)
    assert cell.estimate is not None
    return cell.estimate.value


@pytest.mark.parametrize(("name", "truth"), [("decoy", "none"), ("noisy-decoy", "noise")])
def test_robust_accuracy_of_a_decoy_is_near_its_true_value(rows: dict[str, Row], name: str, truth: str) -> None:
    assert accuracy_under(rows[name], "apgd-bpda") > accuracy_under(rows[truth], "apgd-bpda") + 0.2
    robust, true = rows[name].robust, rows[truth].robust
    assert robust is not None
    assert true is not None
    assert robust.value <= true.value + 0.15


@pytest.mark.parametrize("name", ["none", "noise", "jpeg", "trades"])
def test_defenses_without_gradient_masking_have_no_warning(rows: dict[str, Row], name: str) -> None:
    assert rows[name].warnings == ()


def test_a_random_decoy_has_a_gradient_free_stronger_warning(rows: dict[str, Row]) -> None:
    assert WarningCode.GRADIENT_FREE_STRONGER in [warning.code for warning in rows["noisy-decoy"].warnings]
