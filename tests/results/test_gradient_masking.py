"""Tests the warnings of a row: those of its attacks, and that attacks without the gradient are stronger."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from reading import Page, table_rows, words
from rich.console import Console
from torch import nn

from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.leaderboards.charts.frame import of_defenses
from purebench.results.gradient_masking import doubts
from purebench.results.ranking.comparisons import Side, comparisons

from synthetic import merge  # isort: skip
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import OF_GRADIENTS, OF_ONE_ATTACK, ResultWarning, WarningCode
from purebench.leaderboards.page import render
from purebench.leaderboards.terminal import print_board
from purebench.records.outcome import Outcome
from purebench.results.ranking.rank import rank

E, S = Outcome.ERRORED, Outcome.SKIPPED
MASKED = ResultWarning(WarningCode.ZERO_GRADIENT, "whatever it says", 3, 10)


def answers(right, images=20):
    """Returns one draw per image; the first `right` images are right."""
    return ["1"] * right + ["0"] * (images - right)


def results(build, noted=(), more=None, random=False, **right):
    """Returns the result of a defense from its robust images per attack; `noted` attacks warn of zero gradients."""
    board, records, _ = build.results({"one": {name: answers(n) for name, n in right.items()}}, **(more or {}))
    told = [replace(record, warnings=[MASKED] if record.attack in noted else []) for record in records]
    return board, merge(board, told)


def told(build, noted=(), more=None, **right):
    (found,) = results(build, noted, more, **right)[1]
    return doubts(found)


def masked(names, count, of):
    return (ResultWarning(WarningCode.ZERO_GRADIENT, f"{names}: {MASKED.text}", count, of),)


def beaten(found):
    """Returns how many images only attacks without the gradient break, and of how many; None without a warning."""
    codes = {warning.code: (warning.count, warning.of) for warning in found}
    return codes.get(WarningCode.GRADIENT_FREE_STRONGER)


def test_a_zero_gradient_warning_of_an_attack_is_shown_for_the_row(build):
    """A board of 20 images has 10 blocks of 2, so an attack has the warning ten times."""
    assert told(build, clean=20, apgd=18) == ()
    assert told(build, ["apgd"], clean=20, apgd=18) == masked("apgd", 30, 100)
    assert told(build, ["apgd", "pgd"], clean=20, apgd=18, pgd=19) == masked("apgd, pgd", 60, 200)


def test_a_zero_gradient_warning_is_dropped_if_another_gradient_is_stronger_or_no_image_is_robust(build):
    assert told(build, ["apgd"], clean=20, apgd=18, bpda=4) == ()
    assert told(build, ["apgd"], clean=20, apgd=18, bpda=18) == masked("apgd", 30, 100)
    assert told(build, ["apgd"], clean=20, apgd=0, bpda=0) == ()


@pytest.mark.parametrize("code", WarningCode)
def test_the_code_decides_whether_a_warning_of_an_attack_is_shown_for_the_row(build, code):
    """Warnings of one attack are not shown, those of gradients only for attacks with one; the text does not matter."""
    board, records, _ = build.results({"one": {"clean": answers(20), "apgd": answers(18), "square": answers(18)}})
    for attack in ("apgd", "square"):
        warned = [replace(one, warnings=[ResultWarning(code, "")] * (one.attack == attack)) for one in records]
        (found,) = merge(board, warned)
        shown = code not in OF_ONE_ATTACK and (attack == "apgd" or code not in OF_GRADIENTS)
        assert doubts(found) == ((ResultWarning(code, f"{attack}: "),) if shown else ())


@pytest.mark.parametrize(
    ("square", "apgd", "expected"),
    [
        (10, 18, (8, 20)),  # 8 to 0: p = 2/2^8
        (14, 20, (6, 20)),  # 6 to 0: p = 2/2^6 = 0.031
        (15, 20, None),  # 5 to 0: p = 2/2^5 = 0.0625
        (18, 10, None),
        (12, 12, None),
    ],
)
def test_a_stronger_black_box_attack_gives_a_warning_if_mcnemars_test_is_significant(build, square, apgd, expected):
    assert beaten(told(build, clean=20, apgd=apgd, square=square)) == expected


def test_all_attacks_without_the_gradient_are_compared_with_all_with_it(build):
    assert beaten(told(build, clean=20, apgd=20, pgd=12, square=10)) is None
    assert beaten(told(build, clean=20, apgd=20, pgd=19, square=10)) == (9, 20)
    assert told(build, clean=20, square=10) == ()
    assert told(build, clean=20, apgd=10) == ()
    few = ["0"] * 4 + ["1"] * 16
    apart = {"clean": ["1"] * 20, "apgd": ["1"] * 20, "square": few, "transfer": few[::-1]}
    assert beaten(doubts(build.results({"one": apart})[2][0])) == (8, 20)


def test_discordant_images_in_both_directions_give_no_warning(build):
    """8 images broken by Square alone, 7 by APGD alone."""
    more = {"one": {"clean": answers(20), "apgd": answers(13), "square": answers(12)[::-1]}}
    assert doubts(build.results(more)[2][0]) == ()


def test_errored_images_are_not_compared(build):
    lost = {"one": {"clean": answers(20), "apgd": [E] * 20, "square": answers(10)}}
    assert doubts(build.results(lost)[2][0]) == ()
    some = {"one": {"clean": ["1"] * 40, "apgd": ["1"] * 20 + [E] * 20, "square": answers(10) + answers(10)}}
    assert beaten(doubts(build.results(some)[2][0])) == (10, 20)


def test_in_a_cascade_attacks_are_not_compared_but_warnings_are_shown(build):
    cascaded = {"one": build.cascaded({"clean": answers(20), "apgd": answers(20), "square": answers(10)})}
    board, records, (found,) = build.results(cascaded, cascade=True)
    assert doubts(found) == ()
    (noted,) = merge(board, [replace(one, warnings=[MASKED] if one.attack == "apgd" else []) for one in records])
    assert doubts(noted) == masked("apgd", 30, 100)


# the accuracy q of each image, [images, 1], which is the same under every attack
WORLDS = {
    "coin": lambda rng: np.full((48, 1), 0.5),
    "between": lambda rng: rng.uniform(0.2, 0.8, (48, 1)),
    "logit": lambda rng: 1 / (1 + np.exp(-rng.normal(0.3, 2, (48, 1)))),
}


@pytest.mark.parametrize("world", WORLDS)
def test_many_equal_attacks_without_the_gradient_keep_the_false_alarm_rate(build, world):
    """Six attacks against one, equally strong: the one-sided level is 2.5 %, and three sigma of 300 runs are 2.7 %."""
    rng, alarms = np.random.default_rng(0), 0
    _, _, (found,) = build.results({"one": {name: ["1" * 16] * 48 for name in ("apgd", *"abcdef")}}, draws=16)
    for _ in range(300):
        draws = rng.random((7, 48, 16)) < WORLDS[world](rng)
        made = [
            replace(attack, gradient="none" if place else "exact", draws=texts, outcomes=tuple(map(outcome, texts)))
            for place, attack in enumerate(found.attacks)
            for texts in [tuple("".join("01"[int(right)] for right in row) for row in draws[place])]
        ]
        alarms += beaten(doubts(replace(found, attacks=tuple(made)))) is not None
    assert alarms / 300 <= 0.025 + 0.027


def outcome(draws):
    return Outcome.ROBUST if 2 * draws.count("1") > len(draws) else Outcome.MISCLASSIFIED


def test_gradient_masking_of_a_random_defense_is_found(build):
    """On 24 images, 90 % of the draws are right under APGD and 20 % under transfer."""
    rng = np.random.default_rng(1)
    rows = {
        name: ["".join("01"[int(right)] for right in rng.random(16) < q) for q in [first] * 24 + [1.0] * 8]
        for name, first in {"clean": 1.0, "apgd": 0.9, "square": 0.8, "transfer": 0.2}.items()
    }
    count, of = beaten(doubts(build.results({"one": rows}, draws=16)[2][0]))
    assert 20 <= count <= 24
    assert of == 32


def test_table_page_and_data_frame_show_warnings(build):
    board, found = results(build, ["apgd"], clean=20, apgd=18)
    file = io.StringIO()
    print_board(board, found, Console(file=file, width=100))
    text = words(file.getvalue())
    assert "one ⚠" in text
    assert "⚠ one: apgd: whatever it says: 30 of 100 [zero-gradient]" in text
    page = Page(render(board, found, tuple("abcdefghij"), {}))
    (row,) = table_rows(page)[1]
    assert "⚠ zero-gradient" in row[1][1]
    shown = "apgd: whatever it says: 30 of 100 zero-gradient"
    assert [words(text) for _, text in page.all("p", "trouble")] == [f"⚠ {shown}"]
    assert [words(text) for _, text in page.all("ul", "warnings")] == [f"⚠ one {shown}"]
    (frame,) = of_defenses(rank(found)).to_dict("records")
    assert (frame["warnings"], frame["warning_text"]) == ("zero-gradient", "apgd: whatever it says: 30 of 100")
    board, plain = results(build, clean=20, apgd=18)
    assert "⚠" not in render(board, plain, tuple("abcdefghij"), {})


class Steps(nn.Module):
    """A linear classifier of quantised images, whose gradient is zero."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 64).repeat(3, 1) * torch.tensor([[1.0], [-1.0], [0.5]]))

    def forward(self, x):
        return (4 * x).round().flatten(1) @ self.weight.T


def test_native_attacks_give_a_zero_gradient_warning():
    torch.manual_seed(0)
    defense, x = as_defense(Steps()), torch.rand(4, 1, 8, 8)
    view = exact(defense)
    APGD(steps=2)(view, x, defense(x).argmax(1), ThreatModel("linf", 1e-3))
    assert [warning.code for warning in view.warnings] == [WarningCode.ZERO_GRADIENT]


def test_equal_rows_share_a_rank(build):
    found = rank(
        build.results(
            {
                "b": {"clean": answers(20), "apgd": answers(10)},
                "a": {"clean": answers(20), "apgd": answers(10)},
                "c": {"clean": answers(19), "apgd": answers(10)},
                "d": {"clean": answers(20), "apgd": answers(12)},
            }
        )[2]
    )
    assert [(row.name, row.rank) for row in found] == [("d", 1), ("a", 2), ("b", 2), ("c", 4)]


@pytest.mark.parametrize("square", [[E] * 4, [S] * 4])
def test_a_row_without_a_result_of_any_attack_is_not_ranked(build, square):
    (row,) = rank(build.results({"one": {"clean": list("1110"), "apgd": [E] * 4, "square": square}})[2])
    assert (row.rank, row.clean.value, row.result.failed) == (None, 0.75, True)


def test_a_row_with_errors_has_bounds_and_a_row_without_applicable_attacks_has_no_estimate(build):
    (row,) = rank(build.results({"one": {"clean": list("1111"), "apgd": [E, E, E, "1"], "square": [S] * 4}})[2])
    assert (row.rank, row.robust) == (None, None)
    assert [bound.value for bound in row.bounds] == [0.25, 1.0]
    (row,) = rank(build.results({"one": {"clean": list("1110"), "apgd": [S] * 4}})[2])
    assert (row.rank, row.robust, row.clean.value) == (None, None, 0.75)
    with pytest.raises(PurebenchError, match="expected an attack with results"):
        comparisons([(Side("one", row.result), Side("one", row.result))])


@pytest.mark.parametrize(
    ("parts", "stronger"),
    [
        ([{"use": "apgd", "gradient": "exact"}, {"use": "square"}], False),
        ([{"use": "apgd", "gradient": "stand-in(model=trades)"}, {"use": "square"}], True),
    ],
)
def test_a_sequence_is_an_attack_with_the_gradient_if_a_part_follows_it(build, parts, stronger):
    found = results(build, clean=20, apgd=20, square=10)[1][0]
    spec = {"name": "sequence", "params": {"parts": parts}}
    changed = replace(found, attacks=(*found.attacks[:2], replace(found.attacks[2], spec=spec)))
    assert [warning.code for warning in doubts(changed)] == [WarningCode.GRADIENT_FREE_STRONGER] * stronger


def test_an_attack_through_another_model_has_no_gradient_of_the_defense(build):
    found = results(build, clean=20, apgd=20, square=10)[1][0]
    through = replace(found.attacks[2], spec={"name": "apgd", "params": {}}, gradient="stand-in(model=trades)")
    changed = replace(found, attacks=(*found.attacks[:2], through))
    assert [warning.code for warning in doubts(changed)] == [WarningCode.GRADIENT_FREE_STRONGER]


def test_autoattack_hides_no_warning_because_it_ends_with_square(build):
    """Square finds what the gradient misses; AutoAttack contains both, so that it is in neither pool."""
    found = results(build, clean=20, apgd=20, square=10)[1][0]
    (warning,) = doubts(found)
    assert warning.code is WarningCode.GRADIENT_FREE_STRONGER
    autoattack = replace(found.attacks[2], name="autoattack", spec={"name": "autoattack:standard", "params": {}})
    autoattack = replace(autoattack, gradient="exact", backwards=100)
    settings = {**found.board["attacks"], "autoattack": found.board["attacks"]["square"]}
    both = replace(found, board={**found.board, "attacks": settings}, attacks=(*found.attacks, autoattack))
    assert autoattack.follows_gradient
    assert not autoattack.gradient_alone
    assert doubts(both) == (warning,)
    weak = replace(autoattack, outcomes=found.attacks[1].outcomes, draws=found.attacks[1].draws)
    alone = replace(both, attacks=(found.attacks[0], weak, found.attacks[2]))
    assert doubts(alone) == (warning,)  # Square breaks more than AutoAttack, the only attack with the gradient
    noted = replace(found, attacks=(found.attacks[0], replace(found.attacks[1], warnings=(MASKED,)), autoattack))
    noted = replace(noted, board=both.board)
    assert [one.code for one in doubts(noted)] == [WarningCode.ZERO_GRADIENT]
