"""Tests JPEG by Pillow and its differentiable surrogate, which is JPEG if its rounding is exact."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.defenses.transforms import jpeg


def smooth_images(channels: int, height: int = 24, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    small = torch.rand(3, channels, 4, 4, generator=generator)
    return functional.interpolate(small, size=(height, width), mode="bicubic").clamp(0.05, 0.95)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 90])
def test_surrogate_with_hard_rounding_agrees_with_pillow(monkeypatch, channels, quality):
    """The tolerance covers the rounding of pixels to 255 levels and Pillow's integer arithmetic."""
    monkeypatch.setattr(jpeg, "soft_round", torch.round)
    x, purifier = smooth_images(channels), jpeg.JPEG(quality)
    gap = (purifier(x) - purifier.surrogate(x)).abs()
    lost = (purifier(x) - x).abs()
    assert float(gap.mean()) < 1.5 / 255 * (1 if channels == 1 else 2)
    assert float(gap.mean()) < 0.7 * float(lost.mean())


def test_cosine_transform_is_orthonormal_and_agrees_with_scipy():
    from scipy.fft import dct

    basis = jpeg.cosines()
    assert torch.allclose(basis @ basis.T, torch.eye(8, dtype=torch.float64), atol=1e-12)
    x = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(basis @ x, torch.as_tensor(dct(x.numpy(), norm="ortho")), atol=1e-12)


@pytest.mark.parametrize("quality", [1, 25, 50, 75, 95])
def test_quantisation_tables_agree_with_pillow(quality):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    written = Image.open(file).quantization
    for number, table in enumerate((jpeg.LUMINANCE, jpeg.CHROMINANCE)):
        assert jpeg.quantisation(table, quality).long().flatten().tolist() == list(written[number])


def test_soft_round_is_close_to_rounding_and_has_the_expected_gradient():
    value = torch.linspace(-2, 2, 81, dtype=torch.float64, requires_grad=True)
    found = jpeg.soft_round(value)
    assert float((found.detach() - value.detach().round()).abs().max()) <= 0.125 + 1e-12
    (slope,) = torch.autograd.grad(found.sum(), value)
    assert torch.allclose(slope, 3 * (value - value.round()).detach() ** 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_surrogate_gradient_matches_finite_differences(channels):
    x = smooth_images(channels, 9, 13).double().requires_grad_()  # sides that are not multiples of 8
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.randn(x.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    purifier, step = jpeg.JPEG(30), 1e-7
    (gradient,) = torch.autograd.grad((purifier.surrogate(x) * one).sum(), x)
    ends = [float((purifier.surrogate(x + way * step * other) * one).sum().detach()) for way in (1, -1)]
    assert float((gradient * other).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_images_do_not_influence_each_other_and_the_result_has_no_gradient():
    x, purifier = smooth_images(1), jpeg.JPEG(40)
    assert torch.equal(purifier(x)[1:2], purifier(x[1:2]))
    assert torch.allclose(purifier.surrogate(x)[1:2], purifier.surrogate(x[1:2]), atol=1e-6)
    assert not Defense(torch.nn.Flatten(), purifier)(x.requires_grad_()).requires_grad


@pytest.mark.parametrize("quality", [0, 96, 7.5, True, "high"])
def test_invalid_qualities_are_rejected(quality):
    with pytest.raises(PurebenchError, match=r"jpeg: quality: expected a whole number in 1\.\.95, but got"):
        jpeg.jpeg(quality=quality)


def test_other_numbers_of_channels_are_rejected():
    with pytest.raises(PurebenchError, match="1 or 3 channels, but got 2"):
        jpeg.JPEG(50)(torch.rand(1, 2, 8, 8))
