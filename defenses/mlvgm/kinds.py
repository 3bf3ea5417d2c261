"""Readers and builders of the official files of each kind of MLVGM; a model's module is imported when it is needed."""

from __future__ import annotations

from purebench.defenses.mlvgm.official import Build, Read


def nvae() -> tuple[Read, Build]:
    """Return reader and builder of an NVAE."""
    from purebench.defenses.mlvgm.nvae.model import NVAE
    from purebench.defenses.mlvgm.nvae.official import nvae_from

    return nvae_from, NVAE


def e4e() -> tuple[Read, Build]:
    """Return reader and builder of an e4e encoder with its StyleGAN2."""
    from purebench.defenses.mlvgm.stylegan.e4e import E4E
    from purebench.defenses.mlvgm.stylegan.official import e4e_from

    return lambda path, file, _: e4e_from(path, file), E4E


def style_transformer() -> tuple[Read, Build]:
    """Return reader and builder of a Style-Transformer with its StyleGAN2."""
    from purebench.defenses.mlvgm.stylegan.official import style_transformer_from
    from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer

    return lambda path, file, _: style_transformer_from(path, file), StyleTransformer


MLVGMS = {"nvae": nvae, "e4e": e4e, "style-transformer": style_transformer}
"""Functions that return reader and builder, by kind."""
