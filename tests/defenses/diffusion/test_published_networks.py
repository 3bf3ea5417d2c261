"""Tests the networks of EDM and DDPM, conversions, and that files of another parametrisation are told apart."""

from __future__ import annotations

import math

import plain_networks as plain
import plain_published as published
import pytest
import torch
from typer.testing import CliRunner

from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.architectures.checkpoint_layouts import (
    PUBLISHED,
    guided_architecture,
    is_published,
)
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.defenses.diffusion.architectures.edm import EDM, coefficients
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.architectures.ho_unet import HoUNet
from purebench.defenses.diffusion.diffpure import diffpure
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.sampling import noise_levels
from purebench.defenses.official_files import convert

SMALL_EDM = {"size": 8, "width": 8, "multiples": [1, 2], "blocks": 2, "attended": [False, True]}
SMALL_HO = {"channels": 3, "width": 16, "multiples": [1, 2], "blocks": 2, "attended": [False, True]}
SMALL_GUIDED = {"width": 16, "multiples": (1, 2), "blocks": 1, "attended": (False, True), "groups": 8, "head_width": 16}
HEADS = {"head_width": 16, "groups": 8}
LINEAR = {"parametrisation": "linear"}
STATED = {**HEADS, "split_first": False, **LINEAR}


def edm_state(**more):
    state = plain.random_state(EDM(**{**SMALL_EDM, **more}))
    return {name: torch.full_like(value, 0.25) if "filter" in name else value for name, value in state.items()}


def ho_state():
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) / math.sqrt(max(math.prod(shape[1:]), 4))
        for name, shape in published.ho_shapes(**SMALL_HO).items()
    }


def inputs(size=8):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, size, size, generator=generator), torch.tensor([3, 420])


def saved(tmp_path, content, name="net.pt"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("augmented", [0, 9])
def test_edm_equals_the_reference_forward_pass(tmp_path, sigma, augmented):
    state = edm_state(augmented=augmented)
    model = network(saved(tmp_path, state), None if augmented else {"parametrisation": "edm"})
    assert isinstance(model, EDM)
    assert model.architecture == {"channels": 3, **SMALL_EDM, "augmented": augmented}
    x, _ = inputs()
    expected = published.EDM(state)(x, sigma, [8, 4], 2)
    found = model.denoise(x, torch.full((2,), sigma))
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_edm_layout_without_augmentation_labels_needs_a_statement(tmp_path):
    """NVIDIA's VPPrecond holds a network of the same keys."""
    path = saved(tmp_path, {"ema": edm_state(augmented=0)})
    with pytest.raises(PurebenchError, match=r"expected augmentation labels.*VPPrecond.*\{'parametrisation': 'edm'\}"):
        network(path)
    for wrong in ("linear", "vp"):
        with pytest.raises(PurebenchError, match=f"parametrisation: expected edm .* but got '{wrong}'"):
            network(path, {"parametrisation": wrong})
    out = tmp_path / "net.safetensors"
    convert(path, out, architecture={"parametrisation": "edm"})
    assert isinstance(network(out), EDM), "a converted file needs no statement"


def test_edm_attends_where_the_published_files_do():
    """In every encoder block at 16 pixels, the first decoder block at 8, and the last decoder block at 16."""
    with torch.device("meta"):
        keys = EDM().state_dict()
    assert {name.removesuffix(".qkv.weight") for name in keys if name.endswith(".qkv.weight")} == {
        *(f"model.enc.16x16_block{number}" for number in range(4)),
        "model.dec.8x8_in0",
        "model.dec.16x16_block4",
    }
    assert {name for name in keys if "_up" in name and "filter" in name} == {
        f"model.dec.{side}x{side}_up.{part}.resample_filter" for side in (16, 32) for part in ("conv0", "skip")
    }


def test_coefficients_of_edm_at_the_deviation_of_the_data():
    found = [float(value) for value in coefficients(torch.tensor([0.5]))]
    assert found == pytest.approx([0.5, 0.3536, 1.4142, -0.1733], abs=5e-5)


def test_edm_returns_the_image_where_there_is_no_noise():
    model = EDM(**SMALL_EDM)
    model.load_state_dict(edm_state())
    x, _ = inputs()
    assert torch.allclose(model.denoise(x, torch.full((2,), 1e-6)), x, atol=1e-4)


def test_edm_predicts_the_noise_that_its_denoiser_implies():
    """x_t = sqrt(a)·x_0 + sqrt(1-a)·eps, so eps = (x_t/sqrt(a) - D)/sigma with sigma² = (1-a)/a."""
    model = EDM(**SMALL_EDM)
    model.load_state_dict(edm_state())
    x, t = inputs()
    for place, i in enumerate(t.tolist()):
        level = float(noise_levels()[i])
        sigma = math.sqrt((1 - level) / level)
        clean = model.denoise(x / math.sqrt(level), torch.full((2,), sigma))
        expected = (x / math.sqrt(level) - clean) / sigma
        assert torch.allclose(model(x, t)[place], expected[place], rtol=1e-3, atol=1e-4)
    between = model(x, torch.tensor([3.5, 420.5]))
    assert (between - model(x, t)).abs().max() > 0
    assert model(x, torch.tensor([999, 999])).isfinite().all()


def test_second_derivatives_of_edm_exist():
    model = EDM(**SMALL_EDM)
    model.load_state_dict(edm_state())
    x = inputs()[0][:1].double().requires_grad_()
    value = model.double().denoise(x, torch.tensor([0.5])).square().sum()
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.square().sum(), x)
    assert bend.abs().max() > 0


def test_ddpm_unet_equals_the_reference_forward_pass(tmp_path):
    state = ho_state()
    model = network(saved(tmp_path, state, "model-790000.ckpt"), {"groups": 8})
    assert isinstance(model, HoUNet)
    assert model.architecture == {**SMALL_HO, "groups": 8}
    x, t = inputs()
    expected = published.HoUNet(state, 8)(x, t, 2, 2)
    assert torch.allclose(model(x, t), expected, atol=1e-4 * float(expected.abs().max()))


def test_published_networks_have_the_published_number_of_parameters():
    """The keys of DDPM's U-Net give the 143 MB of the published file in float32; DDPM++ of EDM has 4 blocks a level."""
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in HoUNet().parameters())
        shapes = published.ho_shapes(3, 128, (1, 2, 2, 2), 2, (False, True, False, False))
        assert size == sum(math.prod(shape) for shape in shapes.values()) == 35_746_307
        assert size * 4 == pytest.approx(143_046_049, rel=1e-3)
        assert sum(parameter.numel() for parameter in GuidedUNet().parameters()) == 552_814_086
        assert sum(parameter.numel() for parameter in DDPMpp(blocks=8).parameters()) == 106_632_579


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({**edm_state(), "model.map_label.weight": torch.ones(8, 10)}, "conditioned on classes"),
        ({**edm_state(), "model.map_noise.freqs": torch.ones(4)}, r"NCSN\+\+ \(VE\)"),
        ({name: value for name, value in edm_state().items() if "8x8_conv" not in name}, "does not fit"),
        ({name: value for name, value in edm_state().items() if "aux_norm" not in name}, "'model.dec.8x8_aux_norm"),
        ({name: value for name, value in ho_state().items() if "conv_in" not in name}, "'conv_in.weight' is missing"),
    ],
)
def test_files_of_other_families_are_rejected_with_the_reason(tmp_path, state, message):
    with pytest.raises(PurebenchError, match=message):
        network(saved(tmp_path, state))


@pytest.mark.parametrize("missing", [*sorted(STATED.keys() - {"groups"}), None])
@pytest.mark.parametrize("change", [{}, {"outputs": 3}, {"residual_resize": False}])
def test_what_the_keys_leave_open_must_be_stated(tmp_path, change, missing):
    """The layouts of guided-diffusion, of EDM's and consistency models' networks, and of improved-diffusion."""
    path = saved(tmp_path, plain.random_state(GuidedUNet(**SMALL_GUIDED | change)), "cd_bedroom256_l2.pt")
    stated = {name: value for name, value in STATED.items() if name != missing}
    if missing is None:
        assert network(path, stated) is not None
        by_number = {name: value for name, value in stated.items() if name != "head_width"} | {"heads": 1}
        assert network(path, by_number) is not None
        return
    with pytest.raises(PurebenchError, match=rf"expected the published network.* state {missing}[:,]"):
        network(path, stated)
    with pytest.raises(PurebenchError, match=f"state {missing}"):
        convert(path, tmp_path / "out.safetensors", architecture=stated)


def test_another_parametrisation_is_refused(tmp_path):
    path = saved(tmp_path, plain.random_state(GuidedUNet(**SMALL_GUIDED)))
    with pytest.raises(PurebenchError, match=r"parametrisation: expected linear .* but got 'edm'"):
        network(path, {**STATED, "parametrisation": "edm"})


def test_networks_of_other_heads_or_orders_have_equal_keys_and_other_outputs():
    """So nothing but a statement tells them apart."""
    x, t = inputs()
    made = [GuidedUNet(**SMALL_GUIDED | change).eval() for change in ({}, {"heads": 1}, {"split_first": True})]
    state = plain.random_state(made[0])
    outputs = []
    for model in made:
        model.load_state_dict(state)
        outputs.append(model(x, t))
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-4)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-4)


def test_the_published_guided_network_needs_no_statement():
    """Its keys and shapes are those of the published file; without memory for its values."""
    with torch.device("meta"):
        state = GuidedUNet().state_dict()
    assert is_published(guided_architecture(state))
    with torch.device("meta"):
        model = GuidedUNet(**PUBLISHED)
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }


@pytest.mark.parametrize(
    ("change", "family"),
    [
        (lambda state: {"all_modules.0.W": torch.ones(8), **state}, r"NCSN\+\+ of the VE family"),
        (lambda state: {**state, "all_modules.3.NIN_0.W": torch.ones(2, 2)}, r"DDPM \(no BigGAN"),
    ],
)
def test_other_families_of_score_sde_are_named(tmp_path, change, family):
    """Their moving averages do not fit either, but that is not the reason."""
    state = change(plain.random_state(DDPMpp(width=16, multiples=(1,), blocks=1, attended=(False,))))
    wrapped = {"model": {f"module.{name}": value for name, value in state.items()}, "ema": {"shadow_params": []}}
    with pytest.raises(PurebenchError, match=family):
        network(saved(tmp_path, wrapped))


FILES = {
    "edm": (lambda: {"ema": edm_state()}, {}, "took 'ema'"),
    "ho-unet": (lambda: {"module." + name: value for name, value in ho_state().items()}, {"groups": 8}, "'module.'"),
    "ddpm++": (
        lambda: plain.random_state(DDPMpp(width=16, multiples=(1,), blocks=1, attended=(True,))),
        LINEAR,
        "",
    ),
    "guided-unet": (
        lambda: {name: value.half() for name, value in plain.random_state(GuidedUNet(**SMALL_GUIDED)).items()},
        STATED,
        "of 16 bits",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_converted_network_is_the_same(tmp_path, kind):
    content, options, note = FILES[kind]
    path, out = saved(tmp_path, content()), tmp_path / "net.safetensors"
    told = convert(path, out, architecture=options)
    assert told.startswith(kind)
    assert note in told
    original, converted = network(path, options), network(out)
    x, t = inputs()
    assert torch.equal(original(x, t), converted(x, t))
    assert original.notes == tuple(told.split("; ")[1:])
    assert diffpure(weights=str(out), t=20, steps=2)(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)


def test_command_converts_a_network_and_says_what_it_did(tmp_path):
    path = saved(tmp_path, {"ema": ho_state(), "model": ho_state()})
    found = CliRunner().invoke(
        app, ["convert", str(path), str(tmp_path / "n.safetensors"), "--architecture", "groups=8"]
    )
    assert found.exit_code == 0, found.output
    assert "ho-unet; took 'ema', not 'model'" in " ".join(found.output.split())


def test_label_of_score_sde_is_the_time_or_the_index(tmp_path):
    path = saved(tmp_path, plain.random_state(DDPMpp(width=16, multiples=(1,), blocks=1, attended=(True,))))
    x, _ = inputs()
    by_time, by_index = network(path, LINEAR), network(path, LINEAR, label="index")
    i = torch.full((2,), 200.0)
    assert torch.allclose(by_index(x, 0.999 * (i + 1)), by_time(x, i), atol=1e-5)
    assert not torch.allclose(by_index(x, i), by_time(x, i), atol=1e-3)
    with pytest.raises(PurebenchError, match="label: expected time or index"):
        network(path, label="step")
