"""Tests both official StyleGAN2 autoencoders as models of a purifier, and that invalid files are rejected."""

from __future__ import annotations

import copy

import official_layout as layout
import pytest
import torch

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import load, save
from purebench.defenses.mlvgm.purifier import MLVGMPurifier
from purebench.defenses.mlvgm.stylegan.irse import Pyramid
from purebench.defenses.mlvgm.stylegan.official import load_e4e, load_style_transformer

IMAGE = 32
TINY = layout.architecture(layout.TINY, image=IMAGE)


@pytest.fixture
def x():
    return torch.rand(4, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0))


def encoded(i, code, sample):
    return code


def sampled(i, code, sample):
    return sample


def test_purifier_with_alpha_zero_is_the_autoencoder(autoencoder, x):
    purifier = MLVGMPurifier(autoencoder, schedule=[0.0] * autoencoder.latents, attenuation=1.0)
    assert torch.equal(purifier(x), autoencoder.decode(autoencoder.encode(x)).clamp(0, 1))
    assert torch.equal(purifier(x), purifier(x))


def test_purifier_with_alpha_one_ignores_the_image(autoencoder, x):
    purifier = MLVGMPurifier(autoencoder, schedule="constant", attenuation=1.0)
    asked = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(purifier(asked).square().sum(), asked)
    assert gradient.abs().max() == 0
    torch.manual_seed(0)
    one = purifier(x)
    torch.manual_seed(0)
    assert torch.equal(one, purifier(1 - x))
    assert (purifier(x) - one).abs().max() > 0.1


def test_mix_is_called_once_per_code_from_coarse_to_fine_with_different_samples(autoencoder, x):
    calls, samples = [], []

    def mix(i, code, sample):
        calls.append((i, tuple(code.shape)))
        samples.append(sample)
        return code

    assert autoencoder.autoencode(x, mix).shape == x.shape
    assert calls == [(i, (4, layout.TINY.widths[-1])) for i in range(autoencoder.latents)]
    rows = torch.cat(samples)
    assert (torch.cdist(rows, rows) + 1e3 * torch.eye(len(rows))).min() > 0.1


def test_images_of_a_batch_do_not_influence_each_other(autoencoder, x, assert_images_are_independent):
    purifier = MLVGMPurifier(copy.deepcopy(autoencoder).double(), schedule="linear", attenuation=0.7)
    assert_images_are_independent(purifier, x.double())


def test_batches_agree_with_single_images(autoencoder, x):
    together = autoencoder.autoencode(x, encoded)
    alone = torch.cat([autoencoder.autoencode(image[None], encoded) for image in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_gradients_match_finite_differences(autoencoder, x, gradient_error):
    inside = MLVGMPurifier(copy.deepcopy(autoencoder).double(), schedule="linear", attenuation=0.7)
    gradient, error = gradient_error(
        lambda images: inside.model.autoencode(images, inside.mix), x[:2].double(), "stylegan"
    )
    assert gradient.norm() > 1e-3
    assert error < 1e-4


def test_files_load_frozen_in_eval_mode_on_the_cpu(autoencoder):
    assert not autoencoder.training
    assert not any(parameter.requires_grad for parameter in autoencoder.parameters())
    assert {value.device.type for value in autoencoder.state_dict().values()} == {"cpu"}


def test_model_saved_with_its_architecture_loads_again(autoencoder, tmp_path):
    kept = tmp_path / "kept.safetensors"
    save(kept, autoencoder, "kept", autoencoder.architecture)
    again = load(str(kept), "kept", type(autoencoder))
    assert again.architecture == autoencoder.architecture
    own = autoencoder.state_dict()
    assert all(torch.allclose(value, own[name], rtol=1e-3, atol=1e-3) for name, value in again.state_dict().items())


def test_images_of_another_size_are_rejected(autoencoder, x):
    with pytest.raises(PurebenchError, match=r"expected images \[N,3,32,32\], but got \[4, 3, 16, 32\]"):
        autoencoder.autoencode(x[:, :, ::2], encoded)
    with pytest.raises(PurebenchError, match="resize them"):
        autoencoder.autoencode(x[:, :1], encoded)


def without_key(name):
    return lambda file: file["state_dict"].pop(name)


def with_value(name, value, at="state_dict"):
    return lambda file: (file[at] if at else file).__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without_key("encoder.body.3.shortcut_layer.0.weight"),
            "'encoder.body.3.shortcut_layer.0.weight', but it is miss",
        ),
        (without_key("decoder.noises.noise_4"), "'decoder.noises.noise_4', but it is missing"),
        (
            with_value("encoder.styles.3.convs.6.weight", torch.zeros(16, 16, 3, 3)),
            "but got 'encoder.styles.3.convs.6.weight'",
        ),
        (with_value("discriminator.weight", torch.zeros(2)), "but got 'discriminator.weight' too"),
        (
            with_value("decoder.style.2.weight", torch.zeros(16, 15)),
            "'decoder.style.2.weight' of shape .16, 16., but got .16, 15",
        ),
        (with_value("decoder.style.2.bias", torch.full((16,), torch.nan)), "'decoder.style.2.bias' holds NaN"),
        (with_value("encoder_type", "GradualStyleEncoder", "opts"), "'Encoder4Editing', but got 'GradualStyleEncoder'"),
        (with_value("stylegan_size", 32, "opts"), "expected only the model's keys, but got 'encoder.styles.8"),
        (with_value("stylegan_size", "64", "opts"), "'stylegan_size' to be of type int, but got str"),
        (with_value("latent_avg", torch.zeros(18, 16), None), "'latent_avg' of shape .*, but got .18, 16."),
        (lambda file: file.pop("latent_avg"), "entry 'latent_avg'"),
        (lambda file: file.pop("opts"), "entry 'opts'"),
        (lambda file: file.pop("state_dict"), "entry 'state_dict'"),
        (lambda file: file["opts"].pop("start_from_latent_avg"), "entry 'start_from_latent_avg'"),
    ],
)
def test_invalid_e4e_file_is_rejected_with_the_reason(e4e_file, change, message):
    path, _ = e4e_file(change)
    with pytest.raises(PurebenchError, match=message) as error:
        load_e4e(path, **TINY)
    assert "e4e_ffhq_encoder.pt" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_key("encoder.module.z"), "'encoder.module.z', but it is missing"),
        (
            with_value("encoder.module.z", torch.zeros(1, 18, 16)),
            "'encoder.module.z' of shape .1, 12, 16., but got .1, 18, 16",
        ),
        (with_value("encoder.z", torch.zeros(1, 12, 16)), "but got 'encoder.z' too"),
        (
            without_key("decoder.module.to_rgbs.2.upsample.kernel"),
            "'decoder.module.to_rgbs.2.upsample.kernel', but it is m",
        ),
        (with_value("input_nc", 40, "opts"), "input_nc of 3"),
        (with_value("output_size", 64, "opts"), "'encoder.module.z' of shape .1, 10, 16., but got .1, 12, 16"),
        (
            with_value("output_size", 100, "opts"),
            "expected options that make a model, but building it from them failed: .* power of two",
        ),
        (with_value("latent_avg", torch.zeros(1, 12), None), "'latent_avg' of shape"),
    ],
)
def test_invalid_style_transformer_file_is_rejected_with_the_reason(transformer_file, change, message):
    path, _ = transformer_file(change)
    with pytest.raises(PurebenchError, match=message) as error:
        load_style_transformer(path, **TINY, hidden=24)
    assert "style_transformer_cars.pt" in str(error.value)


@pytest.mark.parametrize("changed", [{"widths": (4, 8, 12)}, {"depths": (1, 1, 0, 1)}, {"reduction": 5}])
def test_invalid_body_sizes_are_rejected(changed):
    with pytest.raises(PurebenchError, match="expected four widths divided by the reduction"):
        Pyramid(**({"widths": (4, 8, 12, 16), "depths": (1, 1, 1, 1), "reduction": 4} | changed))
