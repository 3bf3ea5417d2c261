"""Tests ND-VAE: strict loading, equal copies of weights, and a start that is trained or drawn from a seed."""

from __future__ import annotations

import plain_nd_vae as plain
import pytest
import torch
from torch import distributions

from purebench.core.defense import fingerprint
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.nvae.mixture import LogisticMixture
from purebench.defenses.mlvgm.official import load_official
from purebench.defenses.official_files import KINDS, convert
from purebench.defenses.vae.nd_vae.network import NDVAE, normal
from purebench.defenses.vae.nd_vae.official import load_nd_vae
from purebench.defenses.vae.nd_vae.purifier import NDVAEPurifier

SIZES = {
    "gender": plain.Sizes(width=16, scales=2, groups=4, cells=2),
    "ids": plain.Sizes(width=32, scales=1, groups=8, cells=2),
    "cars": plain.Sizes(width=16, scales=2, groups=2, cells=4),
}
NOISE = {"gender": 0.1, "ids": 0.05, "cars": 0.1}
SMALL = plain.Sizes(width=4, cells=2)
KEY, TWIN = "encoder.enc_tower.0.0.1.cell.2.bias", "encoder.enc_tower.0.0.1.conv1.bias"


def write(path, sizes=SMALL, change=None, seed=0):
    state = plain.random_state(sizes, seed)
    if change:
        change(state := {name: value.clone() for name, value in state.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path, state


def small(**more) -> NDVAE:
    with seeded("nd-vae"):
        model = NDVAE(**{"colours": 1, "width": 4, "groups": 1, "cells": 1, "mixtures": 2, "side": 4} | more)
    return model.eval().requires_grad_(False)


def images(count=4, colours=1, side=32) -> torch.Tensor:
    return torch.rand(count, colours, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "sizes",
    [
        SMALL,
        plain.Sizes(width=4, scales=1, groups=2, cells=1),
        plain.Sizes(width=4, groups=3, cells=3),
        plain.Sizes(width=4, scales=3, groups=1, cells=1, halvings=1),
    ],
    ids=str,
)
def test_loaded_model_agrees_with_the_reference_implementation(tmp_path, sizes):
    path, state = write(tmp_path / "n.pt", sizes)
    model, x = load_nd_vae(path), images(2, 3)
    purifier = NDVAEPurifier(model, noise=0.1, seed=5)
    top = model.features(x)[0].shape[1:]
    drawn = torch.rand(top, generator=torch.Generator().manual_seed(5))
    with seeded("same"):
        found = purifier(x)
    with seeded("same"):
        expected = plain.purified(state, sizes, x, 0.1, drawn)
    assert (found - expected).abs().max() <= 1e-4
    assert found.std() > 0.05
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(KEY), f"the key '{KEY}', but it is missing"),
        (lambda state: state.pop(TWIN), f"the key '{TWIN}', but it is missing"),
        (lambda state: state.pop("pre_proc.groups_list.1.0.bn1.weight"), "groups_list.1.0.bn1.weight', but it is"),
        (lambda state: state.update({KEY: torch.zeros(9)}), rf"'{KEY}' of shape \[16\], but got \[9\]"),
        (lambda state: state.update(extra=torch.zeros(1)), "only the model's keys, but got 'extra'"),
        (lambda state: state.update({KEY: 3.0}), f"'{KEY}' is a float"),
        (lambda state: state.pop("stem.weight"), "the key 'stem.weight', but it is missing"),
        (lambda state: state.pop("decoder.post_encoder.cell.1.bias"), "post_encoder.cell.1.bias', but it is missing"),
        (lambda state: state[KEY].add_(1), f"'{KEY}' and '{TWIN}' to be the same, but they differ"),
        (
            lambda state: state["pre_proc.groups_list.1.1.cell.3.running_var"].mul_(2),
            r"'pre_proc.tower.1.1.cell.3.running_var' and 'pre_proc.groups_list.1.1.cell.3.running_var' to be the same",
        ),
        (lambda state: [state[key].fill_(float("inf")) for key in (KEY, TWIN)], f"finite weights, but '{KEY}'"),
        (lambda state: state.update({"stem.weight": torch.zeros(5, 3, 3, 3)}), "but building it from them failed"),
    ],
)
def test_invalid_key_is_named_in_the_error(tmp_path, change, message):
    path, _ = write(tmp_path / "n.pt", change=change)
    with pytest.raises(PurebenchError, match=message):
        load_nd_vae(path)


@pytest.mark.parametrize("task", NOISE)
def test_presets_match_the_papers_configurations(tmp_path, monkeypatch, task):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    for name in (f"nd-vae/{task}", f"nd-vae-released/{task}"):
        with pytest.raises(MissingFiles, match=rf"nd-vae/{task}\.pt.*SerezD/gen_adversarial.*competitors"):
            create("defenses", Spec(name))
    path, _ = write(tmp_path / f"competitors/nd-vae/{task}.pt", SIZES[task], seed=None)
    made = create("defenses", Spec(f"nd-vae-released/{task}", {"seed": 3}))
    assert made.noise == NOISE[task]
    assert made.seed == 3
    assert made.model.start is None
    assert made.model.architecture["mixtures"] == 10
    with pytest.raises(PurebenchError, match=r"'decoder\.h'.*use nd-vae-released"):
        create("defenses", Spec(f"nd-vae/{task}"))
    other = "ids" if task != "ids" else "cars"
    with pytest.raises(PurebenchError, match=f"expected the nd-vae of {other}"):
        create("defenses", Spec(f"nd-vae-released/{other}", {"weights": str(path)}))


def test_architecture_that_the_release_trains_for_ids_is_accepted(tmp_path):
    path, _ = write(tmp_path / "n.pt", plain.Sizes(width=8, scales=1, groups=2, cells=4), seed=None)
    assert create("defenses", Spec("nd-vae-released/ids", {"weights": str(path)})).noise == 0.05


@pytest.mark.parametrize("shape", [(32, 4, 4), (1, 32, 4, 4)])
def test_start_in_a_file_is_used_and_a_missing_one_is_an_error(tmp_path, shape):
    start = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    path, state = write(tmp_path / "n.pt", change=lambda state: state.update({"decoder.h": start}))
    meant, x = NDVAEPurifier(load_nd_vae(path), noise=0.1), images(2, 3)
    with seeded("same"):
        found = meant(x)
    with seeded("same"):
        expected = plain.purified(state, SMALL, x, 0.1, start.reshape(32, 4, 4))
    assert (found - expected).abs().max() <= 1e-4
    with pytest.raises(PurebenchError, match=r"shape \[32, 4, 4\], but got images for which it has \[32, 8, 8\]"):
        meant(images(2, 3, 64))
    plain_path, _ = write(tmp_path / "m.pt")
    with pytest.raises(PurebenchError, match="as in the release, which does not save it; use nd-vae-released"):
        NDVAEPurifier(load_nd_vae(plain_path), noise=0.1)


def test_seeded_start_depends_only_on_the_seed():
    """It changes with the seed; the global random state neither affects it nor is changed."""
    model, x = small(), images()
    top = model.features(x)[0]
    starts = {seed: NDVAEPurifier(model, noise=0.0, seed=seed).start(top) for seed in (0, 0, 1)}
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = NDVAEPurifier(model, noise=0.0, seed=0).start(top)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again, starts[0])
    assert not torch.equal(starts[0], starts[1])
    assert 0 <= again.min() <= again.max() < 1
    assert abs(float(again.mean()) - 0.5) < 4 / (12 * again.numel()) ** 0.5
    assert NDVAEPurifier(model, noise=0.0).start(top) is model.start
    answers = []
    for seed in (None, 0, 1):
        with seeded("same"):
            answers.append(NDVAEPurifier(model, noise=0.0, seed=seed)(x))
    assert all((a - b).abs().max() > 1e-4 for a, b in ((answers[0], answers[1]), (answers[1], answers[2])))


def test_converted_file_is_the_same_model_and_its_kind_is_detected(tmp_path):
    for change in (None, lambda state: state.update({"decoder.h": torch.rand(32, 4, 4)})):
        path, _ = write(tmp_path / "n.pt", change=change)
        assert convert(path, tmp_path / "n.safetensors") == "nd-vae"
        one, other = (
            load_official(tmp_path / name, "nd-vae", *KINDS["nd-vae"]()) for name in ("n.pt", "n.safetensors")
        )
        assert fingerprint(one) == fingerprint(other)
        assert one.architecture == other.architecture
        assert one.architecture["side"] == (None if change is None else 4)


def test_normal_matches_the_formulas_of_the_layout():
    raw = 4 * torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    found = normal(raw)
    assert torch.allclose(found.mean, 5 * torch.tanh(raw[:, :3] / 5))
    assert torch.allclose(found.std, torch.exp(5 * torch.tanh(raw[:, 3:] / 5)) + 0.01)


def test_evidence_is_the_likelihood_of_the_mixture_and_the_divergences_of_the_normals():
    model, x = small(cells=2), images()
    clean = torch.randint(0, 256, x.shape, generator=torch.Generator().manual_seed(2)) / 255
    seen = []

    def choose(posterior, prior):
        seen.append([distributions.Normal(part.mean, part.std) for part in (posterior, prior)])
        return posterior.sample()

    with seeded("evidence"):
        likelihood, divergences = model.evidence(x, clean, model.start)
    with seeded("evidence"):
        mixture = model.decode(model.features(x), model.start, choose)
    assert len(divergences) == len(seen) == 3
    for found, (posterior, prior) in zip(divergences, seen, strict=True):
        expected = distributions.kl_divergence(posterior, prior).flatten(1).sum(1)
        assert torch.allclose(found, expected, rtol=1e-4)
    assert torch.allclose(likelihood, discretised(mixture, clean), rtol=1e-4)


def discretised(mixture: LogisticMixture, clean: torch.Tensor) -> torch.Tensor:
    """Return log p [N] of 8-bit grey images, by the distribution function of the logistic in float64."""
    level = (2 * clean - 1).double()
    total = torch.zeros_like(level)
    shares = mixture.logits.double().softmax(1)
    for m in range(shares.shape[1]):
        scale = mixture.log_scales[:, m].double().exp()
        mean = mixture.means[:, m].double()
        high = torch.where(level >= 1, torch.ones_like(level), torch.sigmoid((level + 1 / 255 - mean) / scale))
        low = torch.where(level <= -1, torch.zeros_like(level), torch.sigmoid((level - 1 / 255 - mean) / scale))
        total += shares[:, m] * (high - low)
    return total.log().flatten(1).sum(1).float()


@pytest.mark.parametrize("seed", [None, 0])
def test_purifier_is_seeded_with_independent_images_and_exact_gradients(seed, assert_seeded_independent_and_exact):
    assert_seeded_independent_and_exact(NDVAEPurifier(small(), noise=0.05, seed=seed), 0.2 + 0.6 * images())


def test_invalid_settings_are_rejected():
    with pytest.raises(PurebenchError, match="noise of at least 0, but got -1"):
        NDVAEPurifier(small(), noise=-1)
    with pytest.raises(PurebenchError, match="counts of at least 1"):
        small(scales=0)
    with pytest.raises(PurebenchError, match="1 or 3 colours"):
        small(colours=2)
