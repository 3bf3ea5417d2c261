"""Tests that bundles of other images, settings or code are refused, and that foreign code needs consent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forged_bundles import toy_bundle
from toy_verification import STRONG, changed, verified

from purebench.checks.verification import queries
from purebench.core.errors import PurebenchError
from purebench.statistics.reproduction import Conclusion

# ---- invalid bundles


def move(row: int, by: float) -> Callable[[dict[str, Any]], None]:
    def edit(parts: dict[str, Any]) -> None:
        image = parts["examples"][row]
        parts["examples"][row] = np.clip(image + np.float32(by) * np.sign(0.5 - image), 0, 1)

    return edit


def test_examples_outside_the_threat_model_and_wrong_distances_are_refused(strong: Path) -> None:
    with pytest.raises(PurebenchError, match=r"expected adversarial examples within the radius 0\.05"):
        verified(changed(strong, move(3, 0.3)))

    def nearer(parts: dict[str, Any]) -> None:
        parts["result"]["worst_case"]["distances"][3] = 0.001

    with pytest.raises(PurebenchError, match=r"at the distance 0\.001 that the result claims"):
        verified(changed(strong, nearer))


def test_other_images_are_refused(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["result"]["provenance"]["data"] = "0" * 64

    with pytest.raises(PurebenchError, match="expected the images that the bundle was made with"):
        verified(changed(strong, other))

    def relabelled(parts: dict[str, Any]) -> None:
        parts["result"]["labels"][79] = 1 - parts["result"]["labels"][79]

    with pytest.raises(PurebenchError, match="expected the images that the bundle was made with"):
        verified(changed(strong, relabelled))


def test_a_defense_that_is_random_is_not_taken_for_a_deterministic_one(noisy: Path) -> None:
    def swap(parts: dict[str, Any]) -> None:
        parts["result"]["spec"] = {"name": "none", "params": {}}
        parts["board"]["defenses"] = {"noise": "none"}

    with pytest.raises(PurebenchError, match="expected a defense that is random"):
        verified(changed(noisy, swap))


def test_a_defense_that_fails_is_an_error_and_no_verdict(strong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> torch.Tensor:
        raise RuntimeError("no answer today")

    monkeypatch.setattr(queries, "verify", fails)
    with pytest.raises(PurebenchError, match=r"the rebuilt defense .* fails: RuntimeError: no answer today"):
        verified(strong)


# ---- settings


def test_the_settings_must_be_those_of_the_board(strong: Path, weak: Path, tmp_path: Path) -> None:
    assert verified(strong, attacks=False, board=str(strong.parent / "board.yaml")).conclusion is Conclusion.VERIFIED
    with pytest.raises(PurebenchError, match=r"expected the settings of .*, but these differ: .*attacks\.pgd"):
        verified(weak, attacks=False, board=str(strong.parent / "board.yaml"))


def test_a_bundle_that_names_a_bundled_board_needs_its_settings(strong: Path) -> None:
    def renamed(parts: dict[str, Any]) -> None:
        for board in (parts["result"]["board"], parts["board"]):
            board["name"] = "fashion-quick"
        parts["manifest"]["board"] = "fashion-quick"

    found = verified(changed(strong, renamed))
    assert found.conclusion is Conclusion.UNDECIDED
    assert any("the settings differ from those of the bundled board fashion-quick" in one for one in found.remarks)


# ---- consent


def test_files_are_run_only_with_consent_and_only_if_they_are_those_of_the_bundle(tmp_path: Path) -> None:
    path = toy_bundle(tmp_path / "author")
    (tmp_path / "author" / "toy.py").rename(tmp_path / "toy.py")
    with pytest.raises(PurebenchError, match="but it is missing; get it from the authors"):
        verified(path)
    with pytest.raises(
        PurebenchError, match=r"runs Python code: .*toy\.py; read this code, then add --trust to run it\."
    ):
        verified(path, code=tmp_path, trust=False)
    assert verified(path, code=tmp_path, attacks=False).conclusion is Conclusion.VERIFIED
    ran = tmp_path / "ran"
    text = (tmp_path / "toy.py").read_text(encoding="utf-8")
    (tmp_path / "toy.py").write_text(f"open({str(ran)!r}, 'w')\n{text}", encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"but .*toy\.py differs"):
        verified(path, code=tmp_path)
    assert not ran.exists()


def test_the_code_imports_what_the_bundle_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    author = tmp_path / "author"
    author.mkdir()
    (author / "helper_of_row.py").write_text("STRENGTH = 1\n", encoding="utf-8")
    text = "from helper_of_row import STRENGTH\nfrom purebench.core.defense import Defense\n"
    text += "def mine(classifier):\n    return Defense(lambda x: classifier(x * STRENGTH))\n"
    (author / "row.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(author))
    path = toy_bundle(author, "mine", defenses={"mine": f"{author / 'row.py'}:mine"})
    assert verified(path, attacks=False).conclusion is Conclusion.VERIFIED
    (author / "helper_of_row.py").write_text("STRENGTH = 0\n", encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"row\.py: expected the local modules .* helper_of_row; get them"):
        verified(path, attacks=False)


# ---- rows of a board that attacks depend on


def transferred(tmp_path: Path) -> Path:
    """A bundle of a row under a transfer attack from another row."""
    listed = {
        "clean": {"use": "clean"},
        "pgd": {**STRONG, "only": "source"},
        "transfer": {"use": "transfer", "source": {"defense": "linear", "attack": "pgd"}},
    }
    return toy_bundle(tmp_path / "author", "shattered", attacks=listed)


def test_the_board_decides_the_rows_that_attacks_reuse(tmp_path: Path) -> None:
    path = transferred(tmp_path)
    board = str(path.parent / "board.yaml")
    assert verified(path, attacks=False, board=board).conclusion is Conclusion.VERIFIED

    def swapped(parts: dict[str, Any]) -> None:
        parts["board"]["defenses"]["linear"] = parts["board"]["defenses"]["shattered"]

    with pytest.raises(PurebenchError, match=r"but these differ: defenses\.linear; run that board"):
        verified(changed(path, swapped), attacks=False, board=board)


def test_a_row_of_the_board_is_the_defense_that_the_board_names(tmp_path: Path) -> None:
    path = transferred(tmp_path)
    board = path.parent / "board.yaml"
    text = board.read_text(encoding="utf-8")
    board.write_text(text.replace("toy.py:shattered", "none"), encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"but these differ: defenses\.shattered"):
        verified(path, attacks=False, board=str(board))


def test_files_of_the_board_are_compared_by_their_contents(strong: Path, tmp_path: Path) -> None:
    for name in ("board.yaml", "toy.py"):
        (tmp_path / name).write_bytes((strong.parent / name).read_bytes())
    board = str(tmp_path / "board.yaml")
    assert verified(strong, attacks=False, board=board).conclusion is Conclusion.VERIFIED
    (tmp_path / "toy.py").write_text((tmp_path / "toy.py").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(PurebenchError, match="but these differ: classifier, dataset"):
        verified(strong, attacks=False, board=board)
