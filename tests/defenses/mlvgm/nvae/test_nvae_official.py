"""Tests that official NVAE files load strictly and agree with a reference implementation."""

from __future__ import annotations

import argparse

import plain_nvae as plain
import pytest
import torch

from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.nvae.model import NVAE
from purebench.defenses.mlvgm.nvae.official import load_nvae

CASES = [("plain", 3), ("adaptive", 3), ("deep", 3), ("plain", 1)]
MIXES = {
    "encoded": lambda i, code, sample: code,
    "sampled": lambda i, code, sample: sample,
    "mixed": lambda i, code, sample: (1 - 0.2 * i) * code + 0.2 * i * sample,
}


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_loaded_model_agrees_with_the_reference_implementation(nvae_file, name, channels):
    path, state = nvae_file(name, channels)
    model = load_nvae(path, temperature=0.6)
    assert model.latents == sum(plain.GROUPS[name])
    assert not model.training
    x = torch.rand(3, channels, 16, 16, generator=torch.Generator().manual_seed(2))
    for mix in MIXES.values():
        with seeded("same"):
            found = model.autoencode(x, mix)
        with seeded("same"):
            expected = plain.autoencode(state, name, x, mix, 0.6)
        assert (found - expected).abs().max() <= 1e-4
        assert found.std() > 0.05
        assert found.min() >= 0
        assert found.max() <= 1


def test_temperature_one_loads_the_weights_from_training(nvae_file):
    path, _ = nvae_file()
    x = torch.rand(2, 3, 16, 16)
    images = [load_nvae(path, t).autoencode(x, MIXES["encoded"]) for t in (0.6, 1.0)]
    expected = plain.autoencode(plain.random_state("plain", seed=1), "plain", x, MIXES["encoded"], 1.0)
    assert (images[1] - expected).abs().max() <= 1e-4
    assert (images[0] - images[1]).abs().max() > 0.01


def test_weights_re_estimated_for_temperature_one_take_precedence_over_those_from_training(nvae_file):
    other = plain.random_state("plain", seed=2)
    path, _ = nvae_file(change=lambda file: file.update({"state_dict_temp=1.0": other}))
    assert torch.equal(load_nvae(path, 1.0).state_dict()["const_prior"], other["const_prior"])


def test_unavailable_temperature_error_lists_the_available_ones(nvae_file):
    path, _ = nvae_file(change=lambda file: file.update({"state_dict_temp=0.8": {}}))
    with pytest.raises(PurebenchError, match=r"'state_dict_temp=0.7'.*0\.6, 0\.8, 1\.0 \(the training's own\)"):
        load_nvae(path, 0.7)


def test_older_names_of_weight_norm_are_accepted(nvae_file):
    def older(file):
        state = file["state_dict_temp=0.6"]
        for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
            for key in [key for key in state if key.endswith(new)]:
                state[key.replace(f"parametrizations.weight.{new}", old)] = state.pop(key)

    old_path, _ = nvae_file(change=older)
    old = load_nvae(old_path).state_dict()
    expected = plain.random_state("plain")
    assert old.keys() == expected.keys()
    assert all(torch.equal(old[key], expected[key]) for key in expected)


KEY = "decoder_combiners.combiner_1:0.conv.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(KEY), f"the key '{KEY}', but it is missing"),
        (lambda state: state.update({KEY: torch.zeros(9)}), f"'{KEY}' of shape \\[8\\], but got \\[9\\]"),
        (lambda state: state.update(extra=torch.zeros(1)), "only the model's keys, but got 'extra'"),
        (lambda state: state[KEY].fill_(float("nan")), f"finite weights, but '{KEY}'"),
        (lambda state: state.update({KEY: 3.0}), f"'{KEY}' to be a tensor, but got float"),
    ],
)
def test_invalid_key_is_named_in_the_error(nvae_file, change, message):
    path, _ = nvae_file(change=lambda file: change(file["state_dict_temp=0.6"]))
    with pytest.raises(PurebenchError, match=message):
        load_nvae(path)


def test_file_without_a_configuration_is_rejected_with_its_keys(nvae_file):
    path, _ = nvae_file(change=lambda file: file.pop("configuration"))
    with pytest.raises(PurebenchError, match=r"'configuration', but got epoch, global_step"):
        load_nvae(path)


def test_file_with_pickled_objects_is_rejected_with_a_hint_to_convert_it(nvae_file):
    path, _ = nvae_file(change=lambda file: file.update(opts=argparse.Namespace(lr=1)))
    with pytest.raises(PurebenchError, match="convert"):
        load_nvae(path)


def test_celeba_64_model_has_the_published_number_of_parameters():
    official = plain.PLAIN | {
        "num_scales": 3,
        "num_groups_per_scale": 8,
        "num_cells_per_group": 2,
        "num_latent_per_group": 16,
        "initial_channels": 128,
        "num_logistic_mixtures": 10,
    }

    def count(nf_cells):
        with torch.device("meta"):
            model = NVAE({"resolution": [3, 64, 64], "autoencoder": official | {"num_nf_cells": nf_cells}})
        assert model.latents == 24
        return sum(value.numel() for name, value in model.named_parameters() if name != "const_prior")

    assert count(None) == 705_678_912
    assert count(2) - count(None) == 1_724_928
