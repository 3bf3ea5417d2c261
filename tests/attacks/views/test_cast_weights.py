"""Tests that weights are cast to bf16 once, with the numbers of plain autocast, and are put back."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.cast_weights import CastWeights
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.threat import ThreatModel


class Scaled(nn.Linear):
    """Uses its weight in a way that autocast does not cast."""

    def forward(self, x):
        return super().forward(x) * self.weight.abs().max()


class Network(nn.Module):
    """Two convolutions that share their weight, norms, a linear layer and a derived one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight
        self.norm, self.group = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.scaled, self.last = Scaled(4 * 64, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.group(self.second(self.norm(self.first(x)).relu()))
        return self.last(self.scaled(self.up(x).flatten(1)))


@pytest.fixture
def case():
    torch.manual_seed(0)
    network = Network().eval().requires_grad_(False)
    return as_defense(network), torch.rand(5, 4, 4, 4), torch.tensor([0, 1, 2, 0, 1])


class Casts(TorchDispatchMode):
    """Counts casts of parameters to bf16."""

    def __init__(self, module):
        super().__init__()
        self.places, self.count = {one.data_ptr() for one in module.parameters()}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = kwargs or {}
        if "_to_copy" in str(function) and given.get("dtype") == torch.bfloat16:
            self.count += args[0].data_ptr() in self.places
        return function(*args, **given)


def bf16(defense, votes=1):
    view = exact(defense, eot=votes)
    view.precision = "bf16"
    return view


def test_looks_give_the_numbers_of_plain_autocast(case, monkeypatch):
    defense, x, y = case
    own = bf16(defense).look(x, y, losses.find("ce"))
    monkeypatch.setattr("purebench.attacks.views.cast_weights.LAYERS", ())
    plain = bf16(defense).look(x, y, losses.find("ce"))
    assert torch.equal(own.logits, plain.logits)
    assert torch.equal(own.gradient, plain.gradient)


def test_an_attack_casts_each_layer_once_however_many_steps_it_takes(case, monkeypatch):
    defense, x, y = case

    def casts(steps):
        with Casts(defense) as counted:
            PGD(steps=steps, random=False)(bf16(defense), x, y, ThreatModel("linf", 1e-6))
        return counted.count

    layers = 4 + 4  # four weights, one of them shared, and the biases of five layers; the derived layer casts its two
    few, many = casts(2), casts(6)
    derived = 2  # the derived layer is left to autocast, which casts its weight and bias at each pass
    assert many - few <= 4 * derived
    monkeypatch.setattr("purebench.attacks.views.cast_weights.LAYERS", ())
    assert casts(6) - casts(2) >= 4 * (layers + derived - 1)


def test_parameters_are_back_after_the_context_also_after_an_error(case):
    defense = case[0]
    before = {name: (one, one._version) for name, one in defense.named_parameters(remove_duplicate=False)}
    network, cast = defense.classifier, CastWeights(defense)

    def fail():
        assert network.first.weight.dtype == network.last.bias.dtype == torch.bfloat16
        assert network.first.weight is network.second.weight
        assert network.norm.weight.dtype == network.group.weight.dtype == network.scaled.weight.dtype == torch.float32
        raise ZeroDivisionError

    with cast, pytest.raises(ZeroDivisionError), cast:
        fail()
    after = dict(defense.named_parameters(remove_duplicate=False))
    assert all(after[name] is one and one._version == version for name, (one, version) in before.items())
    assert len(after) == len(before)


def test_weights_that_changed_are_cast_again_and_trainable_ones_are_not_cast(case):
    defense = case[0]
    cast, last = CastWeights(defense), defense.classifier.last
    with cast:
        old = last.weight
    with cast:
        assert last.weight is old
    last.weight.data.mul_(2)
    last.weight.mul_(1)  # data does not count as a change, an operation does
    with cast:
        assert torch.equal(last.weight, 2 * old)
    last.requires_grad_(True)
    with cast:
        assert last.weight.dtype == torch.float32
