"""Official files by kind: recognising them, and converting them to safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.defenses import checkpoints
from purebench.defenses.mlvgm.classifiers import KIND, PaperClassifier, classifier_from, network_of
from purebench.defenses.mlvgm.kinds import MLVGMS
from purebench.defenses.mlvgm.official import CONVERTED, ENDINGS, Build, Content, Read, read_official
from purebench.defenses.persistent_pickles import ENDING as PICKLE
from purebench.defenses.persistent_pickles import read_persistent


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


def _hill_energy() -> tuple[Read, Build]:
    from purebench.defenses.ebm.hill import HillEnergy, hill_energy_from

    return lambda path, file, _: hill_energy_from(path, file), HillEnergy


def _diffusion(kind: str) -> Callable[[], tuple[Read, Build]]:
    """Return the reader and builder of a layout of noise-prediction networks, when called."""

    def made() -> tuple[Read, Build]:
        from purebench.defenses.diffusion.architectures.layouts import LAYOUTS, build

        def read(path: Path, content: Content, _: float, **options: Any) -> nn.Module:
            found, model, unwrapped = build(path, content, options)
            if found != kind:
                raise PurebenchError(f"{path}: expected a {kind}, but got a {found}; leave out --kind.")
            model.notes = unwrapped.notes  # type: ignore[assignment]
            return model

        return read, LAYOUTS[kind].build

    return made


def _published_classifier(kind: str) -> Callable[[], tuple[Read, Build]]:
    """Return the reader and builder of a layout of published classifiers, when called."""

    def made() -> tuple[Read, Build]:
        from purebench.defenses.classifiers.layouts import LAYOUTS, classifier_network

        return lambda path, file, _: classifier_network(path, file, kind), LAYOUTS[kind].build

    return made


DIFFUSION = ("guided-unet", "ddpm++", "edm", "ho-unet")
"""Kinds of noise-prediction networks."""
CLASSIFIERS = ("wide-resnet", "dm-wide-resnet", "torchvision")
"""Kinds of published classifiers, besides the paper's."""
KINDS = {
    **MLVGMS,
    **{kind: _diffusion(kind) for kind in DIFFUSION},
    "hill-energy": _hill_energy,
    "classifier": _classifier,
    **{kind: _published_classifier(kind) for kind in CLASSIFIERS},
    "a-vae": _a_vae,
    "nd-vae": _nd_vae,
}
"""Functions that return reader and builder, by kind; they import the models only when called."""


def header_of(kind: str) -> str:
    """Return the kind that the header of a converted file states."""
    return KIND if kind == "classifier" else kind


def kind_of(path: Path, content: Content) -> str:
    """Return the kind of an official file.

    Args:
        path: the file, for error messages only.
        content: its content.

    Raises:
        PurebenchError: If the file is of no known kind.
    """
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
    if "f.0.weight" in content and "f.8.weight" in content:
        return "hill-energy"
    if found := _noise_predictor(content) or _classifier_kind(content):
        return found
    some = ", ".join(map(repr, list(weights or content)[:3]))
    raise PurebenchError(f"{path}: expected one of {', '.join(KINDS)}, but its keys are {some} …; name it (--kind).")


def _noise_predictor(content: Content) -> str | None:
    """Return the kind of a noise-prediction network, or None."""
    from purebench.defenses.diffusion.architectures.layouts import layout_of, weights_of

    return layout_of(weights_of(content).state)


def _classifier_kind(content: Content) -> str | None:
    """Return the kind of a published classifier, or None."""
    from purebench.defenses.classifiers.layouts import kind_of_classifier

    return kind_of_classifier(content)


def convert(
    file: Path,
    out: Path,
    *,
    kind: str | None = None,
    temperature: float = 0.6,
    half: bool = False,
    trust: bool = False,
    architecture: Mapping[str, Any] | None = None,
) -> str:
    """Convert an official file to a safetensors file that states its kind, after loading it strictly.

    Args:
        file: the official file.
        out: the file to write, ending in .safetensors.
        kind: kind of the model; None to infer it from the content.
        temperature: temperature of the NVAE.
        half: whether to store fp16 instead of float32, at half the size.
        trust: whether to unpickle any content, which may run code; only at the user's request. For the network pickles
            of EDM (.pkl) it is refused, because nothing of them is ever run.
        architecture: arguments of a noise-prediction network that its keys do not reveal, and its parametrisation.

    Returns:
        The kind of the file, and what was done to unwrap its weights.

    Raises:
        PurebenchError: If the file cannot be read or does not fit its kind, or `out` does not end in .safetensors.
    """
    if out.suffix != CONVERTED:
        raise PurebenchError(f"{out}: expected a name that ends in {CONVERTED}, but got {out.name!r}; rename it.")
    if kind is not None and kind not in KINDS:
        raise PurebenchError(f"--kind: {kind!r} is unknown; {did_you_mean(kind, KINDS)}")
    if file.suffix == CONVERTED:
        raise PurebenchError(f"{file}: expected the authors' own file, but it is converted already; use it as it is.")
    if trust and file.suffix == PICKLE:
        raise PurebenchError(
            f"--trust: expected a checkpoint of torch ({', '.join(ENDINGS)}), but got {file.name}, of which only "
            "weights are read and nothing is run; leave it out."
        )
    if not out.parent.is_dir():  # checked before a file of gigabytes is read
        raise PurebenchError(
            f"{out}: expected a file in an existing folder, but {out.parent} is not a folder; create it first."
        )
    content = read_persistent(file) if file.suffix == PICKLE else read_official(file, trust=trust)
    name = kind or kind_of(file, content)
    read, _ = KINDS[name]()
    options = dict(architecture or {})
    if options and name not in DIFFUSION:
        raise PurebenchError(f"{file}: expected no architecture for a {name}, whose file states it; leave it out.")
    model = read(file, content, temperature, **options)
    built = model.architecture
    assert isinstance(built, dict)
    checkpoints.save(out, model, header_of(name), built, half=half)
    return "; ".join([name, *getattr(model, "notes", ())])
