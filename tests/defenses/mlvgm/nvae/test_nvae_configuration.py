"""Tests the configuration of an NVAE: groups per scale, order of latents and invalid fields."""

from __future__ import annotations

import plain_nvae as plain
import pytest

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.nvae.configuration import Configuration


@pytest.mark.parametrize(
    ("groups", "scales", "least", "expected"),
    [(8, 3, 1, [2, 4, 8]), (8, 3, 3, [3, 4, 8]), (5, 3, 1, [1, 2, 5]), (20, 5, 4, [4, 4, 5, 10, 20])],
)
def test_adaptive_groups_halve_from_the_finest_scale_down_to_the_minimum(groups, scales, least, expected):
    given = plain.PLAIN | {
        "num_groups_per_scale": groups,
        "num_scales": scales,
        "min_groups_per_scale": least,
        "is_adaptive": True,
    }
    assert Configuration.parse({"resolution": [3, 64, 64], "autoencoder": given}).groups_per_scale == expected
    fixed = Configuration.parse({"resolution": [3, 64, 64], "autoencoder": given | {"is_adaptive": False}})
    assert fixed.groups_per_scale == [groups] * scales


def test_latents_are_ordered_from_coarse_to_fine_with_doubling_size_and_halving_width():
    found = Configuration.parse(plain.configuration("deep"))
    assert found.order == [(0, 0), (1, 0), (2, 0), (2, 1)]
    assert [found.size // found.shrink(scale) for scale in range(3)] == [1, 2, 4]
    assert [found.width_at(scale) for scale in range(3)] == [64, 32, 16]


def test_official_form_parses_to_the_same_configuration():
    found = Configuration.parse(plain.configuration("adaptive"))
    assert Configuration.parse(found.official()) == found
    assert found.official()["autoencoder"] == plain.ADAPTIVE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_scales": 0}, "num_scales of at least 1, but got 0"),
        ({"num_scales": True}, "num_scales of at least 1, but got True"),
        ({"num_nf_cells": -1}, "num_nf_cells of at least 0, but got -1"),
        ({"initial_channels": 12.5}, "initial_channels of at least 1, but got 12.5"),
        ({"is_adaptive": 1}, "is_adaptive to be true or false, but got 1"),
        ({"num_pre-post_process_blocks": 4}, "a multiple of 32, but got 16"),
    ],
)
def test_invalid_field_is_named_in_the_error(change, message):
    given = plain.configuration("plain")
    with pytest.raises(PurebenchError, match=message):
        Configuration.parse(given | {"autoencoder": given["autoencoder"] | change})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected 'resolution', but got nothing"),
        ({"resolution": [3, 16, 16]}, "expected 'autoencoder', but got resolution"),
        (
            plain.configuration("plain") | {"resolution": [4, 16, 16]},
            r"resolution \[1 or 3, R, R\], but got \[4, 16, 16\]",
        ),
        (plain.configuration("plain") | {"resolution": [3, 16, 32]}, r"\[3, 16, 32\]"),
        ({"resolution": [3, 16, 16], "autoencoder": {"num_scale": 2}}, "'num_scales'; did you mean 'num_scale'"),
    ],
)
def test_invalid_configuration_is_rejected_with_what_it_contains(given, message):
    with pytest.raises(PurebenchError, match=message):
        Configuration.parse(given)
