"""Tests of target classes, targeted losses and restarts on random defenses."""

import pytest
import torch

from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.md import MD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.gradient.targets import CLEAN_DRAWS, aims_of_runs, clean_scores
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

ATTACKS = {
    "pgd": PGD(loss="cw", steps=12, targets=2, momentum=0.9),
    "apgd": APGD(loss="cw", steps=12, targets=2),
    "md": MD(steps=12, targets=2),
}
X, Y = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.long)
THREAT = ThreatModel("linf", 0.1)


def hidden(noise):
    """The runner-up can never win, on any draw; the third class wins where the image is bright."""

    def net(x):
        s = x.flatten(1).mean(1, keepdim=True) - 0.5 + noise * torch.randn(len(x), 1)  # about 0 at the image
        return torch.cat([0 * s + 1.0, 0 * s + 0.9, 20 * s, 0 * s - 5.0], 1)

    return as_defense(net, random=True)


@pytest.mark.parametrize("eot", [1, 3, CLEAN_DRAWS + 2])
def test_targets_are_chosen_on_several_draws_and_other_attacks_query_the_image_as_before(eot):
    view = exact(hidden(0.01), eot=eot)
    assert clean_scores(view, X, 2).shape == (4, max(eot, CLEAN_DRAWS), 4)
    assert clean_scores(view, X, 0).shape == (4, eot, 4)
    assert clean_scores(exact(as_defense(lambda x: x.flatten(1)[:, :3])), X, 2).shape == (4, 1, 3)


def test_the_ranking_of_targets_averages_the_draws():
    """Class 2 leads class 1 on one draw of three, by far less than it trails on the others."""
    logits = torch.tensor([[9.0, 4.0, 5.0, 0.0], [9.0, 5.0, 1.0, 0.0], [9.0, 5.0, 1.0, 0.0]])[None]
    assert [aims.tolist() for aims in aims_of_runs(logits, torch.tensor([0]), 3)] == [[[0, 1]], [[0, 2]], [[0, 3]]]
    assert [aims.tolist() for aims in aims_of_runs(logits, torch.tensor([0]), 0)] == [[0]]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_targeted_attack_breaks_images_whose_runner_up_cannot_win(name, noise, accuracy):
    defense = hidden(noise)
    with seeded("hidden"):
        found = ATTACKS[name](exact(defense, eot=4), X, Y, THREAT)
        assert accuracy(defense, found, Y, 8) <= 0.1
        assert accuracy(defense, X, Y, 8) > 0.9


@pytest.mark.parametrize(("name", "runs"), [("pgd", 2 * 3), ("apgd", 2 * 3), ("md", 2 * 2 * 3)])
def test_each_target_has_runs_for_each_restart(name, runs):
    view = exact(as_defense(lambda x: torch.eye(4)[:1] * 9 + 0 * x.flatten(1).sum(1, keepdim=True), random=True), eot=2)
    settings = {**vars(ATTACKS[name]), "steps": 3, "restarts": 3}
    type(ATTACKS[name])(**settings)(view, X, Y, THREAT)
    assert view.backwards == runs * 3 * 2 * len(X)


@pytest.mark.parametrize("name", ATTACKS)
def test_images_that_are_done_have_no_further_runs(name):
    """The first target wins everywhere in the ball but at the image: its run needs few steps, and no other follows."""

    def net(x):
        s = (x - 0.5).flatten(1).abs().amax(1, keepdim=True) - 1e-4 + 0 * torch.randn(len(x), 1)
        return torch.cat([0 * s, 1e5 * s, 0 * s - 20, 0 * s - 20], 1)

    attack = type(ATTACKS[name])(**{**vars(ATTACKS[name]), "steps": 60})
    view = exact(as_defense(net, random=True), eot=8)
    with seeded("done"):
        attack(view, X, Y, THREAT)
    assert view.backwards <= 6 * 8 * len(X)


def test_pgd_with_restarts_and_targets_returns_the_point_of_the_best_target(accuracy):
    """Both targets can win, on 69 % and on 93 % of the draws; the second in the ranking is the better one."""

    def net(x):
        s = x.flatten(1).mean(1, keepdim=True) - 0.5
        n = torch.randn(len(x), 1)
        return torch.cat([0 * s, 20 * s - 1.5 + n, -40 * s - 2.5 + n, 0 * s - 30], 1)

    defense = as_defense(net, random=True)
    with seeded("better"):
        x, y = X.repeat(8, 1, 1, 1), Y.repeat(8)
        found = PGD(loss="cw", steps=10, targets=2, restarts=2)(exact(defense, eot=8), x, y, THREAT)
        assert (found.flatten(1).mean(1) < 0.41).float().mean() > 0.75
        assert accuracy(defense, found, y, 50) < 0.15


def test_a_targeted_pgd_needs_a_targeted_loss():
    with pytest.raises(PurebenchError, match="targeted loss: 'ce-scaled' is unknown"):
        PGD(loss="ce-scaled", targets=1)
