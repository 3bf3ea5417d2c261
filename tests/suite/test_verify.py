"""The verdict on a minimum-norm attack: its distance where its image is, the threat model where it is projected to."""

from __future__ import annotations

import pytest
import torch

from purebench.batching import DeviceBatch
from purebench.defense import Defense, as_defense
from purebench.protocols import Answer, DefenseFault
from purebench.threat import ThreatModel
from purebench.verify import Violation, judge, verify

THREAT = ThreatModel("linf", 0.1)
Y = torch.zeros(3, dtype=torch.long)


def border(at: float) -> Defense:
    """Right (class 0) up to this brightness, wrong beyond."""

    def logits(x: torch.Tensor) -> torch.Tensor:
        gap = x.flatten(1).mean(1, keepdim=True) - at
        return torch.cat([-gap, gap], 1)

    return as_defense(logits)


def bright(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def test_the_nearest_images_count_where_they_are_and_are_projected_for_the_threat_model() -> None:
    x = bright(0.5, 0.5, 0.5)
    found = bright(0.56, 0.7, 0.5)  # wrong within the radius; wrong beyond it; nothing found
    verdict = judge(border(0.55), Answer(found, nearest=True), x, Y, THREAT, 4, DeviceBatch())
    assert verdict.nearest == pytest.approx([0.06, 0.2, None])
    # at the radius the second one, brought back to 0.6, is beyond the border as well
    assert verdict.right.squeeze(1).tolist() == [False, False, True]
    torch.testing.assert_close(verdict.images, bright(0.56, 0.6, 0.5))
    assert verdict.passes == 4  # three where they are projected to, one where it was
    verdict = judge(border(0.65), Answer(found, nearest=True), x, Y, THREAT, 4, DeviceBatch())
    assert verdict.nearest == pytest.approx([None, 0.2, None])  # a claim that does not hold is no distance
    assert verdict.right.all()


def test_a_random_defense_is_broken_at_a_distance_where_most_draws_are_wrong() -> None:
    def half(x: torch.Tensor) -> torch.Tensor:
        wrong = torch.rand(len(x)) < x.flatten(1).mean(1)
        return torch.stack([~wrong, wrong], 1).float()

    torch.manual_seed(0)
    found = bright(0.05, 0.9, 0.2)
    answer = Answer(found, nearest=True)
    verdict = judge(as_defense(half, random=True), answer, bright(0.0, 0.0, 0.0), Y, THREAT, 64, DeviceBatch())
    assert verdict.nearest == pytest.approx([None, 0.9, None])
    assert verdict.right.shape == (3, 64)


def test_an_answer_outside_of_the_box_is_a_violation_and_rounding_is_noted() -> None:
    x = bright(0.5, 0.5, 0.5)
    with pytest.raises(Violation, match=r"outside \[0,1\]"):
        judge(border(0.5), Answer(x + 0.6, nearest=True), x, Y, THREAT, 1, DeviceBatch())
    verdict = judge(border(0.5), Answer(x + 0.5 + 1e-6, nearest=True), x, Y, THREAT, 1, DeviceBatch())
    assert any("rounding" in note for note in verdict.notes)
    assert verdict.images.max() <= 1


def test_a_bounded_attack_has_no_nearest() -> None:
    x = bright(0.5, 0.5, 0.5)
    assert judge(border(0.5), Answer(x), x, Y, THREAT, 1, DeviceBatch()).nearest == []
    with pytest.raises(Violation, match="linf distance"):
        judge(border(0.5), Answer(x + 0.2), x, Y, THREAT, 1, DeviceBatch())


@pytest.mark.parametrize("random", [False, True])
def test_a_defense_that_changes_its_images_is_told_so(random: bool) -> None:
    """Without it an attack's images would be others than those that were judged."""
    defense = as_defense(lambda x: torch.cat([x.mul_(0.5).flatten(1), torch.rand(len(x), 1)], 1), random=random)
    with pytest.raises(DefenseFault, match=r"changed in place; work on x.clone\(\)"):
        verify(defense, bright(0.5, 0.6, 0.7), Y, 4, DeviceBatch())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, r"logits as a tensor \[3,K\], but got NoneType"),
        ((torch.zeros(3, 2),), "but got tuple"),
        (torch.zeros(3, 2).numpy(), "but got ndarray"),
        (torch.zeros(3, 0), r"K ≥ 2 classes, but got \[3, 0\]"),
        (torch.zeros(3, 2, dtype=torch.long), "floating-point logits"),
        (torch.zeros(3, 2), "at least 3 classes, but got 2"),
    ],
    ids=["None", "tuple", "numpy", "no classes", "integers", "too few classes"],
)
def test_what_is_no_logits_is_told(answer: object, told: str) -> None:
    with pytest.raises(DefenseFault, match=told):
        verify(as_defense(lambda x: answer), bright(0.5, 0.6, 0.7), Y + 2, 4, DeviceBatch())  # type: ignore[arg-type,return-value]
