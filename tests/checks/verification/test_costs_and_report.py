"""Tests of the costs of a verification, and of its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_verification import verified

from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.checks.verification import queries
from purebench.checks.verification.report import as_plain, markdown, repeat
from purebench.checks.verification.verification import verify_bundle
from purebench.core.defense import Defense
from purebench.execution.board_run import run_board
from purebench.execution.jobs import verification as jobs_verification
from purebench.results.files.bundles.writing import make_bundle

# ---- costs and reports


def test_the_queries_are_forward_only_and_one_per_claimed_draw(noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(defense: Any, x: torch.Tensor, y: torch.Tensor, draws: int, batch: Any) -> torch.Tensor:
        asked.append(len(x) * draws)
        assert not torch.is_grad_enabled() or not x.requires_grad
        return jobs_verification.verify(defense, x, y, draws, batch)

    monkeypatch.setattr(queries, "verify", counted)
    verified(noisy, attacks=False)
    assert sum(asked) == 100 * (8 + 6)


def test_the_report_repeats_itself_and_its_text_is_inert(strong: Path) -> None:
    found = verified(strong, images=20)
    plain = as_plain(found)
    assert (plain["conclusion"], plain["exit_code"], plain["badge"]) == ("verified", 0, "verified")
    assert repeat(found, "row.zip", trust=True) == "purebench verify row.zip --seed 1 --images 20 --trust"
    text = markdown(found, "purebench verify 'a|b`<img src=x onerror=alert(1)>@team.zip'\n# heading")
    assert "\n# heading" not in text
    last = text.splitlines()[-1]
    assert last == "Repeat it: `purebench verify 'a¦b'<img src=x onerror=alert(1)>@team.zip'\\n# heading`"


@pytest.mark.parametrize("row", ["noise", "blur"])
def test_without_attacks_it_costs_at_most_a_twentieth_of_the_attacks_on_fashion_linf(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts passes on two images, to which both costs are proportional; a part of the attacks is dear enough."""
    names, kinds = ("clean", "apgd", "latent", "square"), ("none", "exact", "bpda", "blind", "surrogate")
    whole = load_board(find_board("fashion-linf"))
    board = replace(
        whole,
        attacks=tuple(one for one in whole.attacks if one.use.name in names and one.gradient in kinds),
        defenses=tuple(one for one in whole.defenses if one.name == row),
        dataset=replace(whole.dataset, images=2, block=2),
    )
    board = replace(board, attacks=tuple(attack for attack in board.attacks if attack.only != "source"))
    run_board(board, tmp_path / "store.sqlite", workers=1)
    (tmp_path / "row.zip").write_bytes(make_bundle(tmp_path / "store.sqlite", "fashion-linf", row))
    passed: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        passed.append(len(inputs[0]) if isinstance(module, Defense) else 0)

    def counted(*arguments: Any) -> torch.Tensor:
        with torch.nn.modules.module.register_module_forward_pre_hook(count):
            return jobs_verification.verify(*arguments)

    monkeypatch.setattr(queries, "verify", counted)
    result = verify_bundle(tmp_path / "row.zip", seed=1, attacks=False).bundle.result
    spent = sum(attack.weighted_passes for attack in result.attacks)
    assert 0 < sum(passed) <= 0.05 * spent, (sum(passed), spent)
