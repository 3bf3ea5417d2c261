"""Official files by kind: which one a file is, loading it in either format, and converting it to safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from purebench.core.errors import PurebenchError, nearest
from purebench.defenses import checkpoints
from purebench.defenses.mlvgm.classifiers import KIND, PaperClassifier, classifier_from, network_of
from purebench.defenses.mlvgm.official import read_official

CONVERTED = ".safetensors"
Content = Mapping[str, Any]
Read = Callable[[Path, Content, float], nn.Module]
"""(path, for errors; the file's content; the temperature of an NVAE) → the model, loaded strictly."""
Build = Callable[..., nn.Module]
"""An architecture → the model."""


def _nvae() -> tuple[Read, Build]:
    from purebench.defenses.mlvgm.nvae.model import NVAE
    from purebench.defenses.mlvgm.nvae.official import nvae_from

    return nvae_from, NVAE


def _e4e() -> tuple[Read, Build]:
    from purebench.defenses.mlvgm.stylegan.e4e import E4E
    from purebench.defenses.mlvgm.stylegan.official import e4e_from

    return lambda path, file, _: e4e_from(path, file), E4E


def _style_transformer() -> tuple[Read, Build]:
    from purebench.defenses.mlvgm.stylegan.official import style_transformer_from
    from purebench.defenses.mlvgm.stylegan.style_transformer import StyleTransformer

    return lambda path, file, _: style_transformer_from(path, file), StyleTransformer


def _classifier() -> tuple[Read, Build]:
    return lambda path, file, _: classifier_from(path, file), PaperClassifier


def _a_vae() -> tuple[Read, Build]:
    from purebench.defenses.vae.a_vae.network import AVAE
    from purebench.defenses.vae.a_vae.official import a_vae_from

    return lambda path, file, _: a_vae_from(path, file), AVAE


def _nd_vae() -> tuple[Read, Build]:
    from purebench.defenses.vae.nd_vae.network import NDVAE
    from purebench.defenses.vae.nd_vae.official import nd_vae_from

    return lambda path, file, _: nd_vae_from(path, file), NDVAE


KINDS = {
    "nvae": _nvae,
    "e4e": _e4e,
    "style-transformer": _style_transformer,
    "classifier": _classifier,
    "a-vae": _a_vae,
    "nd-vae": _nd_vae,
}
"""Reader and builder by kind; the models are imported when asked for."""


def header_of(kind: str) -> str:
    """What a converted file says it is."""
    return KIND if kind == "classifier" else kind


def kind_of(path: Path, content: Content) -> str:
    """The kind that an official file's content is of. Raises PurebenchError for none."""
    state = content.get("state_dict")
    weights = state if isinstance(state, Mapping) else {}
    if "configuration" in content:
        return "nvae"
    if "encoder.styles.0.linear.weight" in weights:
        return "e4e"
    if "encoder.module.z" in weights:
        return "style-transformer"
    if network_of(weights) is not None:
        return "classifier"
    if "generator.to_rgb.conv.weight_orig" in content:
        return "a-vae"
    if "decoder.samplers.0.prior_cell.1.weight" in content:
        return "nd-vae"
    some = ", ".join(map(repr, list(weights or content)[:3]))
    raise PurebenchError(f"{path}: expected one of {', '.join(KINDS)}, but its keys are {some} …; name it (--kind).")


def load_any(kind: str, path: Path, *, temperature: float) -> nn.Module:
    """A model from its official file, or from the safetensors that it was converted to.

    temperature: of an NVAE's samples; its batch statistics were estimated for one, so a converted file has only that.
    Raises PurebenchError for a file that cannot be read, or is of another kind or temperature.
    """
    read, build = KINDS[kind]()
    if path.suffix != CONVERTED:
        return read(path, read_official(path), temperature)
    model = checkpoints.load(str(path), header_of(kind), build)
    own = getattr(model, "temperature", temperature)
    if own != temperature:
        raise PurebenchError(
            f"{path}: expected an NVAE converted for the temperature {temperature}, but got {own}; "
            f"convert it again (--temperature {temperature})."
        )
    return model


def convert(
    file: Path, out: Path, *, kind: str | None = None, temperature: float = 0.6, half: bool = False, trust: bool = False
) -> str:
    """Writes an official file as safetensors that say what they are, after loading it strictly; the kind it was.

    kind: None to tell it from the content. temperature: the NVAE's. half: fp16 instead of float32, half the size.
    trust: unpickle whatever the file holds, on the user's word.
    Raises PurebenchError for a file that cannot be read or does not fit its kind, and another ending than .safetensors.
    """
    if out.suffix != CONVERTED:
        raise PurebenchError(f"{out}: expected a name that ends in {CONVERTED}, but got another; rename it.")
    if kind is not None and kind not in KINDS:
        raise PurebenchError(f"--kind: {kind!r} is unknown; {nearest(kind, KINDS)}")
    if file.suffix == CONVERTED:
        raise PurebenchError(f"{file}: expected the authors' own file, but it is converted already; use it as it is.")
    if not out.parent.is_dir():  # told before a file of gigabytes is read
        raise PurebenchError(f"{out}: expected a folder to write to, but {out.parent} is none; make it first.")
    content = read_official(file, trust=trust)
    name = kind or kind_of(file, content)
    read, _ = KINDS[name]()
    model = read(file, content, temperature)
    architecture = model.architecture
    assert isinstance(architecture, dict)
    checkpoints.save(out, model, header_of(name), architecture, half=half)
    return name
