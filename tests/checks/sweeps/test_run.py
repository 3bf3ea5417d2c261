"""Tests whole sweeps on a linear world whose accuracies are known in closed form."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from purebench.boards.parse import load_board
from purebench.checks.finding import CheckStatus
from purebench.checks.sweeps import picture
from purebench.checks.sweeps.definition import Sweep, families_of
from purebench.checks.sweeps.markdown import markdown_table
from purebench.checks.sweeps.outcome import SweepOutcome
from purebench.checks.sweeps.run import SweepRun, run_sweep
from purebench.cli.commands.models.sweep_tables import print_sweep
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import WarningCode
from purebench.data.adapt import load_images
from purebench.execution.backends.compute import Compute
from purebench.records import store
from purebench.statistics import clopper_pearson, holm, mcnemar, paired_difference

from sweep_world import STRENGTHS, TEXT, right, swept, write_world  # isort: skip

HERE = Compute("cpu", 1, backend="serial")


def test_clean_and_robust_accuracy_of_every_strength_are_those_of_the_closed_form(outcome: SweepOutcome) -> None:
    (family,) = outcome.families
    assert [one.label for one in family.points] == [f"t={t}" for t in STRENGTHS]
    for point, t in zip(family.points, STRENGTHS, strict=True):
        clean, robust = right(outcome, t, 0.0), right(outcome, t, 0.05)
        assert point.clean == clopper_pearson(int(clean.sum()), 40, 0.95)
        assert point.robust == clopper_pearson(int(robust.sum()), 40, 0.95)
        assert point.clean_scores == tuple(clean.astype(float))
        assert point.robust_scores == tuple(robust.astype(float))
    robust = [point.robust.value for point in family.points if point.robust]
    assert robust == sorted(robust)
    assert robust[0] == 0 < robust[2] < robust[3]


def test_the_clean_loss_is_paired_with_the_undefended_classifier(outcome: SweepOutcome) -> None:
    plain = right(outcome, 0.0, 0.0)  # strength 0 is the identity
    assert outcome.undefended.value == plain.mean()
    for point, t in zip(outcome.families[0].points, STRENGTHS, strict=True):
        assert point.clean_loss == paired_difference(plain.astype(float), right(outcome, t, 0.0).astype(float))


def test_the_images_are_dev_images_of_which_no_board_has_one(outcome: SweepOutcome, world: Path) -> None:
    use = load_board(world).dataset.use
    assert list(outcome.settings["dataset"]["use"].values()) == [{"split": "dev"}]
    dev = load_images(replace(use, params={"split": "dev"})).take(list(outcome.images)).identities
    assert len(set(dev)) == 40
    assert not set(dev) & set(load_images(use).identities)


def test_the_rule_chooses_and_the_other_strengths_are_compared_with_the_choice(outcome: SweepOutcome) -> None:
    (family,) = outcome.families
    assert family.chosen is not None
    assert family.chosen.label == "t=1.0"
    best = right(outcome, 1.0, 0.05)
    p_values = []
    for contrast, t in zip(family.contrasts, STRENGTHS[:3], strict=True):
        other = right(outcome, t, 0.05)
        assert contrast.label == f"t={t}"
        assert contrast.difference == paired_difference(other.astype(float), best.astype(float))
        p_values.append(mcnemar(int((other & ~best).sum()), int((best & ~other).sum())))
    assert [one.p_value for one in family.contrasts] == pytest.approx(holm(p_values).tolist())
    assert [one.apart for one in family.contrasts] == [p <= 0.05 for p in holm(p_values)]
    assert family.alike == [one.label for one in family.contrasts if not one.apart]


def test_a_stricter_limit_changes_the_choice_and_runs_nothing(world: Path) -> None:
    first = swept(world)
    jobs: list[int] = []
    run = SweepRun(path=world.parent / "store", compute=HERE, progress=lambda done, total, record: jobs.append(record))
    second = swept(world, run=run, largest_clean_loss=0.25)
    assert [one.families[0].chosen.label for one in (first, second)] == ["t=0.0", "t=1.0"]
    assert jobs == [None]  # the call at the start
    assert [one.robust for one in first.families[0].points] == [one.robust for one in second.families[0].points]


def test_the_curve_over_the_radius_is_that_of_the_closed_form(outcome: SweepOutcome) -> None:
    (family,) = outcome.families
    assert [one.written for one in family.radii] == ["0.02", "0.05", "0.3"]
    for one in family.radii:
        assert one.robust_scores == tuple(right(outcome, 1.0, one.radius).astype(float))
    assert [one.robust.value for one in family.radii if one.robust][-1] == 0
    assert [one.result for one in family.checks] == [CheckStatus.HOLDS, CheckStatus.HOLDS]


def test_only_the_chosen_strength_is_run_at_other_radii(world: Path) -> None:
    seen = set()
    run = SweepRun(
        path=world.parent / "store",
        compute=HERE,
        progress=lambda done, total, record: seen.add((record.board, record.defense)) if record else None,
    )
    swept(world, run=run, radii=("0.02",), largest_clean_loss=0.25)
    assert {name for board, name in seen if board == "small-sweep@0.02"} == {"own.py-scaled-t-1.0"}
    assert len({name for board, name in seen if board == "small-sweep"}) == 5


def test_accuracy_that_rises_with_the_radius_fails_the_check(world: Path) -> None:
    path = write_world(world.parent, attacks={"clean": {"use": "clean"}, "clumsy": {"use": "own.py:clumsy"}})
    found = swept(path, "own.py:scaled(t=0)", radii=("0.029", "0.3")).families[0]
    assert [one.result for one in found.checks] == [CheckStatus.FAILS, CheckStatus.FAILS]
    assert [one.robust.value for one in found.radii if one.robust][1:] == [1.0, 1.0]


def test_strengths_that_are_rows_of_the_board_have_their_names(world: Path) -> None:
    text = TEXT.replace("own.py", str(world.parent / "own.py"))
    points = swept(world, text).families[0].points
    assert [(one.row, one.on_board) for one in points][1] == ("half", True)
    assert not points[0].on_board


def test_a_random_defense_is_drawn_as_often_as_on_the_board(world: Path) -> None:
    point = swept(world, "own.py:noisy(sigma={0.02, 0.3})").families[0].points[1]
    assert point.random
    assert point.robust is not None
    assert point.robust.method == "gaffke"
    assert any(0 < score < 1 for score in point.clean_scores)
    assert all((32 * score) % 1 == 0 for score in point.robust_scores)  # fresh draws
    assert all((16 * score) % 1 == 0 for score in point.clean_scores)  # verification draws


def test_a_strength_that_errors_has_no_number_and_is_not_chosen(world: Path) -> None:
    found = swept(world, "own.py:failing(t={0.5, 0.75, 1})", largest_clean_loss=0.5)
    point = found.families[0].points[2]
    assert point.robust is None
    assert point.errored > 0
    assert point.robust_scores == ()
    assert found.errored
    assert found.families[0].chosen is found.families[0].points[1]
    assert len(found.families[0].contrasts) == 1
    assert SweepOutcome.from_json(found.to_json()).families[0].points[2].robust is None


def test_strengths_that_were_not_evaluated_are_named_wherever_the_choice_is(world: Path) -> None:
    found = swept(world, "own.py:needs(t={0.25, 0.5, 0.75, 1})", largest_clean_loss=0.5)
    (family,) = found.families
    assert [point.label for point in family.points] == ["t=0.25", "t=0.5", "t=1"]
    assert family.missing == ("t=0.75",)
    told = f"t=0.75 (files are missing), t=1 ({family.points[2].errored} images errored)"
    assert family.reason.endswith(f"; not evaluated: {told}")
    assert markdown_table(found).endswith(f"\n- {family.name}: {told}\n")
    console = Console(width=300, file=io.StringIO(), record=True)
    print_sweep(found, console)
    assert f"not evaluated: {told}." in console.export_text()
    axes = Figure().subplots()
    picture._family(axes, found, family)
    assert [text.get_text() for text in axes.texts][-1] == f"not evaluated: {told}"
    assert SweepOutcome.from_json(found.to_json()) == found
    (alone,) = swept(world, "own.py:needs(t={0.75, 1})").families
    assert alone.choice is None


def test_the_clean_accuracy_is_no_robust_accuracy_if_no_attack_applies(world: Path) -> None:
    attacks = {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=5)", "gradient": "exact", "only": "random"}}
    found = swept(write_world(world.parent, attacks=attacks))
    (family,) = found.families
    assert [point.robust for point in family.points] == [None] * 4
    assert all(point.clean is not None for point in family.points)
    assert (family.choice, family.contrasts, found.errored) == (None, (), False)


def test_a_further_strength_is_run_and_the_others_are_reused(world: Path) -> None:
    swept(world, "own.py:scaled(t={0.25, 1.0})")
    counted: list[tuple[int, int]] = []
    run = SweepRun(
        path=world.parent / "store", compute=HERE, progress=lambda done, total, record: counted.append((done, total))
    )
    swept(world, "own.py:scaled(t={0.25, 0.5, 1.0})", run=run)
    assert counted[0] == (9, 12)  # clean, apgd and the pick of three rows and a new one


def test_the_store_has_no_board_of_the_sweep_to_show(world: Path) -> None:
    swept(world)
    with store.reading(world.parent / "store") as saved:
        assert saved.plans() == {}
        assert len(list(saved.of_board("small-sweep"))) == 5 * 3


def test_a_board_on_dev_images_and_too_few_of_them_are_refused(world: Path) -> None:
    dev = write_world(world.parent, dataset={"use": "own.py:images(split=dev)", "images": 40, "block": 40})
    with pytest.raises(PurebenchError, match="sweep: expected a board on test images"):
        swept(dev)
    test = write_world(world.parent)
    with pytest.raises(PurebenchError, match="expected at most 60, the number of dev images"):
        swept(test, images=61)


@pytest.mark.parametrize(
    ("text", "told"),
    [("own.py:scaled(s={1, 2})", "'s'"), ("own.py:scald(t={0, 1})", "did you mean 'scaled'")],
)
def test_unknown_names_are_told_before_anything_is_run(world: Path, text: str, told: str) -> None:
    with pytest.raises(PurebenchError, match=told):
        swept(world, text)
    assert not (world.parent / "store").exists()


def test_a_radius_that_permits_every_change_is_refused_before_anything_is_run(world: Path) -> None:
    with pytest.raises(PurebenchError, match="expected at most 1 for linf"):
        swept(world, radii=("8",))
    assert not (world.parent / "store").exists()


def test_attacks_that_are_bespoke_to_a_row_are_left_out_and_the_clean_attack_is_added(world: Path) -> None:
    attacks = {
        "apgd": {"use": "apgd(steps=5)", "gradient": "exact"},
        "own": {"use": "square(queries=5)", "rows": ["half"]},
    }
    found = swept(write_world(world.parent, attacks=attacks))
    assert list(found.settings["attacks"]) == ["clean", "apgd"]
    assert found.families[0].points[0].clean is not None


def test_the_cascade_gives_the_same_picks_in_a_deterministic_world(world: Path) -> None:
    both = {**load_board(world).to_dict()["attacks"], "second": {"use": "square(queries=5)"}}
    path = write_world(world.parent, attacks=both)
    whole, spared = (swept(path, cascade=cascade).families[0].points for cascade in (False, True))
    assert [one.robust for one in whole] == [one.robust for one in spared]


def test_the_command_continues_a_sweep_that_was_interrupted(world: Path) -> None:
    """A sweep that ends after a few jobs leaves their records; the next one runs the others, with the same result."""

    class Killed(BaseException):
        pass

    def kill(done: int, total: int, record: object) -> None:
        if done == 7:
            raise Killed

    sweep = Sweep(board=str(world), families=families_of([TEXT]), images=40)
    with pytest.raises(Killed):
        run_sweep(load_board(world), sweep, SweepRun(path=world.parent / "killed", compute=HERE, progress=kill))
    counted: list[int] = []
    run = SweepRun(
        path=world.parent / "killed", compute=HERE, progress=lambda done, total, record: counted.append(done)
    )
    resumed = run_sweep(load_board(world), sweep, run)
    assert counted[0] == 7
    whole = swept(world, run=SweepRun(path=world.parent / "whole", compute=HERE))
    assert [replace(point, seconds=0.0) for point in resumed.families[0].points] == [
        replace(point, seconds=0.0) for point in whole.families[0].points
    ]


def test_a_strength_without_a_gradient_has_a_warning(world: Path) -> None:
    """The gradient of a rounded image is zero, so that an attack that follows it leaves too high an accuracy."""
    points = swept(world, "own.py:rounded(levels={100000.0, 200000.0})").families[0].points
    assert [[warning.code for warning in point.warnings] for point in points] == [[WarningCode.ZERO_GRADIENT]] * 2
    assert all(not point.warnings for point in swept(world).families[0].points)
