"""Tests that weights are cast to bf16 once, with the numbers of plain autocast, and are put back."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.views.gradient_modes import exact
from purebench.core.compute.cast_weights import CastWeights
from purebench.core.defense import as_defense
from purebench.core.threat import ThreatModel
from purebench.defenses.diffusion.chain import run


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
    monkeypatch.setattr("purebench.core.compute.cast_weights.LAYERS", ())
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
    monkeypatch.setattr("purebench.core.compute.cast_weights.LAYERS", ())
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


def layouts(network, x):
    """Returns whether the weight, and the output, of the first convolution are in the channels-last layout."""
    seen = []
    hook = network[0].register_forward_hook(lambda layer, given, output: seen.append((layer.weight, output)))
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)
    hook.remove()
    ((weight, output),) = seen
    return [one.is_contiguous(memory_format=torch.channels_last) for one in (weight, output)], found.float()


@pytest.mark.parametrize(("norm", "expected"), [(nn.BatchNorm2d(8), True), (nn.GroupNorm(2, 8), False)])
def test_convolutions_are_channels_last_in_the_context_unless_there_are_group_norms(norm, expected):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 8, 3), norm, nn.Conv2d(8, 2, 3)).eval().requires_grad_(False)
    x, root = torch.rand(3, 4, 9, 9), nn.Sequential(network)
    before, plain = layouts(network, x)
    cast = CastWeights(root)
    with cast:
        with cast:
            pass
        inside, found = layouts(network, x)
    after, again = layouts(network, x)
    assert inside == [expected, expected]
    assert before == after == [False, False]
    assert torch.allclose(found, plain, atol=0.02)
    assert torch.equal(again, plain)


def test_a_chain_recomputes_its_steps_with_the_weights_that_were_cast_for_the_forward_pass():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    defense = as_defense(nn.Sequential(network, nn.Flatten(), nn.Linear(3 * 16, 3)).requires_grad_(False))
    steps = [lambda state: state + 0.1 * network(state) for _ in range(4)]
    x, seen = torch.rand(2, 3, 4, 4, requires_grad=True), []
    network.register_forward_pre_hook(lambda layer, given: seen.append(layer.weight.dtype))

    def gradient(cast):
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16), cast:
            loss = run(x, steps, checkpointed=True).square().sum()
        return torch.autograd.grad(loss, x)[0]

    expected = gradient(nullcontext())
    assert seen == 8 * [torch.float32]
    found = gradient(CastWeights(defense))
    assert seen == 8 * [torch.bfloat16]
    assert torch.allclose(found, expected, rtol=0.02, atol=0.02)
    assert network.weight.dtype == torch.float32
