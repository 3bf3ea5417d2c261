"""Tests of verification: minimum-norm answers, invalid logits, inconsistent defenses, and shared draws."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from purebench.core.answers import Answer, DefenseFault, WholeFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, as_defense
from purebench.core.threat import ThreatModel
from purebench.execution.jobs.logit_comparison import close
from purebench.execution.jobs.repeatability import batch_decides, same_under_one_seed
from purebench.execution.jobs.threat_check import Violation
from purebench.execution.jobs.verification import ask, judge, verify

THREAT = ThreatModel("linf", 0.1)
Y = torch.zeros(3, dtype=torch.long)


def border(at: float) -> Defense:
    """A defense that predicts class 0, the right class, up to this mean brightness and class 1 above it."""

    def logits(x: torch.Tensor) -> torch.Tensor:
        gap = x.flatten(1).mean(1, keepdim=True) - at
        return torch.cat([-gap, gap], 1)

    return as_defense(logits)


def bright(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def test_minimum_norm_answers_are_verified_as_found_and_projected_to_the_radius() -> None:
    x = bright(0.5, 0.5, 0.5)
    found = bright(0.56, 0.7, 0.5)  # wrong within the radius; wrong beyond the radius; not found
    verified = judge(border(0.55), Answer(found, nearest=True), x, Y, THREAT, 4, DeviceBatch())
    assert verified.fooling_distances == pytest.approx([0.06, 0.2, None])
    # The second image, projected to 0.6, is beyond the border as well.
    assert verified.right.squeeze(1).tolist() == [False, False, True]
    torch.testing.assert_close(verified.images, bright(0.56, 0.6, 0.5))
    assert verified.passes == 4  # three projected images, and one at its original place
    verified = judge(border(0.65), Answer(found, nearest=True), x, Y, THREAT, 4, DeviceBatch())
    assert verified.fooling_distances == pytest.approx(
        [None, 0.2, None]
    )  # an image that is still right has no distance
    assert verified.right.all()


def test_fooling_distances_of_random_defenses_require_most_draws_to_be_wrong() -> None:
    def half(x: torch.Tensor) -> torch.Tensor:
        wrong = torch.rand(len(x)) < x.flatten(1).mean(1)
        return torch.stack([~wrong, wrong], 1).float()

    torch.manual_seed(0)
    found = bright(0.05, 0.9, 0.2)
    answer = Answer(found, nearest=True)
    verified = judge(as_defense(half, random=True), answer, bright(0.0, 0.0, 0.0), Y, THREAT, 64, DeviceBatch())
    assert verified.fooling_distances == pytest.approx([None, 0.9, None])
    assert verified.right.shape == (3, 64)


def test_answers_outside_the_unit_box_are_violations_and_rounding_is_noted() -> None:
    x = bright(0.5, 0.5, 0.5)
    with pytest.raises(Violation, match=r"outside \[0,1\]"):
        judge(border(0.5), Answer(x + 0.6, nearest=True), x, Y, THREAT, 1, DeviceBatch())
    verified = judge(border(0.5), Answer(x + 0.5 + 1e-6, nearest=True), x, Y, THREAT, 1, DeviceBatch())
    assert any("rounding" in note for note in verified.notes)
    assert verified.images.max() <= 1


def test_bounded_attacks_have_no_fooling_distances() -> None:
    x = bright(0.5, 0.5, 0.5)
    assert judge(border(0.5), Answer(x), x, Y, THREAT, 1, DeviceBatch()).fooling_distances == []
    with pytest.raises(Violation, match="linf distance"):
        judge(border(0.5), Answer(x + 0.2), x, Y, THREAT, 1, DeviceBatch())


@pytest.mark.parametrize("random", [False, True])
def test_a_defense_that_modifies_its_images_in_place_is_a_fault(random: bool) -> None:
    """Otherwise the stored images would differ from the verified ones."""
    defense = as_defense(lambda x: torch.cat([x.mul_(0.5).flatten(1), torch.rand(len(x), 1)], 1), random=random)
    with pytest.raises(DefenseFault, match=r"modifies them in place; work on x.clone\(\)"):
        verify(defense, bright(0.5, 0.6, 0.7), Y, 4, DeviceBatch())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"logits as a tensor \[3,K\], but got NoneType"),
        ((torch.zeros(3, 2), torch.zeros(3, 2)), r"but got tuple; wrap it: lambda x: model\(x\)\[0\]"),
        ({"a": torch.zeros(3, 2), "b": torch.zeros(3, 2)}, r"but got dict; wrap it: lambda x: model\(x\)\['a'\]"),
        (torch.zeros(3, 2).numpy(), "but got ndarray"),
        (torch.zeros(3, 0), r"K ≥ 2 classes, but got \[3, 0\]"),
        (torch.zeros(3, 2, dtype=torch.long), "floating-point logits"),
        (torch.zeros(3, 2), "at least 3 classes, but got 2"),
    ],
    ids=["None", "tuple", "dict", "numpy", "no classes", "integers", "too few classes"],
)
def test_invalid_logits_are_faults(answer: object, message: str) -> None:
    with pytest.raises(DefenseFault, match=message):
        verify(as_defense(lambda x: answer), bright(0.5, 0.6, 0.7), Y + 2, 4, DeviceBatch())  # type: ignore[arg-type,return-value]


def test_logits_are_extracted_from_common_output_types() -> None:
    class Output(dict[str, object]):
        """Output of a Hugging Face model: a mapping."""

    def logits(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[2.0, 1.0]] * len(x))

    tower = namedtuple("tower", ["logits", "aux_logits"])
    for holding in (
        lambda z: {"logits": z, "loss": z[:, :1]},
        lambda z: Output(logits=z),
        lambda z: SimpleNamespace(logits=z),
        lambda z: tower(z, z),
        lambda z: (z, z[:, 0]),
        lambda z: [z],
        lambda z: z.half(),
        lambda z: z.double(),
    ):
        defense = as_defense(lambda x, holding=holding: holding(logits(x)))  # type: ignore[misc]
        assert verify(defense, bright(0.5, 0.6, 0.7), Y, 4, DeviceBatch()).all()


def test_masked_classes_do_not_hide_differences_between_logits() -> None:
    """Masked logits of -1e9 make the spread 1e9, so that a relative tolerance would accept any difference."""
    z = torch.tensor([[3.0, 1.0, -1.0, 0.5]])
    unlike = z + torch.tensor([[0.0, 0.9, 0.0, 0.0]])
    for scale in (1e-6, 1.0, 1e6):
        mask = torch.full((1, 6), -1e9 * max(scale, 1))
        assert not close(scale * z, scale * unlike)
        assert not close(torch.cat([scale * z, mask], 1), torch.cat([scale * unlike, mask], 1))
        assert close(torch.cat([scale * z, mask], 1), torch.cat([scale * z * (1 + 1e-6), mask], 1))
    mask = torch.full((1, 6), -1e9)
    assert not close(torch.cat([z, mask], 1), torch.cat([z, mask.roll(1, 1) * torch.tensor([0.5, 1, 1, 1, 1, 1])], 1))
    assert not close(torch.cat([z[:, :2], mask], 1), torch.cat([unlike[:, :2], mask], 1))


def test_a_random_defense_with_masked_classes_declared_deterministic_is_a_fault() -> None:
    def masked(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.randn(len(x), 3), torch.full((len(x), 7), -1e9)], 1)

    with pytest.raises(DefenseFault, match="random=True"):
        verify(as_defense(masked), bright(0.5, 0.6, 0.7), Y, 4, DeviceBatch())


def noisy(x: torch.Tensor) -> torch.Tensor:
    """Logits that depend on each image separately, with noise."""
    flat = x.flatten(1)
    return flat[:, :3] + 0.1 * torch.randn(len(x), 3)


def depends_on_the_batch(x: torch.Tensor) -> torch.Tensor:
    return noisy(x) + x.flatten(1)[:, :3].mean(0)


def depends_on_gradient_mode(x: torch.Tensor) -> torch.Tensor:
    return -noisy(x) if x.requires_grad else noisy(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [(depends_on_the_batch, "other images of a batch"), (depends_on_gradient_mode, "gradients on and off")],
)
def test_inconsistent_random_defenses_are_faults(
    function: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(WholeFault, match=message):
        verify(as_defense(function, random=True), x, Y, 4, DeviceBatch())
    assert verify(as_defense(noisy, random=True), x, Y, 4, DeviceBatch()).shape == (3, 4)


def test_random_numbers_that_depend_on_the_images_are_not_a_fault() -> None:
    """The draws of a rejection sampler depend on the batch: its outputs under one seed differ, their law does not."""

    def rejects(x: torch.Tensor) -> torch.Tensor:
        torch.rand(1 + int(100 * x.mean()))
        return noisy(x)

    defense = as_defense(rejects, random=True)
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    same_under_one_seed(defense, x)
    assert not batch_decides(defense, x, torch.cat([x[:1], 1 - x[1:]]))


def test_equal_draws_of_a_random_defense_are_noted() -> None:
    asked = ask(
        as_defense(lambda x: x.flatten(1)[:, :3].clone(), random=True), bright(0.5, 0.6, 0.7), Y, 4, DeviceBatch()
    )
    assert any("equal to the last bit" in note for note in asked.notes)
    assert not ask(as_defense(noisy, random=True), bright(0.5, 0.6, 0.7), Y, 4, DeviceBatch()).notes


def test_shared_draws_are_verified_with_one_call_per_draw_and_image() -> None:
    """One of two models is chosen per call: each draw of each image is right with probability 1/2, independently."""

    def ensemble(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0], [0.0, 1.0]])[torch.randint(2, ())].expand(len(x), 2).clone()

    defense = as_defense(ensemble, random=True)
    torch.manual_seed(0)
    assert verify(defense, bright(0.5, 0.6, 0.7), Y, 64, DeviceBatch(256)).float().mean() in (0, 1)
    defense.shares_draws = True
    right = verify(defense, bright(0.5, 0.6, 0.7), Y, 64, DeviceBatch(256))
    assert right.shape == (3, 64)
    assert 0.3 < right.float().mean() < 0.7
    for one, other in combinations(range(3), 2):
        assert 0.3 < (right[one] == right[other]).float().mean() < 0.7


def test_verification_draws_are_independent_across_draws_and_images() -> None:
    """A defense that is right with probability 0.3 is right on 30 % of draws, independently for each image."""
    defense = as_defense(lambda x: torch.stack([torch.ones(len(x)), 2.0 * (torch.rand(len(x)) >= 0.3)], 1), random=True)
    torch.manual_seed(0)
    right = verify(defense, torch.zeros(200, 1, 2, 2), torch.zeros(200, dtype=torch.long), 50, DeviceBatch(64))
    assert right.shape == (200, 50)
    assert right.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert right.float().mean(1).std().item() == pytest.approx((0.3 * 0.7 / 50) ** 0.5, rel=0.2)
