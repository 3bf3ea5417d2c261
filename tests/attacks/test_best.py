"""Tests of when an attack stops on an image and which point it returns, on deterministic and random defenses."""

import pytest
import torch

from purebench.attacks.best import EARNED, FRESH, Best
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import blind, exact
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode

X = torch.full((1, 1, 1, 1), 0.5)
Y = torch.tensor([0])
INDEX = torch.tensor([0])
RIGHT, WRONG = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def chance(x):
    """Two classes; an image of brightness p is classified correctly (class 0) on a share p of the draws."""
    right = torch.rand(len(x)) < x.flatten(1).mean(1)
    return torch.where(right[:, None], RIGHT, WRONG)


def fixed(x):
    """Two classes; an image is classified correctly (class 0) if its brightness is above 0.35."""
    return torch.where(x.flatten(1).mean(1)[:, None] > 0.35, RIGHT, WRONG)


def point(brightness):
    return torch.full_like(X, brightness)


def look(best, brightness, loss, answers):
    """Pass a point to `best.see`: its loss and the answers of its draws, True if correct."""
    logits = torch.stack([RIGHT if answer else WRONG for answer in answers])[None]
    return bool(best.see(INDEX, point(brightness), torch.tensor([loss]), logits))


def settle(best, brightness, loss=0.0):
    """End a run at a point."""
    index = best.open.nonzero().squeeze(1)
    best.settle(index, point(brightness)[: len(index)], torch.full((len(index),), loss))


def random_best():
    return Best(exact(as_defense(chance, random=True)), X, Y)


def test_a_deterministic_defense_is_broken_at_the_first_wrong_answer():
    best = Best(exact(as_defense(fixed)), X, Y)
    assert look(best, 0.4, 9.0, [True])
    assert not look(best, 0.3, 1.0, [False])
    assert torch.equal(best.points(), point(0.3))  # a misclassified point is preferred to a larger loss


def test_an_image_wrong_only_in_a_gradient_pass_is_not_broken_and_gives_a_warning():
    """The defense may answer differently while gradients are computed; the answer without gradients decides."""
    best = Best(exact(as_defense(fixed)), X, Y)
    assert look(best, 0.4, 9.0, [False])
    assert best.open.all()
    assert best.view.forwards == len(X)
    assert [warning.code for warning in best.view.warnings] == [WarningCode.GRADIENT_MODE]


def test_without_a_misclassified_point_the_one_with_the_largest_loss_is_returned():
    best = Best(exact(as_defense(chance)), X, Y)
    for brightness, loss in ((0.4, 1.0), (0.3, 3.0), (0.2, 2.0)):
        assert look(best, brightness, loss, [True])
        settle(best, brightness, loss)
    assert torch.equal(best.points(), point(0.3))


def test_misclassification_by_a_blind_view_does_not_count():
    best = Best(blind(Defense(chance, Function(torch.clone, random=False))), X, Y)
    for brightness, loss in ((0.4, 3.0), (0.3, 1.0)):
        assert look(best, brightness, loss, [False])
        settle(best, brightness, loss)
    assert torch.equal(best.points(), point(0.4))


def test_an_image_is_kept_after_wrong_draws_by_chance():
    with seeded("lucky"):
        best = random_best()
        assert look(best, 1.0, 1.0, [False] * (EARNED - 1))  # not enough in a row
        assert look(best, 1.0, 1.0, [True])  # interrupts the sequence
        assert look(best, 1.0, 1.0, [False] * (EARNED - 1))
        assert look(best, 1.0, 1.0, [False])  # enough in a row, but the fresh draws are right
        assert look(best, 1.0, 1.0, [False] * (EARNED - 1))  # counting has started again
    assert best.open.all()


def test_an_image_leaves_if_fresh_draws_are_wrong_as_well():
    best = random_best()
    with seeded("earned"):
        assert look(best, 0.0, 1.0, [False] * (EARNED // 2))
        assert not look(best, 0.0, 1.0, [False] * (EARNED // 2))
    assert not best.open.any()
    settle(best, 0.9)
    assert torch.equal(best.points(), point(0.0))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_images_that_are_sometimes_right_rarely_leave(share):
    """For 100 draws that are right with probability `share`, an image leaves with probability below 2 · 0.95^64."""
    left = 0
    for trial in range(60):
        with seeded("rarely", str(share), str(trial)):
            best = random_best()
            for _ in range(25):
                answers = (torch.rand(4) < share).tolist()
                if not look(best, share, 1.0, answers):
                    left += 1
                    break
    assert left <= {0.05: 12, 0.2: 0, 0.5: 0}[share]


def test_the_returned_point_is_chosen_on_fresh_draws():
    """Earlier points have a larger loss or more wrong draws by chance, but the last point is better.

    They are right on 90 % of the draws against 20 %, so the largest loss and the draws already seen both mislead.
    """
    with seeded("naive"):
        best = random_best()
        look(best, 0.9, 100.0, [True, True])
        look(best, 0.9, 5.0, [False, False])
        look(best, 0.2, 1.0, [True, False])
        settle(best, 0.2)
    assert torch.equal(best.points(), point(0.2))


def test_a_better_earlier_point_replaces_the_last_one():
    with seeded("on the way"):
        best = random_best()
        look(best, 0.1, 5.0, [False, False])
        look(best, 0.9, 1.0, [True, True])
        settle(best, 0.9)
    assert torch.equal(best.points(), point(0.1))


def test_of_equally_good_points_the_last_is_returned():
    """An earlier point needs a clear lead on fresh draws, which equally good points rarely have."""
    kept = 0
    for trial in range(100):
        with seeded("equal", str(trial)):
            best = random_best()
            look(best, 0.51, 5.0, [False, False])
            look(best, 0.49, 1.0, [True, True])
            settle(best, 0.49)
        kept += bool(torch.equal(best.points(), point(0.49)))
    assert kept >= 70


def test_a_worse_restart_does_not_replace_a_better_one():
    with seeded("restart"):
        best = random_best()
        for brightness in (0.2, 0.9):
            look(best, brightness, 1.0, [True])
            settle(best, brightness)
        assert torch.equal(best.points(), point(0.2))
        look(best, 0.0, 1.0, [True])
        settle(best, 0.0)
    assert torch.equal(best.points(), point(0.0))


def test_the_best_of_many_runs_is_not_the_luckiest():
    """One of 20 runs is right on 30 % of the draws, the others on 50 %. The least of 20 counts of 8 is rarely its."""
    brightness, trials = [0.5] * 10 + [0.3] + [0.5] * 9, 40
    found, least = 0, 0
    for trial in range(trials):
        with seeded("many", str(trial)):
            best = random_best()
            for each in brightness:
                look(best, each, 1.0, [True])
                settle(best, each)
            counts = (torch.rand(FRESH, 20) < torch.tensor(brightness)).sum(0)
        found += bool(torch.equal(best.points(), point(0.3)))
        least += int(counts.argmin()) == 10
    assert found >= 0.5 * trials > 0.3 * trials > least


def test_a_run_that_seems_worse_costs_no_further_draws():
    with seeded("cost"):
        best = random_best()
        look(best, 0.0, 1.0, [True])
        settle(best, 0.0)
        before = best.view.forwards
        look(best, 1.0, 1.0, [True])
        settle(best, 1.0)
    assert best.view.forwards == before + 2 * FRESH


@pytest.mark.parametrize(("attack", "first"), [(PGD(steps=10), 0), (APGD(steps=10), 1)])
def test_no_image_leaves_if_the_defense_answers_at_random(attack, first):
    """The defense is wrong with probability 1/2 at every point, so each image is attacked for all steps."""

    def random_answer(x):
        return chance(torch.full_like(x, 0.5)) + 0 * x.flatten(1).sum(1, keepdim=True)

    x, y = torch.full((20, 1, 2, 2), 0.5), torch.zeros(20, dtype=torch.long)
    view = exact(as_defense(random_answer, random=True), eot=4)
    with seeded("coin"):
        attack(view, x, y, ThreatModel("linf", 0.1))
    assert view.backwards == 20 * 10 * 4
    # APGD queries the image first, PGD's first gradient is that of the image; then fresh draws compare two points
    assert view.forwards == 20 * ((10 + first) * 4 + 2 * FRESH)


@pytest.mark.parametrize("loss", ["ce", "cw"])
def test_apgd_is_no_weaker_than_plain_eot_pgd_on_a_random_defense(small, accuracy, loss):
    """Compared with the last point of EOT-PGD with the same gradients, on 512 fresh draws, within 3 standard errors."""
    from purebench.attacks.gradient import losses
    from purebench.core.norms.norms import NORMS

    case, threat = small(noise=0.4, images=80), ThreatModel("linf", 0.06)
    steps, draws = 20, 512

    def plain(view):
        found = case.x
        for _ in range(steps):
            gradient = view.look(found, case.y, losses.find(loss)).gradient
            found = threat.project(found + 2.5 / steps * threat.radius * NORMS["linf"].direction(gradient), case.x)
        return found

    with seeded("plain"):
        naive = plain(exact(case.defense, eot=2))
        ours = APGD(steps=steps, loss=loss)(exact(case.defense, eot=2), case.x, case.y, threat)
        left, of_plain = (accuracy(case.defense, found, case.y, draws) for found in (ours, naive))
    assert 0.05 < of_plain < 0.8
    assert left <= of_plain + 3 * (0.25 * 2 / draws / 80) ** 0.5


def test_images_wrong_only_with_gradients_are_attacked_to_the_end_with_a_warning():
    """With gradients the defense answers the opposite, so no image may leave because of such an answer."""

    def mode_dependent(x):
        score = x.flatten(1).sum(1, keepdim=True)
        logits = torch.cat([score, -score], 1)
        return -logits if x.requires_grad else logits

    x, y = torch.full((5, 1, 2, 2), 0.5), torch.zeros(5, dtype=torch.long)
    for attack in (PGD(steps=3), APGD(steps=3)):
        view = exact(as_defense(mode_dependent))
        with seeded("two-faced"):
            found = attack(view, x, y, ThreatModel("linf", 0.1))
        assert not (mode_dependent(found).argmax(1) != y).any()
        assert WarningCode.GRADIENT_MODE in [warning.code for warning in view.warnings]
        assert view.backwards == 15


def test_a_tie_that_a_pass_with_gradients_decides_differently_gives_no_warning():
    best = Best(exact(as_defense(lambda x: torch.tensor([[1.0, 1.0 - 1e-6, 0.0]]).expand(len(x), 3))), X, Y)
    stay = best.see(
        torch.arange(len(X)), X, torch.zeros(len(X)), torch.tensor([[[0.0, 1.0, 0.0]]]).expand(len(X), 1, 3)
    )
    assert stay.all()
    assert best.view.notes == best.view.warnings == []
