"""Tests the released Langevin purifier of Hill et al. on a small energy in its layout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.checks.defense_checks import slopes
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.ebm.hill import HillEnergy, ebm_langevin_hill
from purebench.defenses.ebm.langevin import EBMLangevin
from purebench.defenses.official_files import convert


@pytest.fixture
def file(tmp_path):
    with seeded("hill"):
        model = HillEnergy(channels=3, width=4, side=2)
    torch.save({name: 3 * value for name, value in model.state_dict().items()}, path := tmp_path / "ebm.pth")
    return path


def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def plain(state, z):
    """The energy as the paper draws it."""
    z = F.conv2d(z, state["f.0.weight"], state["f.0.bias"], padding=1)
    for layer in (2, 4, 6):
        z = torch.where(z > 0, z, 0.05 * z)
        z = F.conv2d(z, state[f"f.{layer}.weight"], state[f"f.{layer}.bias"], stride=2, padding=1)
    return F.conv2d(torch.where(z > 0, z, 0.05 * z), state["f.8.weight"], state["f.8.bias"]).flatten()


def test_chain_equals_the_released_one_in_the_units_of_the_release(file):
    """z moves by -dU/dz + 0.01 noise, in [-1,1], without a clamp."""
    purifier, x = ebm_langevin_hill(weights=str(file), steps=30), images()
    with seeded("hill"):
        found = purifier(x)
    with seeded("hill"):
        seeds = torch.randint(2**62, (30,)).tolist()
    state = {name: value.double() for name, value in torch.load(file).items()}
    z = 2 * x.double() - 1
    for seed in seeds:
        leaf = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(plain(state, leaf).sum(), leaf)
        z = z - slope + 0.01 * seeded_noise(x, seed).double()
    assert (found - (z + 1) / 2).abs().max() <= 1e-4
    assert found.min() < 0 or found.max() > 1, "the release does not clamp"


def test_published_energy_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in HillEnergy().parameters()) == 693_569
    assert HillEnergy()(torch.rand(2, 3, 32, 32)).shape == (2,)


def test_exact_gradient_is_the_identity_with_and_without_running_the_chain_again(file):
    short = ebm_langevin_hill(weights=str(file), steps=5)
    energy = short.energy
    again = EBMLangevin(energy, steps=5, rate=0.25, temperature=5e-5, clamp=False)
    weight = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for purifier in (short, again):
        asked = images().requires_grad_()
        with seeded("identity"):
            (slope,) = torch.autograd.grad((purifier(asked) * weight).sum(), asked)
        assert torch.equal(slope, weight)
    with seeded("a"):
        plain_result = short(images())
    with seeded("a"):
        assert torch.equal(short(images().requires_grad_()), plain_result)


def test_exact_attacks_have_the_gradient_of_the_identity(file):
    """The gradient of the view `exact` is that of `bpda`, whose surrogate is the identity.

    Finite differences may differ from it, because the slope of a piecewise linear energy jumps at its kinks; so attacks
    without gradients say more about this purifier.
    """
    with seeded("classifier"):
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(768, 5))
    defense = Defense(classifier, ebm_langevin_hill(weights=str(file), steps=5))
    weight, gradients = torch.randn(2, 5, generator=torch.Generator().manual_seed(2)), []
    for view in (exact, bpda):
        asked = images().requires_grad_()
        with seeded("view"):
            purified = view(defense).purify(asked)
        assert (purified - asked).abs().max() > 1e-3
        gradients += torch.autograd.grad((classifier(purified) * weight).sum(), asked)
    assert torch.equal(*gradients)
    assert gradients[0].abs().max() > 0


def test_check_finds_that_the_gradient_agrees_with_finite_differences(tmp_path):
    """`purebench check` on an energy whose kinks are small, so that its chain moves images by nearly the same step."""
    with seeded("hill"):
        torch.save(HillEnergy(channels=3, width=4, side=2).state_dict(), path := tmp_path / "ebm.pth")
    with seeded("classifier"):
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(768, 5))
    defense = Defense(classifier, ebm_langevin_hill(weights=str(path), steps=5))
    found = slopes(defense, images(), torch.tensor([0, 1]), DeviceBatch(2))
    assert (found.missing, found.off.size) == ("", 2)
    assert not found.flat.any()
    assert not found.off.any()


def test_backward_pass_does_not_run_the_chain_again(file, monkeypatch):
    purifier, calls = ebm_langevin_hill(weights=str(file), steps=7), []
    forward = purifier.energy.forward
    monkeypatch.setattr(purifier.energy, "forward", lambda x: calls.append(1) or forward(x))
    asked = images().requires_grad_()
    purifier(asked).sum().backward()
    assert len(calls) == 7


def test_preset_has_the_released_settings(file):
    purifier = ebm_langevin_hill(weights=str(file))
    assert purifier.steps == 1500
    assert 2 * purifier.rate * 2 == 1, "d/dx = 2 d/dz, and x moves half as far as z"
    assert 2 * math.sqrt(2 * purifier.rate * purifier.temperature) == pytest.approx(0.01)


def test_file_is_named_converted_and_checked(file, tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    with pytest.raises(MissingFiles, match=r"ebm/ebm\.pth .*licence MIT"):
        create("defenses", Spec("ebm-langevin/hill"))
    out = tmp_path / "hill.safetensors"
    assert convert(file, out) == "hill-energy"
    x = images()
    made = [ebm_langevin_hill(weights=str(path), steps=2).energy(x) for path in (file, out)]
    assert torch.equal(*made)
    torch.save({"f.0.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(PurebenchError, match="energy of five convolutions"):
        ebm_langevin_hill(weights=str(tmp_path / "other.pth"))
