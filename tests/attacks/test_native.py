"""Tests of native attacks on a plain model: closed-form optima, an unmodified model, and input errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from purebench import Defense, Function, PurebenchError, ThreatModel, keep_random_layers_on
from purebench.attacks import APGD, CW, FMN, MD, PGD, Clean, DeepFool, DiffHammer, Latent, Square
from purebench.attacks.native import NativeAttack

EPS = 0.05


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()


@pytest.fixture
def images(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Images that stay inside [0,1] under any perturbation of EPS, with the model's predictions as labels."""
    x = 0.3 + 0.4 * torch.rand(40, 1, 8, 8)
    return x, model(x).argmax(1)


def partly_in_training_mode(model: nn.Module) -> nn.Module:
    """A model in eval mode except for one batch norm layer."""
    made = nn.Sequential(nn.BatchNorm2d(1), model).eval()
    made[0].train()
    return made


def margins(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = model(x).detach()
    return logits.gather(1, y[:, None])[:, 0] - logits.gather(1, 1 - y[:, None])[:, 0]


@pytest.mark.parametrize("attack", [PGD(steps=20), APGD(steps=20), Square(queries=50)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_bounded_attacks_stay_within_eps_and_break_every_breakable_image(
    attack: PGD | APGD | Square, norm: str, model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    """The margin of a linear model falls by at most eps times the dual norm of the difference of its two rows."""
    x, y = images
    weights = model[1].weight.detach()  # type: ignore[index]
    difference = weights[0] - weights[1]
    dual = difference.abs().sum() if norm == "linf" else difference.norm()
    found = attack(model, x, y, eps=EPS, norm=norm)
    assert isinstance(found, Tensor)
    assert float(ThreatModel(norm, EPS).size(found - x).max()) <= EPS * (1 + 1e-5)
    assert ((found >= 0) & (found <= 1)).all()
    left = margins(model, x, y) - EPS * dual
    wrong = model(found).argmax(1) != y
    assert not wrong[left > 1e-4].any()
    if not isinstance(attack, Square):
        assert wrong[left < -1e-2].all()
        assert wrong.any()


@pytest.mark.parametrize("attack", [CW(steps=50), DeepFool(), FMN(steps=100)])
def test_minimum_norm_attacks_find_distances_near_the_optimum(
    attack: CW | DeepFool | FMN, model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    found = attack(model, x, y, eps=8.0, norm="l2")
    assert isinstance(found, Tensor)
    weights = model[1].weight.detach()  # type: ignore[index]
    nearest = margins(model, x, y) / (weights[0] - weights[1]).norm()
    wrong = model(found).argmax(1) != y
    assert wrong.float().mean() > 0.9
    distances = (found - x).flatten(1).norm(dim=1)
    assert (distances[wrong] >= nearest[wrong] * 0.999).all()
    assert (distances[wrong] / nearest[wrong]).median() < 1.2


def test_the_model_and_the_images_are_not_modified(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    before = x.clone()
    PGD(steps=2)(model, x, y, eps=EPS)
    assert all(one.requires_grad and one.grad is None for one in model.parameters())
    assert torch.equal(x, before)


def test_eps_may_be_a_fraction_as_a_string(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    found = [FMN(steps=3)(model, *images, eps=eps) for eps in ("8/255", 8 / 255)]
    assert torch.equal(found[0], found[1])  # type: ignore[arg-type]


def test_the_torch_seed_determines_the_result_on_a_random_defense(
    model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images

    def found(seed: int, eot: int = 1) -> Tensor:
        torch.manual_seed(seed)
        noisy = Defense(lambda z: model(z + 0.1 * torch.randn_like(z)), random=True)
        made = PGD(steps=3)(noisy, x, y, eps=EPS, eot=eot)
        assert isinstance(made, Tensor)
        return made

    assert torch.equal(found(1), found(1))
    assert not torch.equal(found(1), found(2))
    assert not torch.equal(found(1), found(1, eot=4))


def test_a_defense_is_attacked_in_eval_mode_and_its_modes_are_restored(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 2))
    defense = Defense(keep_random_layers_on(net), random=True).train()
    seen: list[tuple[bool, bool, int]] = []
    net[4].register_forward_hook(lambda *given: seen.append((net[1].training, net[3].training, len(given[1][0]))))
    PGD(steps=2)(defense, x, y, eps=EPS, eot=4)
    assert {mode[:2] for mode in seen} == {(False, True)}
    assert max(size for *_, size in seen) == len(x)  # one call per draw: it is unknown whether a call shares its draw
    assert net[1].num_batches_tracked == 0
    assert all(part.training for part in defense.modules())
    assert defense.shares_draws is None


def test_invalid_input_is_rejected(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    attack = Clean()
    for message, call in {
        "pass eps=8/255": lambda: attack(model, x, y),  # type: ignore[call-overload]
        r"from 76\.5\d* to 178": lambda: attack(model, x * 255, y, eps=EPS),
        "expected images": lambda: attack(model, x[0], y, eps=EPS),
        "images as a torch tensor, but got numpy.ndarray": lambda: attack(model, x.numpy(), y, eps=EPS),  # type: ignore[call-overload]
        "labels from 0 to 1 for a model with 2 outputs": lambda: attack(model, x, y + 2, eps=EPS),
        "expected labels": lambda: attack(model, x, y[:3], eps=EPS),
        "integers, but got torch.float32": lambda: attack(model, x, y.float(), eps=EPS),
        r"divide them by 255: x / 255": lambda: attack(model, x * 255, y, eps=EPS),
        r"x\.float\(\) / 255": lambda: attack(model, (x * 255).byte(), y, eps=EPS),
        r"x\[None\] for one image": lambda: attack(model, x[0], y[:1], eps=EPS),
        r"reshape them: x\.reshape\(N, C, H, W\)": lambda: attack(model, x.flatten(1), y, eps=EPS),
        r"normalise in the model": lambda: attack(model, (x - 0.3) / 0.3 + 0.5, y, eps=EPS),
        r"\(x \+ 1\) / 2": lambda: attack(model, 2 * x - 1, y, eps=EPS),
        r"does not accept torch\.float64 .* convert the images: x\.float\(\)": lambda: attack(
            model, x.double(), y, eps=EPS
        ),
        "expected the name of a norm .*, but got 2; did you mean 'l2'": lambda: attack(model, x, y, eps=EPS, norm=2),  # type: ignore[call-overload]
        "did you mean 'linf'": lambda: attack(model, x, y, eps=EPS, norm=float("inf")),  # type: ignore[call-overload]
        r"pass Defense\(model, random=True\)": lambda: attack(
            lambda z: model(z + 0.1 * torch.randn_like(z)), x, y, eps=EPS
        ),
        "'l7' is unknown": lambda: attack(model, x, y, eps=EPS, norm="l7"),
        "any image can become any other": lambda: attack(model, x, y, eps=8.0),
        r"call model\.eval\(\)": lambda: attack(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), x, y, eps=EPS),
        r"eval\(\) first": lambda: attack(partly_in_training_mode(model), x, y, eps=EPS),
        "expected a view with": lambda: attack(model, x, y, ThreatModel("linf", EPS)),  # type: ignore[call-overload]
    }.items():
        with pytest.raises(PurebenchError, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: APGD(step=10),
            "APGD: the parameter 'step' is unknown; did you mean 'steps' or 'stop'? It takes loss, steps",
        ),  # type: ignore[call-arg]
        (lambda: PGD(size=3), "PGD: the parameter 'size' is unknown; known: loss, momentum, random"),  # type: ignore[call-arg]
        (lambda: Latent(step=3), "Latent: the parameter 'step' is unknown; did you mean 'steps'?"),  # type: ignore[call-arg]
        (lambda: Function(abs, randm=True), "Function: the parameter 'randm' is unknown; did you mean 'random'?"),  # type: ignore[call-arg]
        (lambda: Defense(abs, randm=True), "Defense: the parameter 'randm' is unknown; did you mean 'random'?"),  # type: ignore[call-arg]
    ],
)
def test_an_unknown_parameter_error_names_the_known_ones(call: Callable[[], object], message: str) -> None:
    for kind in (PurebenchError, TypeError):
        with pytest.raises(kind, match=re.escape(message)):
            call()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("radius", "APGD: the parameter 'radius' is unknown; pass eps=8/255 and norm='linf'"),
        ("epsilon", "APGD on a model: the parameter 'epsilon' is unknown; did you mean 'eps'?"),
        ("nrom", "did you mean 'norm'? It takes eps, norm, eot."),
    ],
)
def test_an_unknown_keyword_of_a_call_is_rejected(
    name: str, message: str, model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(PurebenchError, match=re.escape(message)):
        APGD()(model, *images, **{name: EPS})  # type: ignore[call-overload]


def test_float64_images_are_accepted_by_a_float64_model(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    found = PGD(steps=2)(model.double(), x.double(), y, eps=EPS)
    assert found.dtype is torch.float64


@pytest.mark.parametrize(
    "attack", [APGD(steps=3), PGD(steps=3, restarts=2), MD(steps=3), DiffHammer(steps=3, draws=4, losses=("cw",))]
)
def test_images_of_double_precision_are_attacked_on_a_random_defense(
    attack: NativeAttack, model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    noise = Function(lambda x: x + 0.1 * torch.randn_like(x), random=True)
    x, y = (part.double() if part.is_floating_point() else part for part in images)
    found = attack(Defense(deepcopy(model).double(), noise), x, y, eps=0.1, eot=2)
    assert found.dtype == torch.float64
    assert (found - x).abs().max() <= 0.1 + 1e-9
