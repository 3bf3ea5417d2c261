"""Tests that networks load strictly from each file layout and agree with the reference forward passes."""

from __future__ import annotations

import json
import math

import plain_networks as plain
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.architectures.checkpoint_layouts import ddpmpp_architecture, guided_architecture
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.defenses.diffusion.architectures.folded_unet import FoldedUNet
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.diffpure import diffpure
from purebench.defenses.diffusion.networks import network

HEADS = {"head_width": 16, "groups": 8}
LINEAR = {"parametrisation": "linear"}
STATED = {**HEADS, "split_first": False, **LINEAR}
GUIDED = {
    "blocks resize": {"width": 16, "multiples": (1, 2), "blocks": 1, "attended": (False, True), **HEADS},
    "convolutions resize": {
        **{"width": 16, "multiples": (1, 1, 2), "blocks": 2, "attended": (False, True, True), "outputs": 3},
        **{"modulated": False, "residual_resize": False, "split_first": True, **HEADS},
    },
    "one level": {"width": 32, "multiples": (1,), "blocks": 2, "attended": (True,), **HEADS},
}
DDPMPP = {
    "as cifar10": {"width": 16, "multiples": (1, 2, 2), "blocks": 2, "attended": (False, True, False)},
    "one block": {"width": 16, "multiples": (1, 2), "blocks": 1, "attended": (True, True), "channels": 1},
    "one level": {"width": 16, "multiples": (1,), "blocks": 1, "attended": (True,)},
}


def inputs(channels=3, size=8):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, size, size, generator=generator), torch.tensor([3, 420])


@pytest.mark.parametrize("architecture", GUIDED.values(), ids=GUIDED)
def test_guided_diffusion_checkpoint_agrees_with_the_reference_forward_pass(tmp_path, architecture):
    state = plain.random_state(GuidedUNet(**architecture))
    torch.save(state, path := tmp_path / "256x256_uncond.pt")
    known = {name: architecture[name] for name in ("head_width", "groups", "split_first") if name in architecture}
    model = network(str(path), STATED | known)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    x, t = inputs()
    slow = plain.GuidedUNet(state, 8, 16, architecture.get("split_first", False))
    expected = slow(x, t, len(architecture["multiples"]), architecture["blocks"])
    assert torch.allclose(model(x, t), expected, atol=1e-4 * float(expected.abs().max()))
    assert model(x, t).shape == x.shape
    assert (model(x, t) - model(x, t + 100)).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", GUIDED.values(), ids=GUIDED)
def test_guided_diffusion_architecture_is_inferred_from_its_keys(architecture):
    known = guided_architecture(GuidedUNet(**architecture).state_dict())
    assert {**{"outputs": 6, "modulated": True, "residual_resize": True}, **architecture}.items() >= {
        name: value
        for name, value in known.items()
        if name not in ("multiples", "attended", "channels")
        and not (name == "residual_resize" and len(known["multiples"]) == 1)
    }.items()
    assert (tuple(known["multiples"]), tuple(known["attended"])) == (
        architecture["multiples"],
        architecture["attended"],
    )


def test_published_networks_have_the_published_number_of_parameters():
    """552.8 million for ImageNet at 256 pixels; 61.8 and 106.6 million for CIFAR-10's DDPM++ and its deeper variant."""
    with torch.device("meta"):
        for model, millions in ((GuidedUNet(), 552.8), (DDPMpp(), 61.8), (DDPMpp(blocks=8), 106.6)):
            size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            assert size == pytest.approx(millions, abs=0.05)


def training_state(architecture, averaged=True):
    """Return a training state in score_sde's layout (with the names of DataParallel) and the expected weights."""
    model = plain.random_state(DDPMpp(**architecture))
    names = {f"module.{name}": value for name, value in model.items()}
    shadows = [value * 0.7 for value in model.values()]
    found = {
        "optimizer": {"state": {}, "param_groups": []},
        "model": {"module.sigmas": torch.linspace(50, 0.01, 1000), **names},
        "step": 7,
    }
    if averaged:
        found["ema"] = {"decay": 0.9999, "num_updates": 7, "shadow_params": shadows}
    return found, {name: value * (0.7 if averaged else 1) for name, value in model.items()}


@pytest.mark.parametrize("architecture", DDPMPP.values(), ids=DDPMPP)
@pytest.mark.parametrize("averaged", [True, False])
def test_score_sde_checkpoint_agrees_with_the_reference_forward_pass(tmp_path, architecture, averaged):
    found, state = training_state(architecture, averaged)
    torch.save(found, path := tmp_path / "checkpoint_8.pth")
    model = network(str(path), LINEAR)
    x, t = inputs(architecture.get("channels", 3))
    slow = plain.DDPMpp(state)
    expected = slow(x, t, len(architecture["multiples"]), architecture["blocks"], architecture["attended"])
    assert torch.allclose(model(x, t), expected, atol=1e-4 * float(expected.abs().max()))
    assert (model(x, t) - model(x, t + 100)).abs().max() > 1e-3
    known = ddpmpp_architecture(state)
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()} == {
        "channels": 3,
        **architecture,
    }


def guided_state():
    return plain.random_state(GuidedUNet(**GUIDED["blocks resize"]))


def without_key(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without_key(state, "middle_block.1.qkv.bias"), "expected the key 'middle_block.1.qkv.bias'"),
        (lambda state: {**state, "out.3.weight": torch.ones(1)}, "got 'out.3.weight' too"),
        (lambda state: {**state, "out.2.bias": torch.ones(5)}, r"'out.2.bias' of shape \[6\], but got \[5\]"),
        (lambda state: {**state, "out.0.bias": state["out.0.bias"] * math.nan}, "'out.0.bias' holds NaN"),
        (lambda state: {**state, "label_emb.weight": torch.ones(10, 64)}, "conditioned on classes"),
        (lambda state: without_key(state, "out.2.weight"), "'out.2.weight' is missing"),
        (lambda state: {"weights": torch.ones(1)}, "guided-diffusion.*score_sde.*but got weights"),
    ],
)
def test_invalid_guided_diffusion_checkpoint_is_rejected_with_the_reason(tmp_path, change, message):
    torch.save(change(guided_state()), path := tmp_path / "other.pt")
    with pytest.raises(PurebenchError, match=message):
        network(str(path), STATED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["model"].pop("module.all_modules.1.bias"), "all_modules.1.bias'.*missing"),
        (lambda found: found["model"].pop("module.all_modules.3.Conv_0.weight"), "'all_modules.3.Conv_0.weight'"),
        (lambda found: found["model"].update({"module.all_modules.99.b": torch.ones(1)}), "all_modules.99.b' too"),
        (lambda found: found["ema"]["shadow_params"].pop(), "moving averages"),
    ],
)
def test_invalid_score_sde_checkpoint_is_rejected_with_the_reason(tmp_path, change, message):
    found, _ = training_state(DDPMPP["as cifar10"], averaged="moving" in message)
    change(found)
    torch.save(found, path := tmp_path / "checkpoint.pth")
    with pytest.raises(PurebenchError, match=message):
        network(str(path), LINEAR)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vp/checkpoint_8.pth", "the keys do not reveal which this one is"),
        ("subvp/cifar10_ddpmpp_continuous/checkpoint_26.pth", r"checkpoint_26\.pth is called sub-VP"),
        ("Sub-VP.pt", "is called sub-VP"),
    ],
)
def test_vp_networks_of_score_sde_are_told_from_sub_vp_by_a_statement(tmp_path, name, message):
    found, _ = training_state(DDPMPP["one level"])
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(found, path)
    with pytest.raises(PurebenchError, match=rf"expected a VP network.*{message}.*{{'parametrisation': 'linear'}}"):
        network(path)
    with pytest.raises(PurebenchError, match="expected linear"):
        network(path, {"parametrisation": "subvp"})
    assert isinstance(network(path, LINEAR), DDPMpp)


def test_invalid_options_are_rejected(tmp_path):
    torch.save(guided_state(), path := tmp_path / "other.pt")
    with pytest.raises(PurebenchError, match="expected an architecture that can be built"):
        network(str(path), STATED | {"head_size": 3})
    with pytest.raises(PurebenchError, match="expected no architecture"):
        network("fashion-ddpm", HEADS)
    with pytest.raises(PurebenchError, match="there is no such file"):
        network(str(tmp_path / "nothing.pt"))
    for other in ([1], "x"):
        with pytest.raises(PurebenchError, match="architecture: expected arguments by name"):
            network(tmp_path, other)


@pytest.fixture(params=[True, False], ids=["safetensors", "bin"])
def folder(tmp_path, request):
    """A folder with a small network saved by diffusers, and this network."""
    with seeded("diffusers"):
        model = UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
        ).eval()
    model.save_pretrained(tmp_path / "unet", safe_serialization=request.param)
    return tmp_path / "unet", model


def test_network_from_a_diffusers_folder_agrees_with_diffusers(folder):
    place, model = folder
    x, t = inputs(1)
    with torch.no_grad():
        assert torch.allclose(network(str(place), LINEAR)(x, t), model(x, t).sample, atol=1e-6)


def test_diffusers_folder_without_its_scheduler_needs_a_statement(folder):
    """A copied `unet` folder does not reveal whether it predicts the noise, or under which schedule."""
    place, _ = folder
    with pytest.raises(
        PurebenchError, match=r"expected scheduler_config\.json .* architecture=\{'parametrisation': 'linear'"
    ):
        network(place)
    for other in ({"parametrisation": "edm"}, {**LINEAR, "width": 8}):
        with pytest.raises(PurebenchError, match="expected no architecture but parametrisation=linear"):
            network(place, other)
    for other in ({"parametrisation": "edm"}, {"parametrisation": None}):
        with pytest.raises(PurebenchError, match=r"; state architecture=\{'parametrisation': 'linear'\} if"):
            network(place, other)
    DDPMScheduler().save_pretrained(place)
    network(place)
    with pytest.raises(PurebenchError, match="; leave it out"):
        network(place, {"parametrisation": None})
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(place)
    with pytest.raises(PurebenchError, match="expected beta_schedule"):
        network(place, LINEAR)


@pytest.mark.parametrize(
    "wrong",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"prediction_type": "v_prediction"},
        {"beta_end": 0.03},
        {"trained_betas": [0.01] * 1000},
        {"rescale_betas_zero_snr": True},
    ],
)
def test_schedules_other_than_the_linear_one_are_rejected(folder, wrong):
    place, _ = folder
    stated = place.parent / "scheduler"
    DDPMScheduler().save_pretrained(stated)
    network(place)
    DDPMScheduler(**wrong).save_pretrained(stated)
    with pytest.raises(PurebenchError, match=f"expected {next(iter(wrong))}") as caught:
        network(place)
    assert len(str(caught.value)) < 400


def test_scheduler_that_states_no_schedule_is_rejected(folder):
    """Those of other families have none, such as FlowMatchEulerDiscreteScheduler; older ones lack some entries."""
    place, _ = folder
    (place / "scheduler_config.json").write_text(json.dumps({"num_train_timesteps": 1000}), encoding="utf-8")
    with pytest.raises(PurebenchError, match='expected beta_schedule "linear", but got none'):
        network(place)
    for other in ("[]", '"x"', "null"):
        (place / "scheduler_config.json").write_text(other, encoding="utf-8")
        with pytest.raises(PurebenchError, match="expected a JSON object, but got"):
            network(place)
    old = {"beta_schedule": "linear", "beta_end": 0.02, "trained_betas": None}
    (place / "scheduler_config.json").write_text(json.dumps(old), encoding="utf-8")
    network(place)


def test_invalid_diffusers_folder_is_rejected_with_the_reason(folder):
    place, _ = folder
    DDPMScheduler().save_pretrained(place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**config, "add_attention": False}), encoding="utf-8")
    with pytest.raises(PurebenchError, match="among the unexpected keys"):
        network(str(place))
    (place / "config.json").unlink()
    with pytest.raises(PurebenchError, match="expected a folder of diffusers' UNet2DModel"):
        network(str(place))


def test_purifier_gradient_through_a_loaded_network_matches_finite_differences(tmp_path, gradient_error):
    """The network is loaded from a file in guided-diffusion's layout."""
    torch.save(guided_state(), path := tmp_path / "guided.pt")
    purifier = diffpure(weights=str(path), architecture=STATED, t=40, steps=2).double()
    x = 0.4 + 0.2 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient, error = gradient_error(purifier, x, "gradient")
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-5
    assert isinstance(network("fashion-ddpm"), FoldedUNet)
