"""Tests the StyleGAN2 generator against a reference implementation and known properties."""

from __future__ import annotations

import official_layout as layout
import plain_stylegan as plain
import pytest
import torch

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.stylegan.generator import Generator
from purebench.defenses.mlvgm.stylegan.modulated import Doubling, ModulatedConv, PixelNorm

DIM = layout.TINY.widths[-1]


def random_generator(size: int) -> tuple[Generator, dict[str, torch.Tensor]]:
    """Return a generator with random weights, including the noise maps, and these weights."""
    shapes = layout.prefixed("decoder.", layout.generator_shapes(size, layout.TINY))
    state = plain.under(layout.random_state(shapes, seed=size), "decoder.")
    generator = Generator(size=size, style_dim=DIM, mappings=layout.TINY.mappings, channels=layout.TINY.channels)
    generator.load_state_dict(state)
    return generator.requires_grad_(False), state


def some_codes(generator: Generator, count: int = 3) -> torch.Tensor:
    return torch.randn(count, generator.codes, DIM, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [8, 16, 32])
def test_images_agree_with_the_formulas(size):
    generator, state = random_generator(size)
    codes = some_codes(generator)
    expected = torch.cat([plain.generated(state, code) for code in codes])
    assert all(float(value.abs()) > 0.01 for name, value in state.items() if name.endswith("noise.weight"))
    assert expected.std() > 0.1
    assert torch.allclose(generator(codes), expected, atol=1e-4)


def test_mapping_agrees_with_the_formulas_and_depends_only_on_the_direction():
    generator, state = random_generator(8)
    z = torch.randn(5, DIM, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([plain.mapped(state, one) for one in z])
    assert torch.allclose(generator.mapping(z), expected, atol=1e-5)
    assert torch.allclose(generator.mapping(0.8 * z), expected, atol=1e-5)


@pytest.mark.parametrize("size", [512, 1024])
def test_official_sizes_have_the_official_keys_and_shapes(size):
    with torch.device("meta"):
        generator = Generator(size=size)
    wanted = layout.generator_shapes(size, layout.OFFICIAL)
    assert {name: tuple(value.shape) for name, value in generator.state_dict().items()} == wanted
    assert generator.codes == {512: 16, 1024: 18}[size]


def test_official_generator_has_the_published_number_of_parameters():
    """30.37 M in total: 28.27 M of the synthesis network and 8 × (512² + 512) of the mapping network."""
    with torch.device("meta"):
        generator = Generator(size=1024)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 30_370_060
    assert sum(parameter.numel() for parameter in generator.style.parameters()) == 8 * (512 * 512 + 512)


def test_untrained_generator_gives_images_of_about_unit_deviation():
    with seeded("fresh"):
        generator = Generator(size=32, style_dim=32, mappings=2, channels=dict.fromkeys((4, 8, 16, 32), 32), colours=1)
        image = generator(generator.mapping(torch.randn(generator.codes * 16, 32)).unflatten(0, (16, -1)))
    assert image.shape == (16, 1, 32, 32)
    assert 0.3 < float(image.detach().std()) < 5


def test_batches_agree_with_single_images():
    generator, _ = random_generator(16)
    codes = some_codes(generator)
    alone = torch.cat([generator(code[None]) for code in codes])
    assert torch.allclose(generator(codes), alone, atol=1e-5)


def test_every_code_affects_the_image():
    generator, _ = random_generator(16)
    codes = some_codes(generator, 1)
    before = generator(codes)
    for changed in range(generator.codes):
        moved = codes.clone()
        moved[:, changed] += 0.5
        assert (generator(moved) - before).abs().max() > 1e-3, f"code {changed}"


def test_stored_noise_is_fixed_and_given_noise_replaces_it():
    generator, _ = random_generator(16)
    codes = some_codes(generator)
    first = generator(codes)
    assert torch.equal(first, generator(codes))
    assert torch.allclose(first, generator(codes, generator.stored_noise()), atol=1e-6)
    with seeded("noise"):
        fresh = generator.fresh_noise(len(codes))
    assert [tuple(one.shape) for one in fresh] == [(3, 1, 4, 4), *[(3, 1, 8, 8)] * 2, *[(3, 1, 16, 16)] * 2]
    assert (generator(codes, fresh) - first).abs().max() > 0.1
    alone = generator(codes[1:2], [one[1:2] for one in fresh])
    assert torch.allclose(generator(codes, fresh)[1:2], alone, atol=1e-5)


def test_gradient_of_the_codes_matches_finite_differences(gradient_error):
    generator, _ = random_generator(8)
    generator = generator.double()
    gradient, error = gradient_error(
        lambda codes: generator(codes)[:, 0].reshape(codes.shape), some_codes(generator, 2).double(), "none"
    )
    assert gradient.abs().max() > 1e-3
    assert error <= 1e-5


@pytest.mark.parametrize("up", [False, True])
def test_demodulation_removes_the_scale_of_a_style(up):
    """By equation 3 the weights of an output channel have norm 1 for any common factor of the styles."""
    with seeded("demodulation"):
        conv = ModulatedConv(6, 5, 3, 4, up=up)
        x, code = torch.randn(2, 6, 8, 8), torch.randn(2, 4)
    before = conv(x, code)
    with torch.no_grad():
        for parameter in conv.modulation.parameters():
            parameter.mul_(7)
    assert torch.allclose(conv(x, code), before, atol=1e-5)


def test_doubling_preserves_constants_and_ramps():
    """A constant stays constant; pixel j of a ramp becomes two values a quarter of a pixel from its centre."""
    doubled = Doubling()(torch.full((1, 2, 6, 6), 3.0))
    assert torch.allclose(doubled[:, :, 1:-1, 1:-1], torch.tensor(3.0))
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    expected = (torch.arange(12) - 0.5) / 2
    assert torch.allclose(Doubling()(ramp)[0, 0, 5, 1:-1], expected[1:-1])


def test_pixel_norm_gives_unit_mean_squares():
    x = 9 * torch.randn(4, 11, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(PixelNorm()(x).square().mean(1), torch.ones(4))


@pytest.mark.parametrize(("size", "message"), [(24, "power of two"), (4, "at least 8"), (64, r"none at \[64\]")])
def test_invalid_sizes_are_rejected(size, message):
    with pytest.raises(PurebenchError, match=message):
        Generator(size=size, channels={4: 4, 8: 4, 16: 4, 32: 4})


def test_codes_of_the_wrong_shape_are_rejected():
    generator, _ = random_generator(8)
    with pytest.raises(PurebenchError, match=r"expected codes \[N,4,16\], but got \[1, 6, 16\]"):
        generator(torch.zeros(1, 6, 16))
