"""Tests successive halving and the search on toys whose best configuration is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from purebench.attack_search.affordable import REDUCED, TimeLimits, affordable
from purebench.attack_search.bench import AttackBench
from purebench.attack_search.candidate import AttackCandidate, Step, joined
from purebench.attack_search.defense_profile import DefenseProfile
from purebench.attack_search.halving import Halving, OutOfTime, Score, candidate_rows, composition, halve, rungs
from purebench.attack_search.portfolio import portfolio
from purebench.attack_search.search import search
from purebench.attack_search.space import AXES, at
from purebench.core.errors import PurebenchError
from purebench.core.registry import create
from purebench.core.seeds import hash_of
from purebench.statistics.design.propose import find_proposer

KNOWN = DefenseProfile(
    random=False,
    purifies=False,
    differentiable=True,
    intermediate=False,
    inner=("classifier.model",),
    stand_ins=("stand-in(classifier='fashion-resnet')",),
    norm="linf",
)


def attempt(number: int) -> AttackCandidate:
    return AttackCandidate((Step("apgd", {"steps": number + 1}, "exact"),), f"number {number}")


class Toy:
    """Stands for a AttackBench: a candidate leaves a known share of the images; records what was measured."""

    def __init__(self, right, images: int = 48, most: int = 10**6):
        self.right, self.images, self.most = right, images, most
        self.calls: list[tuple[int, tuple[str, ...]]] = []
        self.known, self.workers, self.seconds, self.price, self.spent, self.passes = KNOWN, 1, 1e9, 1e-9, 0.0, 0
        self.tell, self.left, self.other_price = (lambda: None), 1e9, None

    def clean(self) -> Score:
        return Score(np.ones(self.images), 1.0, 1e-3)

    def measure(self, candidates, images):
        self.calls.append((images, tuple(one.name for one in candidates)))
        scores = {}
        for one in candidates:
            if self.most <= 0:
                raise OutOfTime(scores)
            self.most -= 1
            scores[one.name] = Score(self.right(one)[:images], one.passes(), 1e-3)
        return scores


def test_rungs_double_from_a_block_to_all_images() -> None:
    assert rungs(48, 12) == [12, 24, 48]
    assert rungs(40, 12) == [12, 24, 40]
    assert rungs(5, 12) == [5]


def test_the_best_third_of_each_rung_goes_on_and_the_planted_best_wins() -> None:
    rng = np.random.default_rng(0)
    levels = {attempt(n).name: 0.9 - 0.02 * n for n in range(18)} | {attempt(7).name: 0.1}
    outcomes = {name: (rng.random(48) < level).astype(float) for name, level in levels.items()}
    toy, halving = Toy(lambda one: outcomes[one.name]), Halving(rungs(48, 12))
    halve([attempt(n) for n in range(18)], halving, toy.measure)
    assert [(images, len(names)) for images, names in toy.calls] == [(12, 18), (24, 6), (48, 2)]
    assert halving.best == (attempt(7), 48)


def test_what_was_finished_when_the_time_was_over_is_kept() -> None:
    toy, halving = Toy(lambda one: np.full(48, 1 / one.passes()), most=4), Halving(rungs(48, 12))
    with pytest.raises(OutOfTime):
        halve([attempt(n) for n in range(9)], halving, toy.measure)
    assert [one.why for one in halving.ranked(12)] == ["number 3", "number 2", "number 1", "number 0"]


def test_a_composition_adds_the_candidates_that_break_other_images() -> None:
    parts = np.repeat(np.eye(4), 12, axis=1)  # candidate i leaves a quarter of the images, another one each
    halving = Halving([48])
    some = [attempt(n) for n in range(4)]
    halving.add(some, 48, {one.name: Score(parts[n], 1.0 + n, 1.0) for n, one in enumerate(some)})
    made = composition(halving)
    assert made is not None
    assert made.steps == (*some[0].steps, *some[1].steps)  # two candidates leave no image
    same = Halving([48])
    same.add(some, 48, {one.name: Score(parts[0], 1.0, 1.0) for one in some})
    assert composition(same) is None


def test_candidates_that_fail_are_listed_and_never_win() -> None:
    halving = Halving([12])
    halving.add([attempt(0), attempt(1)], 12, {attempt(0).name: Score(None, 0, 0, "no purifier")})
    halving.add([attempt(1)], 12, {attempt(1).name: Score(np.ones(12), 1, 1)})
    assert halving.best == (attempt(1), 12)
    assert [row["failed"] for row in candidate_rows(halving) if row["name"] == attempt(0).name] == ["no purifier"]


def planted(one: AttackCandidate) -> np.ndarray:
    """Returns the toy's images that a candidate leaves: few for a long PGD with momentum and the loss dlr."""
    left = 0.9
    for step in one.steps:
        params = step.params
        left -= 0.2 * (step.attack == "pgd") + 0.2 * (params.get("loss") == "dlr")
        left -= 0.2 * (params.get("momentum", 0) > 0.5) + 0.2 * (params.get("steps", 0) >= 40)
    return (np.arange(48) % 10 < 10 * max(left, 0)).astype(float)


@pytest.mark.parametrize(("how", "evaluations"), [("random", 90), ("gp", 30)])
def test_the_search_finds_the_planted_best_configuration(how: str, evaluations: int) -> None:
    pytest.importorskip("optuna")
    toy = Toy(planted)
    found = search(toy, seed=0, how=how, evaluations=evaluations)
    assert found.winner is not None
    (candidate, images), usual = found.winner, planted(portfolio(KNOWN)[0]).mean()
    assert images == 48
    assert planted(candidate).mean() <= 0.2 < usual
    assert found.ended in ("broken", "evaluations")


def test_the_same_seed_gives_the_same_candidates_and_another_seed_others() -> None:
    def names(seed: int) -> list[str]:
        toy = Toy(planted)
        search(toy, seed=seed, how="random", evaluations=60)
        return [name for _, some in toy.calls for name in some]

    assert names(0) == names(0) != names(1)


def test_a_defense_that_does_not_answer_is_an_error_with_its_reason() -> None:
    toy = Toy(planted)
    toy.clean = lambda: Score(None, 0.0, 0.0, "other answers with gradients on")  # type: ignore[method-assign]
    with pytest.raises(PurebenchError, match="answers the dev images, but: other answers with gradients on"):
        search(toy, seed=0, how="random")


def test_a_search_without_a_finished_candidate_is_an_error() -> None:
    with pytest.raises(PurebenchError, match="at least one finished candidate"):
        search(Toy(planted, most=0), seed=0, how="random")


def test_a_search_whose_time_ends_before_the_clean_score_is_an_error() -> None:
    toy = Toy(planted)

    def late() -> Score:
        raise OutOfTime({})

    toy.clean = late  # type: ignore[method-assign]
    with pytest.raises(PurebenchError, match="at least one finished candidate"):
        search(toy, seed=0, how="random")


def test_a_search_that_is_interrupted_before_the_clean_score_has_no_result() -> None:
    toy = Toy(planted)

    def interrupted() -> Score:
        raise KeyboardInterrupt

    toy.clean = interrupted  # type: ignore[method-assign]
    found = search(toy, seed=0, how="random")
    assert (found.ended, found.clean, found.winner) == ("interrupted", None, None)


def test_compositions_count_as_candidates() -> None:
    """Each candidate breaks an image of its own, so that a composition is stronger than its parts."""

    def right(one: AttackCandidate) -> np.ndarray:
        left = np.ones(48)
        for step in one.steps:
            left[hash_of(step.plain()).encode()[0] % 48] = 0
        return left

    for evaluations in (5, 12, 13):
        found = search(Toy(right), seed=0, how="random", evaluations=evaluations)
        assert len(found.halving.candidates) == evaluations
        assert found.ended == "evaluations"


def test_a_search_whose_first_candidates_leave_no_image_ends_before_the_others() -> None:
    toy = Toy(lambda one: np.zeros(48))
    found = search(toy, seed=0, how="random")
    assert found.ended == "broken"
    assert len(found.halving.candidates) <= 6 < len(portfolio(KNOWN))


def test_candidates_that_would_take_too_much_of_the_time_are_left_out() -> None:
    toy = Toy(planted)
    toy.seconds, toy.price, toy.left = 100.0, 0.01, 20.0  # 15 s are 1,500 passes: 125 for each of 12 images
    found = search(toy, seed=0, how="random", evaluations=30)
    measured = [found.halving.candidates[name] for _, some in toy.calls for name in some]
    composed = "composition of the best candidates"
    assert all(one.passes() <= 125 for one in measured if one.why != composed and not one.why.endswith(REDUCED))
    assert all(one.passes() * 12 * 0.01 <= toy.left for one in measured if one.why != composed)
    assert found.expensive
    assert all(one.candidate.passes() > 125 and one.seconds > 15 for one in found.expensive)


def test_the_time_alone_leaves_no_view_of_the_portfolio_untried() -> None:
    toy = Toy(lambda one: np.ones(48))
    toy.known = replace(KNOWN, random=True, purifies=True, intermediate=True)
    toy.seconds, toy.price, toy.left = 100.0, 0.04, 60.0  # 15 s are 31 passes for each of 12 images
    every = portfolio(toy.known)
    assert sum(one.passes() > 31 for one in every) > len(every) / 2
    found = search(toy, seed=0, how="random", evaluations=len(every))
    measured = [found.halving.candidates[name] for name in toy.calls[1][1]]
    tried = {view for one in found.halving.candidates.values() for view in one.views}
    assert tried >= {"exact", "bpda", "blind", "surrogate", "noised", "intermediate"}
    assert any(view.startswith("inner") for view in tried)
    short = [one for one in found.halving.candidates.values() if one.why.endswith(REDUCED)]
    assert short
    assert all(one.passes() * 12 * 0.04 <= toy.left for one in short)
    assert measured[0].passes() > 31  # the first one always runs in full
    names = {one.name for one in every}
    done = {one.candidate.name for one in found.expensive} | found.reduced | found.halving.candidates.keys()
    assert names <= done | {one.name for one in found.unreached}


def test_a_view_is_left_out_if_even_the_least_effort_would_take_more_than_the_time_that_is_left() -> None:
    time = TimeLimits(per_pass=10.0, seconds=100.0, left=100.0)
    bpda = AttackCandidate((Step("apgd", {"steps": 20}, "bpda", 8),), "")
    kept, out = affordable([bpda], [attempt(1)], time)
    assert not kept
    assert (out[0].seconds, out[0].limit) == (150.0, 100.0)  # 5 steps of 1 draw are 15 passes
    assert "about 150 s on the first dev images, more than the 100 s" in out[0].reason
    (short,), _ = affordable([bpda], [attempt(1)], replace(time, left=151.0))
    assert short.steps[0] == Step("apgd", {"steps": 5}, "bpda", 1)


def test_a_proposal_and_a_view_that_was_tried_are_not_reduced() -> None:
    time = TimeLimits(per_pass=1.0, seconds=100.0, left=100.0)
    (dear,) = (AttackCandidate((Step("apgd", {"steps": 20}, "exact"),), ""),)
    proposed = AttackCandidate((Step("apgd", {"steps": 20}, "bpda"),), "", (0.5,))
    kept, out = affordable([dear, proposed], [attempt(1)], time)
    assert not kept
    assert [one.candidate for one in out] == [dear, proposed]
    assert {one.limit for one in out} == {15.0}


def test_all_candidates_of_the_portfolio_and_the_space_are_valid_attacks_and_views() -> None:
    propose = find_proposer("random")
    random = DefenseProfile(True, True, True, True, (), KNOWN.stand_ins, "l2")
    for known in (KNOWN, random):
        candidates = portfolio(known)
        tried: list[object] = []
        for _ in range(60):
            tried.append(None)
            candidates.append(at(propose(tried, AXES, 1), known, candidates[0] if len(tried) % 2 else None))
        for one in candidates:
            choice = one.choice("x", 4)
            create("attacks", choice.use)
            assert one.passes() > 0
    assert len({one.name for one in portfolio(KNOWN)}) == len(portfolio(KNOWN))


def test_a_sequence_does_not_repeat_a_step() -> None:
    both = joined([attempt(0), joined([attempt(0), attempt(1)], "")], "")
    assert both.steps == (*attempt(0).steps, *attempt(1).steps)


def test_passes_of_other_models_have_a_price_of_their_own() -> None:
    blind = AttackCandidate((Step("apgd", {"steps": 20}, "blind"),), "")
    mixed = AttackCandidate((*blind.steps, Step("apgd", {"steps": 20}, "exact")), "")
    assert [one.whole for one in (blind, mixed, attempt(1))] == [False, False, True]
    time = TimeLimits(per_pass=1.0, seconds=100.0, left=100.0, per_substitute=0.1)
    assert time.of(blind) == pytest.approx(0.1 * blind.passes())
    assert time.of(mixed) == pytest.approx(0.1 * blind.passes() + attempt(19).passes())
    assert time.of(attempt(1)) == attempt(1).passes()
    assert replace(time, per_substitute=None).of(blind) == blind.passes()


def test_a_pass_of_another_model_does_not_lower_the_price_of_a_pass_of_the_defense() -> None:
    bench = AttackBench(None, KNOWN, Path("none"), 1, 100.0, 12)  # type: ignore[arg-type]
    for key, seconds, whole in (("a", 10.0, True), ("b", 1.0, False), ("c", 2.0, False), ("d", 8.0, True)):
        bench._count(SimpleNamespace(key=key, forwards=4, backwards=3, seconds={"attack": seconds}), whole)  # type: ignore[arg-type]
    assert (bench.price, bench.other_price) == (0.8, 0.2)
    assert (bench.spent, bench.passes) == (21.0, 40)
