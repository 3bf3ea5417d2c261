"""The command `purebench convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    file: Annotated[Path, typer.Argument(help="A checkpoint as published by its authors (.pt, .pth, .ckpt, .pkl).")],
    out: Annotated[Path, typer.Argument(help="The file to write, ending in .safetensors.")],
    kind: Annotated[
        str | None,
        typer.Option(
            help=(
                "nvae, e4e, style-transformer, classifier, wide-resnet, dm-wide-resnet, torchvision, a-vae, nd-vae, "
                "guided-unet, ddpm++, edm, ho-unet or hill-energy; default: determined from the keys in the file."
            )
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the batch statistics of an NVAE to keep.", min=0)
    ] = 0.6,
    half: Annotated[
        bool, typer.Option("--half", help="Write fp16: half the size, about three significant digits.")
    ] = False,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Arguments of a diffusion network that its keys do not reveal, such as 'heads=4' or "
            "'parametrisation=linear' (it predicts the noise under DDPM's linear schedule)."
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Unpickle the checkpoint, which runs any code in it; without it, only tensors and plain values are "
            "read. Use it only for files of authors that you trust. Refused for .pkl, of which nothing is run.",
        ),
    ] = False,
) -> None:
    """Convert an official checkpoint to safetensors, which cannot run code; every key and shape is checked.

    Example: purebench convert e4e_ffhq_encode.pt e4e_ffhq_encode.safetensors
    """
    from purebench.core import registry

    write, _ = registry.factory("converters", "official")
    known = registry.Spec.parse(f"architecture({architecture or ''})").params
    found = write(file, out, kind=kind, temperature=temperature, half=half, trust=trust, architecture=known)
    typer.echo(f"wrote {out}: {found}")
