"""Tests of the model wrapper of library attacks: zero and non-finite gradients, and library warnings."""

import logging

import pytest
import torch
from torch import nn

from purebench.attacks.libraries.art import from_art
from purebench.attacks.libraries.autoattack import from_autoattack
from purebench.attacks.libraries.foolbox import from_foolbox
from purebench.attacks.libraries.model_wrapper import Asked, Lost, overheard
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode

pytestmark = pytest.mark.filterwarnings("ignore")

LINF = ThreatModel("linf", 0.02)
ATTACKS = [
    lambda: from_foolbox("LinfPGD", steps=3),
    lambda: from_art("ProjectedGradientDescent", max_iter=3),
    lambda: from_autoattack("apgd-ce", steps=3),
]


class Masked(nn.Module):
    """A network with unchanged logits but zero gradient at images of the classes in `masked`."""

    def __init__(self, net, masked):
        super().__init__()
        self.net, self.masked = net, masked

    def forward(self, x):
        logits = self.net(x)
        cut = torch.isin(logits.argmax(1), torch.tensor(self.masked))[:, None]
        return torch.where(cut, logits.detach() + 0 * logits, logits)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("masked", [[], [0, 1], [0, 1, 2, 3, 4]])
def test_images_with_zero_gradient_are_counted(small, attack, masked):
    """No image changes its class within so small a radius, so the count follows from the labels."""
    case = small(images=12)
    view, threat = exact(as_defense(Masked(case.net, masked))), ThreatModel("linf", 1e-4)
    with seeded("masked"):
        attack()(view, case.x, case.y, threat)
    count = sum(int((case.y == label).sum()) for label in masked)
    reported = [(warning.code, warning.count, warning.of) for warning in view.warnings]
    assert reported == ([(WarningCode.ZERO_GRADIENT, count, 12)] if count else [])
    assert 0 < count < 12 or masked != [0, 1]


def test_a_loss_that_is_flat_beyond_the_boundary_gives_no_zero_gradient_warning(small):
    """Carlini & Wagner's loss is constant once an image is broken, here from the start for most images."""
    case = small(images=6)
    view = exact(case.defense)
    with seeded("flat"):
        answer = from_foolbox("L2CarliniWagnerAttack", steps=40, binary_search_steps=2, initial_const=10.0)(
            view, case.x, (case.y + torch.tensor([0, 1, 1, 1, 1, 1])) % 5, ThreatModel("l2", 1)
        )
    assert answer.claims.all()
    assert view.warnings == []


@pytest.mark.parametrize("attack", ATTACKS[1:2])
def test_images_with_non_finite_gradient_are_counted(small, attack):
    case = small(images=5)
    x, y = case.x, case.y

    def classify(images):
        zero = (images - images.detach()).flatten(1).sum(1)[:, None]
        return case.net(images) + torch.sqrt(0 * zero) * (case.net(images).argmax(1) == y[0])[:, None]

    view = exact(as_defense(classify))
    with seeded("nan"):
        attack()(view, x, y, ThreatModel("linf", 1e-4))
    assert (WarningCode.NON_FINITE_GRADIENT, 5, 5) in [(one.code, one.count, one.of) for one in view.warnings]


def test_a_non_finite_query_is_an_error_of_the_attack(small):
    case = small(images=2)
    asked = Asked(exact(case.defense), case.x, case.y)
    assert torch.equal(asked(case.x), case.defense(case.x))
    with pytest.raises(Lost, match="the attack queried one with NaN or infinity"):
        asked(case.x * torch.nan)


def test_queries_are_assigned_to_the_nearest_image(small):
    case = small(images=4)
    asked = Asked(exact(as_defense(Masked(case.net, [0, 1, 2, 3, 4]))), case.x, case.y)
    points = (case.x[[2, 0]] + 0.001).requires_grad_()
    asked(points).sum().backward()
    assert (points.grad == 0).all()
    assert asked.zero.tolist() == [True, False, True, False]
    assert not asked.moved.any()


def test_library_warnings_become_view_warnings_without_numbers_and_are_not_logged(small, caplog):
    view, logger = exact(small().defense), logging.getLogger("a.library")
    with overheard(view, "a.library", "library"):
        for value in (1.25, 37.5):
            logger.getChild("part").warning("decreased the robust accuracy of %s%%! More.", value)
        logger.getChild("part").info("nothing of note")
    assert [(one.code, one.text) for one in view.warnings] == [
        (WarningCode.LIBRARY, "library: decreased the robust accuracy of some%")
    ]
    assert caplog.records == []
    logger.warning("after")
    assert [record.getMessage() for record in caplog.records] == ["after"]
    assert (logger.propagate, logger.handlers) == (True, [])
