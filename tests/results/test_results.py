"""Tests results merged from records: boards computed by hand, unfinished boards, and contradictory records."""

import json
import random
import subprocess
import sys
from dataclasses import replace

import pytest

from purebench.core.errors import PurebenchError

from synthetic import merge  # isort: skip
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult
from purebench.statistics import clopper_pearson

E, S = Outcome.ERRORED, Outcome.SKIPPED


def test_accuracies_of_a_deterministic_defense_are_counts_of_images(build):
    _, _, (found,) = build.results({"plain": {"clean": list("1110"), "apgd": list("0111"), "square": list("1100")}})
    assert not found.random
    assert found.clean == clopper_pearson(3, 4)
    assert [found.accuracy(attack) for attack in found.attacks[1:]] == [
        clopper_pearson(3, 4),
        clopper_pearson(2, 4),
    ]
    assert found.robust == clopper_pearson(1, 4)  # only the second image is right under all three attacks


def test_robust_accuracy_is_the_mean_of_the_fresh_draws_at_the_picks(build):
    board, records, _ = build.results({"noisy": {"clean": ["1111", "1111"], "apgd": ["0011", "0000"]}})
    scored = {"draws": ["0111", "0001"], "outcomes": [Outcome.ROBUST, Outcome.MISCLASSIFIED]}
    fresh = [replace(one, **scored) if one.attack == WORST_CASE else one for one in records]
    (found,) = merge(board, fresh)
    assert found.random
    assert found.scores().tolist() == [0.75, 0.25]
    assert found.robust.value == pytest.approx(0.5)
    assert found.worst_case.picked == ("apgd", "apgd")
    assert found.accuracy(found.attacks[1]).value == pytest.approx(0.25)
    assert found.bracket.low <= 0.25  # at most the lowest fraction of right draws
    assert found.bracket.high >= 0.5


@pytest.mark.parametrize("right", ["1", "1111"])
def test_an_errored_image_gives_bounds_instead_of_a_robust_accuracy(build, right):
    _, _, (found,) = build.results({"one": {"clean": [right] * 4, "apgd": [right, E, right, right]}})
    assert found.clean.value == 1.0
    assert found.robust is None
    assert [bound.value for bound in found.bounds] == [0.75, 1.0]
    assert found.scores().tolist() == [1, 0, 1, 1]
    assert found.errored == 1
    assert found.attacks[1].count(E) == 1
    assert not found.failed


@pytest.mark.parametrize("wrong", ["0", "0000"])
def test_an_error_is_ignored_if_another_attack_broke_the_image_on_every_draw(build, wrong):
    right = "1" * len(wrong)
    answers = {"clean": [right] * 3, "apgd": [wrong, right, right], "square": [E, right, right]}
    _, _, (found,) = build.results({"one": answers}, block=3)
    assert found.errored == 0
    assert found.robust.value == pytest.approx(2 / 3)
    assert found.bounds is None


def test_a_defense_that_errored_on_every_image_has_the_bounds_0_and_1(build):
    _, _, (found,) = build.results({"gone": {"clean": [E] * 4, "apgd": [E] * 4, "square": [S] * 4}})
    assert found.failed
    assert found.robust is None
    assert [bound.value for bound in found.bounds] == [0.0, 1.0]
    assert found.errored == 4


@pytest.mark.parametrize("right", ["1", "1101"])
def test_a_skipped_attack_does_not_change_the_worst_case(build, right):
    answers = {"clean": [right] * 4, "apgd": ["0" * len(right), right, right, right]}
    _, _, (without,) = build.results({"one": answers})
    _, _, (beside,) = build.results({"one": {**answers, "autoattack": [S] * 4}})
    assert beside.robust == without.robust
    assert beside.attacks[2].skipped
    assert beside.accuracy(beside.attacks[2]) is None


def test_a_board_without_clean_has_no_clean_accuracy(build):
    _, _, (found,) = build.results({"plain": {"apgd": list("10")}})
    assert found.clean is None
    assert found.robust.value == 0.5
    _, _, (nothing,) = build.results({"plain": {"apgd": [S, S]}})
    assert nothing.robust is None


def test_blocks_are_merged_in_order_for_any_order_of_the_records(demo):
    shuffled = list(demo.records)
    random.Random(0).shuffle(shuffled)
    assert merge(demo.board, shuffled) == demo.results
    assert [found.name for found in demo.results] == [
        row.name for row in demo.board.defenses if row.name != "styletransformer"
    ]
    assert demo.results[0].images == tuple(range(100, 356))


def test_only_blocks_with_records_of_all_attacks_count(build):
    board, records, (whole,) = build.results({"plain": {"clean": list("1100"), "apgd": list("1000")}})
    assert whole.complete
    (part,) = merge(board, [record for record in records if (record.attack, record.block) != ("apgd", 0)])
    assert not part.complete
    assert part.images == (102, 103)
    assert part.robust == clopper_pearson(0, 2)
    assert merge(board, [record for record in records if record.attack == "clean"]) == []
    assert merge(board, []) == []


def test_records_of_other_boards_defenses_and_attacks_are_ignored(build):
    board, records, found = build.results({"plain": {"clean": list("11"), "apgd": list("10")}})
    others = [
        replace(records[0], board="other"),
        replace(records[0], defense="other"),
        replace(records[0], attack="other"),
    ]
    assert merge(board, [*others, *records]) == found


def test_counts_costs_notes_and_distances_are_merged(build):
    board = build.board(images=4, block=2, defenses=("plain",))
    records = [
        build.record(board, "plain", attack, block, ["1", "1"], notes=[f"note {block // 2}"])
        for block in range(2)
        for attack in ("clean", "apgd")
    ]
    records[1] = replace(records[1], distances=[0.01, float("nan")])
    (found,) = merge(board, records)
    apgd = found.attacks[1]
    assert (apgd.forwards, apgd.backwards) == (40, 20)
    assert apgd.seconds == {"attack": 25.0, "verify": 4.0}
    assert apgd.notes == ("note 0",)
    assert apgd.distances == (0.01, None, board.threat.radius, board.threat.radius)
    assert apgd.median_distance == board.threat.radius
    assert apgd.eot == 1  # no averaging for a deterministic defense
    assert (found.parameters, found.weights) == (1234567, "ab" * 32)


def test_results_of_two_machines_list_both_devices(build):
    board, records, _ = build.results({"plain": {"clean": list("11"), "apgd": list("10")}})
    records[1] = replace(records[1], provenance=records[1].provenance | {"device": "NVIDIA H200"})
    assert merge(board, records)[0].provenance["device"] == merge(board, records[::-1])[0].provenance["device"]
    assert merge(board, records)[0].provenance["device"] == "NVIDIA H200, cpu"


def test_reasons_of_errors_and_of_skips_are_kept_apart(build):
    board = build.board(("transfer",), images=8, block=2, defenses=("plain",))
    told = ["", "OutOfMemoryError", "nothing to reuse", "OutOfMemoryError"]
    answers = [["1", "1"], [E, E], [S, S], [E, E]]
    records = [
        build.record(board, "plain", "transfer", block, answers[block], reason=told[block]) for block in range(4)
    ]
    (attack,) = merge(board, records)[0].attacks
    assert (attack.reasons, attack.skips) == (("OutOfMemoryError",), ("nothing to reuse",))


def test_nearest_distances_and_claims_are_merged(build):
    board = build.board(("fmn", "autoattack", "apgd"), images=6, block=2, defenses=("plain",))
    found = {
        ("fmn", 0): {"nearest": [0.1, None], "claims": [1, 0]},
        ("fmn", 2): {"nearest": [float("inf"), 0.3], "claims": [1, None]},
        ("autoattack", 1): {"claims": [0, 0]},
    }
    records = [
        build.record(
            board, "plain", attack, block, [E, E] if block == 1 else ["1", "0"], **found.get((attack, block), {})
        )
        for attack in ("fmn", "autoattack", "apgd")
        for block in range(3)
    ]
    fmn, autoattack, apgd = merge(board, records)[0].attacks
    # None for blocks without them and for infinite distances; empty if no block has any
    assert (fmn.nearest, fmn.claims) == ((0.1, None, None, None, None, 0.3), (1, 0, None, None, 1, None))
    assert (autoattack.nearest, autoattack.claims) == ((), (None, None, 0, 0, None, None))
    assert (apgd.nearest, apgd.claims) == ((), ())


def test_the_source_of_reused_images_is_kept(nearby):
    sources = {attack.name: attack.source for attack in nearby.results[0].attacks}
    assert sources.pop("transfer") == {"defense": "vae", "attack": "apgd-exact"}
    assert set(sources.values()) == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nearest": [0.1]}, "same images"),
        ({"claims": [1, 0, 1]}, "same images"),
        ({"images": [1, 2]}, "same images"),
        ({"labels": [0]}, "same images"),
        ({"draws": ["11", "10"]}, "apgd.draws.0.: expected 1 verification draws of an image that is robust, but got 2"),
        ({"provenance": {"defense": {"random": False, "weights": "ef"}}}, "the same 'weights'"),
    ],
)
def test_contradictory_records_are_rejected(build, change, message):
    board, records, _ = build.results({"plain": {"clean": list("11"), "apgd": list("10")}})
    with pytest.raises(PurebenchError, match=message):
        merge(board, [records[0], replace(records[1], **change)])


def test_two_records_of_one_job_are_rejected_unless_they_are_equal(build):
    board, records, found = build.results({"plain": {"clean": list("11"), "apgd": list("10")}})
    assert merge(board, records * 2) == found
    with pytest.raises(PurebenchError, match="two with different keys"):
        merge(board, [*records, replace(records[0], key="older")])


@pytest.mark.parametrize("name", ["demo", "nearby", "cascade"])
def test_a_result_survives_a_round_trip_through_json(request, name):
    for found in request.getfixturevalue(name).results:
        text = json.dumps(found.to_dict())
        assert "seconds" not in text
        assert DefenseResult.from_dict(json.loads(text), found.seconds) == found


def test_merging_results_and_rendering_pages_do_not_import_what_takes_long():
    slow = "{'torch', 'scipy.stats'}"
    code = (
        f"import sys, purebench.leaderboards.page, purebench.results.merge; sys.exit(bool({slow} & {{*sys.modules}}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_clean_accuracy_is_not_known_where_an_image_errored(build):
    _, _, (found,) = build.results({"plain": {"clean": ["1", E, "1", "1"], "apgd": ["0", "1", "1", "0"]}})
    assert found.clean is None
    assert found.accuracy(found.attacks[0]).value == 0.75
    (row,) = rank([found])
    assert row.clean is None
