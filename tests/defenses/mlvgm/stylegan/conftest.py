"""Fixtures for small random files in the layout of the official StyleGAN2 autoencoders, and their models."""

import sys
from pathlib import Path

import pytest
import torch

from purebench.defenses.mlvgm.stylegan.official import load_e4e, load_style_transformer

sys.path.insert(0, str(Path(__file__).parent))
import official_layout as layout  # isort: skip

IMAGE, HIDDEN = 32, 24
EXTRAS = {"global_step": 200_000, "discriminator_state_dict": {"weight": torch.zeros(2)}}


@pytest.fixture(scope="session")
def e4e_file(tmp_path_factory):
    """Return a function that writes a small e4e file (64 pixels, 10 codes) and returns its path and content."""

    def write(change=None, **options):
        opts = {"encoder_type": "Encoder4Editing", "stylegan_size": 64, "start_from_latent_avg": True, "device": "cuda"}
        file = {
            "state_dict": layout.random_state(layout.e4e_shapes(64, IMAGE, layout.TINY), seed=3),
            "opts": opts | options,
            "latent_avg": torch.randn(10, layout.TINY.widths[-1], generator=torch.Generator().manual_seed(4)),
        } | EXTRAS
        return saved(tmp_path_factory.mktemp("e4e") / "e4e_ffhq_encoder.pt", file, change)

    return write


@pytest.fixture(scope="session")
def transformer_file(tmp_path_factory):
    """Return a function that writes a small Style-Transformer file (128 pixels, 12 codes), likewise."""

    def write(change=None, average=(1, layout.TINY.widths[-1]), **options):
        opts = {"output_size": 128, "input_nc": 3, "start_from_latent_avg": True, "device": "cuda"}
        file = {
            "state_dict": layout.random_state(layout.transformer_shapes(128, HIDDEN, layout.TINY), seed=6),
            "opts": opts | options,
            "latent_avg": torch.randn(average, generator=torch.Generator().manual_seed(7)),
        } | EXTRAS
        return saved(tmp_path_factory.mktemp("transformer") / "style_transformer_cars.pt", file, change)

    return write


def saved(path, file, change):
    """Apply `change` to the content, save it, and return path and content."""
    if change is not None:
        change(file)
    torch.save(file, path)
    return path, file


@pytest.fixture(scope="session")
def e4e(e4e_file):
    return load_e4e(e4e_file()[0], **layout.architecture(layout.TINY, image=IMAGE))


@pytest.fixture(scope="session")
def transformer(transformer_file):
    architecture = layout.architecture(layout.TINY, image=IMAGE, hidden=HIDDEN)
    return load_style_transformer(transformer_file()[0], **architecture)


@pytest.fixture(params=["e4e", "transformer"])
def autoencoder(request):
    """Each of the two autoencoders."""
    return request.getfixturevalue(request.param)
