"""Tests e4e against the papers' formulas: keys of the file, codes and images."""

from __future__ import annotations

import math

import official_layout as layout
import plain_stylegan as plain
import pytest
import torch

from purebench.defenses.mlvgm.stylegan.e4e import E4E
from purebench.defenses.mlvgm.stylegan.official import load_e4e

CODES, DIM, DEPTHS, IMAGE = 10, layout.TINY.widths[-1], layout.TINY.depths, 32
ALPHAS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
@pytest.mark.parametrize("start", [True, False])
def test_loaded_model_agrees_with_the_papers_formulas(e4e_file, dtype, tolerance, start):
    path, file = e4e_file(start_from_latent_avg=start)
    model = load_e4e(path, **layout.architecture(layout.TINY, image=IMAGE)).to(dtype)
    x = torch.rand(3, 3, IMAGE, IMAGE, dtype=dtype, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    found = model.autoencode(x, lambda i, code, sample: (1 - ALPHAS[i]) * code + ALPHAS[i] * sample)
    torch.manual_seed(5)
    z = torch.randn(CODES, 3, DIM, dtype=dtype)
    state = {name: value.to(dtype) for name, value in file["state_dict"].items()}
    decoder, alphas = plain.under(state, "decoder."), torch.tensor(ALPHAS, dtype=dtype)[:, None]
    for n in range(3):
        codes = plain.e4e_codes(state, x[n : n + 1], DEPTHS)[0]
        if start:
            codes = codes + file["latent_avg"].to(dtype)
        assert torch.allclose(model.encode(x)[n], codes, atol=tolerance)
        sampled = torch.stack([plain.mapped(decoder, z[i, n]) for i in range(CODES)])
        drawn = plain.generated(decoder, (1 - alphas) * codes + alphas * sampled)
        expected = plain.averaged(drawn, IMAGE)[0] / 2 + 0.5
        assert expected.std() > 0.05
        assert torch.allclose(found[n], expected, atol=tolerance)


def test_full_size_model_has_the_official_keys_and_shapes():
    with torch.device("meta"):
        model = E4E()
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert found.pop("latent_avg") == (18, 512)
    wanted = layout.e4e_shapes(1024, 256, layout.OFFICIAL)
    assert {name: found.get(name) for name in wanted} == wanted
    assert set(found) == set(wanted)
    assert model.latents == 18
    encoder, decoder = plain.under(found, "encoder."), plain.under(found, "decoder.")
    # 24 units of 15 entries, 3 shortcuts of 6, the input layer's 7, two laterals; 3·4 + 4·5 + 11·6 convolutions
    # with a bias and a linear layer in each of 18 blocks
    assert len(encoder) == 24 * 15 + 3 * 6 + 7 + 4 + 2 * (3 * 4 + 4 * 5 + 11 * 6) + 18 * 2
    # 8 mappings, the constant, 17 styled convolutions of 5 (8 of them with a kernel), 9 to colours of 4 (8 with a
    # kernel), 17 noise maps
    assert len(decoder) == 8 * 2 + 1 + 17 * 5 + 8 + 9 * 4 + 8 + 17
    convs = [
        sum(".convs." in f".{name}" and name.startswith(f"styles.{i}.") for name in encoder) // 2 for i in range(18)
    ]
    assert convs == [4] * 3 + [5] * 4 + [6] * 11
    assert [n for n in range(24) if f"body.{n}.shortcut_layer.0.weight" in encoder] == [3, 7, 21]
    assert found["decoder.noises.noise_16"] == (1, 1, 1024, 1024)
    assert sum(
        math.prod(shape) for name, shape in decoder.items() if "kernel" not in name and "noises" not in name
    ) == (30_370_060)


def test_only_the_first_unit_of_a_stage_changes_the_size():
    with torch.device("meta"):
        model = E4E()
        sizes, x = [], model.encoder.input_layer(torch.empty(1, 3, 256, 256))
        for unit in model.encoder.body.eval():
            x = unit(x)
            sizes.append((x.shape[1], x.shape[2]))
    assert sizes == [(64, 128)] * 3 + [(128, 64)] * 4 + [(256, 32)] * 14 + [(512, 16)] * 3
    assert model.encoder.taps == (7, 21, 24)
