"""Tests Style-Transformer against the papers' formulas: keys of the file, codes, images and black bars."""

from __future__ import annotations

import official_layout as layout
import plain_stylegan as plain
import pytest
import torch
from torch import nn

from purebench.defenses.mlvgm.stylegan.official import load_style_transformer
from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer

CODES, DIM, DEPTHS, IMAGE, BAR = 12, layout.TINY.widths[-1], layout.TINY.depths, 32, 4
ALPHAS = [i / (CODES - 1) for i in range(CODES)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize("shape", [(DIM,), (1, DIM), (CODES, DIM)])
def test_loaded_model_agrees_with_the_papers_formulas(transformer_file, dtype, tolerance, shape):
    path, file = transformer_file(average=shape)
    model = load_style_transformer(path, **layout.architecture(layout.TINY, image=IMAGE, hidden=24)).to(dtype)
    x = torch.rand(2, 3, IMAGE, IMAGE, dtype=dtype, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    found = model.autoencode(x, lambda i, code, sample: (1 - ALPHAS[i]) * code + ALPHAS[i] * sample)
    torch.manual_seed(5)
    z = torch.randn(CODES, 2, DIM, dtype=dtype)
    state = {name: value.to(dtype) for name, value in file["state_dict"].items()}
    decoder, alphas = plain.under(state, "decoder.module."), torch.tensor(ALPHAS, dtype=dtype)[:, None]
    for n in range(2):
        codes = plain.transformer_codes(state, x[n : n + 1], DEPTHS)[0] + file["latent_avg"].to(dtype)
        assert torch.allclose(model.encode(x)[n], codes, atol=tolerance)
        sampled = torch.stack([plain.mapped(decoder, z[i, n]) for i in range(CODES)])
        drawn = plain.averaged(plain.generated(decoder, (1 - alphas) * codes + alphas * sampled), 2 * IMAGE)
        drawn[:, :, : 2 * BAR] = drawn[:, :, -2 * BAR :] = -1
        expected = plain.averaged(drawn, IMAGE)[0] / 2 + 0.5
        assert expected[:, BAR:-BAR].std() > 0.05
        assert torch.allclose(found[n], expected, atol=tolerance)


def test_full_size_model_has_the_official_keys_and_shapes():
    with torch.device("meta"):
        model = StyleTransformer()
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert found.pop("latent_avg") == (16, 512)
    official = {name.replace("coder.", "coder.module.", 1): shape for name, shape in found.items()}
    assert official == layout.transformer_shapes(512, 1024, layout.OFFICIAL)
    assert model.latents == 16
    encoder, decoder = plain.under(found, "encoder."), plain.under(found, "decoder.")
    # the body of e4e; z; three layers of two attentions of 4, two linear of 2, three norms of 2
    assert len(encoder) == 24 * 15 + 3 * 6 + 7 + 4 + 1 + 3 * (2 * 4 + 2 * 2 + 3 * 2)
    assert len(decoder) == 8 * 2 + 1 + 15 * 5 + 7 + 8 * 4 + 7 + 15
    assert found["encoder.z"] == (1, 16, 512)
    assert found["encoder.transformerlayer_fine.linear1.weight"] == (1024, 512)
    assert found["decoder.noises.noise_14"] == (1, 1, 512, 512)
    assert "decoder.convs.13.conv.weight" in found
    assert "decoder.convs.14.conv.weight" not in found
    layers = [layer for layer in model.encoder.children() if isinstance(layer, nn.TransformerDecoderLayer)]
    assert [layer.self_attn.num_heads for layer in layers] == [4, 4, 4]


def test_bars_are_black_for_any_codes(transformer):
    x = torch.rand(2, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(2))
    image = transformer.autoencode(x, lambda i, code, sample: sample)
    assert image[:, :, :BAR].abs().max() == image[:, :, -BAR:].abs().max() == 0
    assert image[:, :, BAR:-BAR].std() > 0.05


def test_rows_in_the_bars_have_no_gradient_except_those_mixed_in_by_resizing(transformer):
    x = torch.rand(2, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    image = transformer.autoencode(x, lambda i, code, sample: code)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((image * weights).sum(), x)
    seen = gradient.abs().amax((0, 1, 3)) > 0
    assert seen.tolist() == [False] * (BAR - 1) + [True] * (IMAGE - 2 * BAR + 2) + [False] * (BAR - 1)
