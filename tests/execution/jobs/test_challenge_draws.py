"""Tests the draws of a challenge: picks, tests and scores have draws of their own; shared choices pair by call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, prepare
from purebench.execution.jobs import challenge_draws
from purebench.execution.jobs.challenge_draws import TEST_SHARE, ChallengeDraws

from boards import write_board  # isort: skip

FRESH, IMAGES = 16, 8
MORE = '''
def shared(classifier):
    """All images of a call are classified, or none of them."""
    def answer(x):
        return classifier(x) * (1.0 if torch.rand(()) < 0.5 else -1.0)
    return Defense(answer, random=True)
'''


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("board")
    rows = {name: f"{folder}/defenses.py:{name}" for name in ("coin", "shared", "nan")} | {"none": "none"}
    path = write_board(folder, images=IMAGES, block=4, defenses=rows, verify={"draws": 4, "fresh": FRESH})
    file = folder / "defenses.py"
    file.write_text(file.read_text(encoding="utf-8") + MORE, encoding="utf-8")
    return prepare(load_board(path))


def draws(context: Context, row: str, seed: int = 1) -> ChallengeDraws:
    return ChallengeDraws(context, row, torch.as_tensor(context.images.labels), seed)


def clean(context: Context) -> torch.Tensor:
    return torch.as_tensor(context.images.floats())


def test_no_random_numbers_are_used_twice(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    own, seen = challenge_draws.verify, list[tuple[bytes, int, int]]()

    def watched(defense: Any, x: torch.Tensor, y: torch.Tensor, number: int, batch: Any) -> torch.Tensor:
        seen.append((torch.get_rng_state().numpy().tobytes(), len(x), number))
        return own(defense, x, y, number, batch)

    monkeypatch.setattr(challenge_draws, "verify", watched)
    noise = torch.rand(clean(context).shape, generator=torch.Generator().manual_seed(0))
    found = draws(context, "coin").compare(clean(context), noise)
    draws(context, "coin").score(noise)
    picked = int(found.picked.sum())
    assert picked > 0
    assert [(images, number) for _, images, number in seen] == [
        *[(IMAGES, FRESH)] * 2,
        *[(picked, TEST_SHARE * FRESH)] * 2,
        (IMAGES, FRESH),
    ]
    states = {state for state, _, _ in seen}
    draws(context, "coin", seed=2).score(noise)
    assert len(states) == 5
    assert seen[-1][0] not in states


def test_the_seed_decides_the_draws(context: Context) -> None:
    one, again, other = (draws(context, "coin", seed).score(clean(context)).tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_a_deterministic_defense_is_certain(context: Context) -> None:
    x = clean(context)
    same = draws(context, "none").compare(x, x)
    assert (same.p_value, int(same.picked.sum())) == (1.0, 0)
    one = x.clone()
    one[2] = 1 - one[2]
    found = draws(context, "none").compare(x, one)
    assert (found.better, found.worse, found.p_value, found.picked.tolist()) == (
        1,
        0,
        0.0,
        [n == 2 for n in range(IMAGES)],
    )


def test_pairs_of_a_defense_that_shares_its_choice_within_a_call_are_independent(context: Context) -> None:
    """Each image is a call of its own: the images of one pair do not all have the same answers."""
    for seed in range(6):
        found = draws(context, "shared", seed)
        compared = found.compare(clean(context), clean(context))
        assert compared.p_value > 1e-4
        answers = found.ask(clean(context), 64, "test")
        varied = answers[[len(set(row)) == 2 for row in answers.tolist()]]
        assert len(varied) == len({tuple(row) for row in varied.tolist()}) > 1


def test_a_defense_that_fails_is_an_error(context: Context) -> None:
    with pytest.raises(PurebenchError, match="nan: the defense fails on the examples"):
        draws(context, "nan").score(clean(context))
