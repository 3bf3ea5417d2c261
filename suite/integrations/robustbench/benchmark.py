"""RobustBench's own protocol, by RobustBench's own function (Croce et al. 2021, arXiv:2010.09670).

`benchmark` calls RobustBench's function of the same name: its images and preprocessing, AutoAttack `standard`, its
accuracy. It reports that number with AutoAttack's verdict and our verification, each with an interval, and keeps the
images' outcomes. Nothing is downloaded, neither models (see `zoo`) nor images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from purebench.boards.code_identity import code_of
from purebench.core import third_party
from purebench.core.answers import check_logits
from purebench.core.compute.devices import find_device
from purebench.core.defense import fingerprint
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.registry import Spec
from purebench.core.seeds import hash_of, seeded
from purebench.core.threat import ThreatModel
from purebench.integrations.robustbench.own_model import is_own, load_own
from purebench.integrations.robustbench.saved_batches import SavedBatches
from purebench.integrations.robustbench.watch import Listener, Watched, instead_of_autoattack
from purebench.integrations.robustbench.zoo import (
    EPS,
    IMAGES,
    ZooModel,
    available,
    classifier,
    find,
    load,
    models,
)
from purebench.integrations.robustbench.zoo_result import ZooResult
from purebench.records.outcome import Outcome
from purebench.records.provenance import device_name, versions
from purebench.statistics import Estimate, clopper_pearson

__all__ = ["ZooModel", "ZooResult", "available", "benchmark", "classifier", "find", "load"]

VERSIONS = ("standard", "plus", "rand")


def benchmark(
    model: str,
    *,
    model_dir: str | Path | None = None,
    data_dir: str | Path,
    dataset: str = "cifar10",
    threat_model: str = "Linf",
    eps: float | None = None,
    n_examples: int | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    version: str = "standard",
    seed: int | None = 0,
    confidence: float = 0.95,
    tell: Callable[[str], None] = lambda line: None,
    state: Path | None = None,
    keep: Callable[[ZooResult], None] = lambda found: None,
) -> ZooResult:
    """Evaluate a model of the zoo, or a user's own, by RobustBench's protocol.

    It reports the two accuracies of RobustBench's function, AutoAttack's verdict and our verification.

    Args:
        model: A name in the zoo (see `zoo.find`), or an own model, "path/to/file.py:name" (see `own_model.load_own`).
        model_dir: See `zoo.find`; None for an own model.
        data_dir: For CIFAR the folder that holds torchvision's cifar-10-batches-py or cifar-100-python, for ImageNet
            the one that holds val.
        dataset: See `zoo.find`.
        threat_model: See `zoo.find`.
        eps: Radius in the units of images in [0,1]; None for the leaderboard's.
        n_examples: Number of test images, from the first; None for all of the protocol.
        batch_size: Images at once; as in RobustBench it decides, with the seed, the random numbers of an image.
        device: cpu, cuda or cuda:0.
        version: Version of AutoAttack; any other than standard is not RobustBench's protocol, which a note states.
        seed: Seed of AutoAttack; None for the clock's, as in RobustBench.
        confidence: Of the intervals, in (0,1).
        tell: Called with AutoAttack's progress, line by line.
        state: Folder in which evaluations keep the finished batches: an evaluation with equal settings, model and
            versions resumes after it was killed. None to keep nothing; a seed of None keeps nothing either.
        keep: Called with the result before these batches are deleted.

    Returns:
        The result.

    Raises:
        PurebenchError: For anything missing, unknown or out of range, before anything is run.
    """
    models(dataset, threat_model)  # reports a wrong name first
    entry = (
        None if is_own(model) else find(model, model_dir=_folder(model_dir), dataset=dataset, threat_model=threat_model)
    )
    eps = EPS[dataset, threat_model] if eps is None else eps
    threat = ThreatModel(threat_model.lower(), eps)
    count = IMAGES[dataset] if n_examples is None else n_examples
    if version not in VERSIONS:
        raise PurebenchError(f"version: {version!r} is not a version of AutoAttack; {did_you_mean(version, VERSIONS)}")
    if batch_size < 1:
        raise PurebenchError(f"batch_size: expected at least 1, but got {batch_size!r}.")
    if seed is not None and not 0 <= seed < 2**63:
        raise PurebenchError(f"seed: expected a whole number of at least 0, but got {seed!r}.")
    place = find_device(device)
    if entry is None or not entry.missing:
        _check_images(dataset, Path(data_dir), count)
    if entry is None:
        classes = load_own(model, dataset).to(place)
    else:
        classes = load(model, model_dir=_folder(model_dir), dataset=dataset, threat_model=threat_model).to(place)
    saved = None
    if state is not None and seed is not None:
        settings = [dataset, threat_model, eps, count, batch_size, version, seed, device_name(str(place))]
        saved = SavedBatches(state / _identity(model, classes, settings), tell)
    seed = time.time_ns() % 2**31 if seed is None else seed
    package, watched, listener = third_party.robustbench(), Watched(version, seed, saved), Listener(tell)
    began = time.perf_counter()
    with seeded("robustbench", str(seed), device=place), instead_of_autoattack(package, watched, listener):
        accuracies = package.eval.benchmark(
            classes,
            n_examples=count,
            dataset=dataset,
            threat_model=threat_model,
            model_name=model,
            data_dir=str(data_dir),
            device=place,
            batch_size=batch_size,
            eps=eps,
        )
    right = _verify(classes, watched.x, watched.y, threat.project(watched.adversarial, watched.x), place, batch_size)
    broken = (watched.answers != watched.y).tolist()
    notes = [*listener.warnings, *_differences(broken, right)]
    if version != "standard":
        notes.append(f"not RobustBench's protocol: AutoAttack {version}")

    def estimate(accuracy: float) -> Estimate:
        return clopper_pearson(round(accuracy * len(right)), len(right), confidence)

    found = ZooResult(
        model,
        dataset,
        threat_model,
        eps,
        version,
        seed,
        batch_size,
        clean=estimate(accuracies[0]),
        robust=estimate(accuracies[1]),
        claimed=estimate(1 - sum(broken) / len(broken)),
        verified=estimate(sum(right) / len(right)),
        labels=watched.y.tolist(),
        claims=broken,
        outcomes=[Outcome.ROBUST if held else Outcome.MISCLASSIFIED for held in right],
        distances=threat.size(watched.adversarial - watched.x).tolist(),
        notes=notes,
        device=device_name(str(place)),
        seconds=time.perf_counter() - began,
    )
    keep(found)
    if saved is not None:
        saved.delete()
    return found


def _folder(model_dir: str | Path | None) -> str | Path:
    if model_dir is None:
        raise PurebenchError(
            "model_dir: expected the folder of RobustBench's models (--models), but got none; only an own model, "
            "path/to/file.py:name, needs none."
        )
    return model_dir


def _identity(model: str, classes: nn.Module, settings: list[object]) -> str:
    """Return a hash of everything that decides the batches of an evaluation."""
    code = code_of("classifiers", Spec.parse(model)).to_dict() if is_own(model) else {"zoo": model}
    return hash_of([code, fingerprint(classes), settings, versions()])[:32]


def _differences(broken: list[bool], right: list[bool]) -> list[str]:
    count = sum(claim == held for claim, held in zip(broken, right, strict=True))
    return [f"AutoAttack's verdict and the verification differ on {count} of {len(right)} images"] if count else []


@torch.no_grad()
def _verify(model: nn.Module, x: Tensor, y: Tensor, adversarial: Tensor, place: torch.device, size: int) -> list[bool]:
    """Return whether the model is right on each adversarial image [N,C,H,W]; batches differ from AutoAttack's."""
    parts = zip(torch.split(adversarial.flip(0), size), torch.split(y.flip(0), size), strict=True)
    right = [(check_logits(model(part.to(place)), len(part)).argmax(1).cpu() == labels) for part, labels in parts]
    return torch.cat(right).flip(0).tolist()


def _check_images(dataset: str, data_dir: Path, count: int) -> None:
    """Raise PurebenchError unless RobustBench's loader will find its images; it would download CIFAR's otherwise."""
    if not 1 <= count <= IMAGES[dataset]:
        raise PurebenchError(f"n_examples: expected 1 to {IMAGES[dataset]} for {dataset}, but got {count!r}.")
    if dataset == "imagenet":
        _check_imagenet(data_dir / "val", count)
        return
    from torchvision import datasets

    kind = datasets.CIFAR10 if dataset == "cifar10" else datasets.CIFAR100
    try:
        kind(str(data_dir), train=False, download=False)
    except RuntimeError as error:
        raise PurebenchError(
            f"data_dir: expected {data_dir / kind.base_folder} as published, but it is missing or its md5 differs; "
            f"download {kind.url} (md5 {kind.tgz_md5}) and unpack it in {data_dir}."
        ) from error


def _check_imagenet(folder: Path, count: int) -> None:
    """Check the class folders: the loader takes labels from their order, so a missing one would shift the labels."""
    listed = Path(third_party.robustbench().__path__[0], "helper_files", "imagenet_test_image_ids.txt")
    wanted = [folder / name for name in listed.read_text(encoding="utf-8").split()[:count]]
    lost = [path for path in wanted if not path.is_file()]
    classes = sum(path.is_dir() for path in folder.glob("*"))
    if lost or classes != 1000:
        raise PurebenchError(
            f"data_dir: expected ImageNet's validation set (https://image-net.org) in 1,000 class folders below "
            f"{folder}, but found {classes}; of {count} images {len(lost)} are missing"
            + (f", such as {lost[0]}." if lost else ".")
        )
