"""RobustBench's protocol on a standard ResNet-18 of CIFAR-10, beside AutoAttack's package run alone on the same images.

    python benchmarks/robustbench_protocol.py --data cifar10_jpeg_test.npz --json robustbench-protocol.json

The model is the standard ResNet-18 whose weights come with pyautoattack (examples/model_test.pt). The images are the
first ones of an npz file of JPEG copies of the test images (see the data set `cifar10`), in the order of the file. JPEG
lowers the accuracy of a model that was trained on the original images, so the numbers are of this copy alone.

RobustBench's own function evaluates the model, as `purebench robustbench` does: AutoAttack standard, at a radius at
which a standard model is not broken completely. Then AutoAttack's package alone attacks the first of these images, with
the same seed and batch size. Bar: both break exactly the same images. Finished batches are kept in --state, from which
the same command continues. Exit code 1 if the bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from common.reporting import Report, parser, percent, perform, text
from torch import Tensor, nn

from purebench.core import third_party
from purebench.core.errors import PurebenchError
from purebench.core.threat import parse_radius
from purebench.data.datasets import cifar10
from purebench.data.image_set import array_hash
from purebench.integrations.robustbench import benchmark as protocol
from purebench.records.outcome import Outcome

WEIGHTS = ("examples", "model_test.pt")
"""Path of the weights within the package pyautoattack."""


def standard() -> nn.Module:
    """Return the standard ResNet-18 of images [N,3,32,32] in [0,1], with the weights of pyautoattack's wheel.

    Raises:
        PurebenchError: The installed package has no weights, as AutoAttack from GitHub has none.
    """
    package = third_party.autoattack()
    path = Path(str(files(package.__name__).joinpath(*WEIGHTS)))
    if not path.is_file():
        raise PurebenchError(f"expected {path}, but it is missing: install pyautoattack, whose wheel contains it.")
    model: nn.Module = third_party.robustbench().model_zoo.architectures.resnet.ResNet18()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval().requires_grad_(False)


@contextmanager
def instead_of_cifar10(x: Tensor, y: Tensor) -> Iterator[None]:
    """Give RobustBench's function other images than those of torchvision's CIFAR-10.

    Args:
        x: images [N,3,32,32] in [0,1].
        y: labels [N].
    """
    package = third_party.robustbench()
    loader, check = package.eval.load_clean_dataset, protocol._check_images

    def copies(dataset: object, count: int, *_: object) -> tuple[Tensor, Tensor]:
        return x[:count], y[:count]

    package.eval.load_clean_dataset = copies
    protocol._check_images = lambda *_: None
    try:
        yield
    finally:
        package.eval.load_clean_dataset, protocol._check_images = loader, check


def through_the_package(x: Tensor, y: Tensor, radius: float, options: argparse.Namespace) -> list[bool]:
    """Return which images AutoAttack's package breaks alone, by its own verdict."""
    package = third_party.autoattack()
    attack = package.AutoAttack(
        standard().to(options.device),
        norm="Linf",
        eps=radius,
        version="standard",
        device=options.device,
        seed=options.seed,
    )
    attack.verbose = False
    _, answers = attack.run_standard_evaluation(x, y, batch_size=options.batch)
    broken: list[bool] = (answers.cpu() != y).tolist()
    return broken


def compare(report: Report, options: argparse.Namespace) -> None:
    """Run both, and add the bar."""
    radius = parse_radius(options.radius)
    data = cifar10(npz=str(options.data)).take(range(options.images))
    x, y = torch.as_tensor(data.floats()), torch.as_tensor(data.labels)
    began = time.perf_counter()
    with instead_of_cifar10(x, y):
        found = protocol.benchmark(
            f"{Path(__file__).resolve()}:standard",
            data_dir=".",
            eps=radius,
            n_examples=len(x),
            batch_size=options.batch,
            device=str(options.device),
            seed=options.seed,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
            state=options.state,
        )
    held = [outcome is Outcome.ROBUST for outcome in found.outcomes]
    rows: list[dict[str, Any]] = [
        {
            "name": "RobustBench's protocol",
            "images": len(x),
            "clean": found.clean.value,
            "robust": found.robust.value,
            "interval": [found.robust.low, found.robust.high],
            "verified": found.verified.value,
            "broken": [place for place, claim in enumerate(found.claims) if claim],
            "held": [place for place, right in enumerate(held) if right],
            "notes": list(found.notes),
            "seconds": time.perf_counter() - began,
        }
    ]
    count = min(options.package_images or len(x), len(x))
    began = time.perf_counter()
    alone = through_the_package(x[:count], y[:count], radius, options)
    rows.append(
        {
            "name": f"AutoAttack's package, the first {count}",
            "images": count,
            "robust": 1 - sum(alone) / count,
            "broken": [place for place, claim in enumerate(alone) if claim],
            "seconds": time.perf_counter() - began,
        }
    )
    columns = [
        ("name", "evaluation", text),
        ("images", "images", text),
        ("clean", "clean", percent),
        ("robust", "robust", percent),
        ("verified", "verified by us", percent),
    ]
    report.settings["images (sha256)"] = array_hash(data.images, data.labels)
    report.settings["order"] = "positions 0, 1, … of the npz file"
    report.show(
        f"linf {options.radius}, AutoAttack standard, seed {options.seed}, batch {options.batch}", rows, columns
    )
    different = sum(one != other for one, other in zip(found.claims[:count], alone, strict=True))
    report.at_most("images that only one of both breaks", float(different), 0.0)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; the exit code says whether the bar was met."""
    made = parser(__doc__, threads=1)
    made.add_argument("--data", type=Path, required=True, metavar="NPZ", help="JPEG copies of the test images")
    made.add_argument("--images", type=int, default=64, help="images, the first of the file (64)")
    made.add_argument("--package-images", type=int, help="images that the package attacks alone (all)")
    made.add_argument("--radius", default="1/255", help="linf radius (1/255)")
    made.add_argument("--batch", type=int, default=32, help="batch size, which decides the random numbers (32)")
    made.add_argument("--state", type=Path, help="folder of the finished batches, to continue after an interruption")
    options = made.parse_args(arguments)
    return perform("robustbench-protocol", options, lambda report: compare(report, options))


if __name__ == "__main__":
    sys.exit(main())
