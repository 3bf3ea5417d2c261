"""Loads the models of RobustBench's zoo from a local folder (Croce et al. 2021, arXiv:2010.09670).

RobustBench's own loader makes them, but nothing is downloaded: for a missing file, the error says where it is published
and where to put it. A model of the zoo is a classifier and, without a purifier, a defense:
`robustbench:Standard(model_dir=models)`.
"""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from purebench.core import third_party
from purebench.core.defense.listed import listed
from purebench.core.errors import Missing, MissingFiles, PurebenchError, did_you_mean
from purebench.core.files.published import LookedUp, note
from purebench.core.seeds import seeded
from purebench.defenses.mlvgm.official import models_home
from purebench.integrations.robustbench.checkpoints import PLAIN, check_checkpoint

EPS = {
    ("cifar10", "Linf"): 8 / 255,
    ("cifar10", "L2"): 0.5,
    ("cifar100", "Linf"): 8 / 255,
    ("imagenet", "Linf"): 4 / 255,
}
"""The zoo's data sets and threat models, with the radius of RobustBench's leaderboard, for images in [0,1]."""
IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 5_000}
"""Number of test images of RobustBench's protocol; those of ImageNet are a fixed list from the validation set."""
MIT, APACHE = "MIT", "Apache 2.0"
LICENCES = {
    "Hendrycks2019Using": APACHE,
    "Pang2020Boosting": APACHE,
    "Gowal2020Uncovering": APACHE,
    "Gowal2021Improving": APACHE,
    "Rebuffi2021Fixing": APACHE,
    "Ding2020MMA": "CC BY-NC-SA 4.0",
    "Rony2019Decoupling": "BSD 3-clause",
}
"""Licences of the weights other than MIT, by the beginning of a model's name, from RobustBench's LICENSE."""
TORCHVISION = "https://download.pytorch.org/"
SHOWN = 3
"""Number of names to show where none is near."""


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: Name in the zoo.
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.
        files: Paths at which RobustBench looks for its weights.
        sources: URL at which each file is published.
    """

    name: str
    dataset: str
    threat_model: str
    files: tuple[Path, ...]
    sources: tuple[str, ...]

    @property
    def missing(self) -> list[tuple[Path, str]]:
        """Missing files, each with its source."""
        return [(file, source) for file, source in zip(self.files, self.sources, strict=True) if not file.is_file()]


def find(model: str, *, model_dir: str | Path, dataset: str = "cifar10", threat_model: str = "Linf") -> ZooModel:
    """Find the zoo's entry of a name, and the files that it needs, whether they exist or not.

    The files are model_dir/dataset/threat_model/NAME.pt; for an ensemble NAME.pt_m0.pt, NAME.pt_m1.pt and so on. Those
    that RobustBench lets timm or torchvision fetch (XCiT, ImageNet's Standard_R50) are in the cache of torch.hub
    instead.

    Args:
        model: Name in the zoo.
        model_dir: Folder of the models.
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.

    Returns:
        The entry.

    Raises:
        PurebenchError: For a data set, threat model or name that is not in the zoo, for corruptions, and if model_dir
            is a file.
    """
    zoo = models(dataset, threat_model)
    if model not in zoo:
        raise PurebenchError(
            f"robustbench: the model {model!r} is unknown for {dataset} {threat_model}; {_like(model, zoo)}"
        )
    check_folder(Path(model_dir))
    ids = zoo[model]["gdrive_id"]
    if not ids:
        url = _hub_url(model, dataset, threat_model)
        file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
        return ZooModel(model, dataset, threat_model, (file,), (url,))
    path = Path(model_dir, dataset, threat_model, f"{model}.pt")
    if isinstance(ids, str):
        ids, files = [ids], [path]
    else:
        files = [path.with_name(f"{path.name}_m{number}.pt") for number in range(len(ids))]
    return ZooModel(
        model, dataset, threat_model, tuple(files), tuple(f"https://drive.google.com/uc?id={i}" for i in ids)
    )


def check_folder(model_dir: Path) -> None:
    """Check that the folder of the models is not a file.

    Args:
        model_dir: Folder of the models.

    Raises:
        PurebenchError: If it is a file.
    """
    if model_dir.is_file():
        raise PurebenchError(
            f"model_dir: expected a folder of DATASET/THREAT/NAME.pt, but {model_dir} is a file; choose the folder "
            "that contains cifar10, cifar100 or imagenet."
        )


def _like(model: str, zoo: Mapping[str, Any]) -> str:
    """Return the names near an unknown one; where none is near, a few examples and a link to all."""
    names = {name.lower(): name for name in zoo}
    near = difflib.get_close_matches(model.lower(), names, n=SHOWN)
    near = near or [name for name in names if model and name.startswith(model.lower())][:SHOWN]
    if near:
        return did_you_mean(model, [names[name] for name in near])
    return f"the zoo has {len(zoo)} models, such as {', '.join(list(zoo)[:SHOWN])}; see https://robustbench.github.io."


def models(dataset: str, threat_model: str) -> Mapping[str, Mapping[str, Any]]:
    """Return RobustBench's table of the models for a data set and a threat model, by name.

    Args:
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.

    Returns:
        The table.

    Raises:
        PurebenchError: For a data set or threat model that is not in the zoo, and for corruptions.
    """
    known = sorted({name for name, _ in EPS})
    if dataset not in known:
        raise PurebenchError(f"robustbench: the dataset {dataset!r} is unknown; {did_you_mean(dataset, known)}")
    if threat_model.startswith("corruptions"):
        raise PurebenchError(
            f"robustbench: expected the threat model Linf or L2, but got {threat_model!r}: corruptions are not an "
            "attack, and purebench has no protocol for them; use RobustBench itself."
        )
    if (dataset, threat_model) not in EPS:
        has = " or ".join(norm for name, norm in EPS if name == dataset)
        raise PurebenchError(f"robustbench: expected the threat model {has} for {dataset}, but got {threat_model!r}.")
    zoo = third_party.robustbench().model_zoo
    table: Mapping[str, Mapping[str, Any]] = zoo.model_dicts[zoo.enums.BenchmarkDataset(dataset)][
        zoo.enums.ThreatModel(threat_model)
    ]
    return table


def licence_of(model: str, source: str) -> str:
    """Return the licence of the weights of a model of the zoo.

    Args:
        model: Name in the zoo.
        source: URL at which the weights are published; those of torchvision have its licence.
    """
    if source.startswith(TORCHVISION):
        return "BSD 3-clause (torchvision)"
    return next((licence for start, licence in LICENCES.items() if model.startswith(start)), MIT)


def _published(model: str, file: Path, source: str) -> Missing:
    """Return what is known of a file of a model; those on Google Drive have to be downloaded by hand."""
    download = "" if "drive.google.com" in source else source
    return Missing(str(file), source, licence=licence_of(model, source), download=download)


def _hub_url(model: str, dataset: str, threat_model: str) -> str:
    import timm  # type: ignore[import-untyped]
    from torchvision.models import ResNet50_Weights

    name = f"{model}_{dataset}_{threat_model}".lower().replace("-", "_")  # as RobustBench registers it with timm
    return str(timm.get_pretrained_cfg(name).url if timm.is_model(name) else ResNet50_Weights.IMAGENET1K_V1.url)


def available(model_dir: str | Path) -> list[ZooModel]:
    """Return the zoo's entries whose files all exist, by data set and threat model, in the zoo's order."""
    entries = [
        find(model, model_dir=model_dir, dataset=dataset, threat_model=threat_model)
        for dataset, threat_model in EPS
        for model in models(dataset, threat_model)
    ]
    return [entry for entry in entries if not entry.missing]


def load(model: str, *, model_dir: str | Path, dataset: str = "cifar10", threat_model: str = "Linf") -> nn.Module:
    """Load a model of the zoo with RobustBench's own loader.

    Args:
        model: Name in the zoo.
        model_dir: Folder of the models.
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.

    Returns:
        A module from images [N,3,H,W] in [0,1] to logits [N,K], in eval mode, with frozen weights.

    Raises:
        PurebenchError: As `find` does, if a file is missing (the message names it and its source), and if it cannot be
            loaded.
    """
    entry = find(model, model_dir=model_dir, dataset=dataset, threat_model=threat_model)
    if entry.missing:
        wanted = "; ".join(f"{file}, published at {source}" for file, source in entry.missing)
        raise PurebenchError(
            f"robustbench: {model}: expected {wanted}, but it is missing; download it (from Google Drive: gdown "
            "URL -O FILE) and save it under that name. purebench downloads no models."
        )
    for file in entry.files:
        check_checkpoint(file)
    files = ", ".join(str(file) for file in entry.files)
    try:
        with seeded("robustbench", model), torch.serialization.safe_globals(PLAIN):  # layers draw initial weights
            found: nn.Module = third_party.robustbench().utils.load_model(model, model_dir, dataset, threat_model)
    except pickle.UnpicklingError as error:
        raise PurebenchError(
            f"robustbench: {model}: expected weights in {files}, but torch cannot read them. If the file is a web "
            "page, saved instead of the weights, download it again. If it is a pickle of more than weights and you "
            "trust its authors, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1, with which loading it may run any code. "
            f"Error of torch: {str(error)[:300]}"
        ) from error
    except Exception as error:  # a model of the zoo may raise anything while it is loaded
        told = f"{type(error).__name__}: {str(error)[:300]}"
        raise PurebenchError(f"robustbench: {model}: cannot be made from {files}: {told}") from error
    return found.eval().requires_grad_(False)


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    ms="varies",
    licence="varies",
    source="Croce et al. 2021, arXiv:2010.09670",
)
def classifier(
    name: str, *, model_dir: str | None = None, dataset: str = "cifar10", threat_model: str = "Linf"
) -> nn.Module:
    """Load any model of RobustBench's zoo from a local folder: `robustbench:Standard(model_dir=models)`.

    Args:
        name: Name in the zoo.
        model_dir: Folder of the models; None for the folder robustbench in $PUREBENCH_MODELS.
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.

    Returns:
        A module from images [N,3,H,W] in [0,1] to logits [N,K], in eval mode, with frozen weights.

    Raises:
        MissingFiles: If files are missing; the message states where they are published.
    """
    folder = models_home() / "robustbench" if model_dir is None else Path(model_dir)
    if model_dir is None:
        entry = find(name, model_dir=folder, dataset=dataset, threat_model=threat_model)
        files = [_published(name, file, source) for file, source in zip(entry.files, entry.sources, strict=True)]
        note(*(LookedUp(one, Path(one.place) if Path(one.place).is_file() else None) for one in files))
        if missing := [one for one in files if not Path(one.place).is_file()]:
            raise MissingFiles(*missing)
    return load(name, model_dir=folder, dataset=dataset, threat_model=threat_model)
