"""Writes entries of RobustBench's leaderboard: the files model_info/DATASET/THREAT/NAME.json of its repository.

The fields and their forms are those of RobustBench's files (Croce et al. 2021, arXiv:2010.09670): accuracies are text
in per cent with two decimals, and a radius is text such as "8/255". `autoattack_acc` is the accuracy under AutoAttack
`standard` alone; a lower accuracy under other attacks is `external`. RobustBench has no random defenses, because the
verdict of AutoAttack `standard` on them is too high.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import MEBIBYTE, read_text
from purebench.core.registry import Spec
from purebench.integrations.robustbench.zoo import EPS, IMAGES
from purebench.integrations.robustbench.zoo_result import ZooResult
from purebench.records.outcome import ANSWERED
from purebench.results.attack_result import AttackResult
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

FIELDS = (
    *("link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture"),
    *("eps", "clean_acc", "reported", "autoattack_acc"),
)
"""The fields of every file of RobustBench, in its order."""
NORMS = {threat_model.lower(): threat_model for _, threat_model in EPS}
"""RobustBench's name of each norm that it has."""
STANDARD = {"name": "autoattack:standard", "params": {}}
"""The spec of AutoAttack as RobustBench runs it."""


def of_benchmark(found: ZooResult, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a model that was evaluated by RobustBench's protocol.

    Args:
        found: The result.
        known: Fields that are already known, such as those of an earlier file of the model.

    Raises:
        PurebenchError: The evaluation is not that of the leaderboard: other images, radius or version of AutoAttack.
    """
    check_protocol(found.dataset, found.threat_model, found.eps, found.clean.n, found.version)
    return _entry(
        known,
        dataset=found.dataset,
        eps=radius_text(found.eps),
        clean_acc=percent(found.clean),
        autoattack_acc=percent(found.robust),
    )


def check_protocol(dataset: str, threat_model: str, eps: float | None, images: int | None, version: str) -> None:
    """Check that an evaluation is that of RobustBench's leaderboard.

    Args:
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.
        eps: Radius for images in [0,1]; None for the leaderboard's.
        images: Number of test images; None for all.
        version: Version of AutoAttack.

    Raises:
        PurebenchError: Its images, radius or version of AutoAttack are others.
    """
    own, count = EPS[dataset, threat_model], IMAGES[dataset]
    eps, images = own if eps is None else eps, count if images is None else images
    if version != "standard" or images != count or not isclose(eps, own):
        raise PurebenchError(
            f"model_info: expected AutoAttack standard on {count:,} images at the radius {radius_text(own)}, but got "
            f"{version} on {images:,} at {radius_text(eps)}; leave out --images and --radius, or write the result to "
            "another file."
        )


def of_row(result: DefenseResult, known: Mapping[str, Any], verification: str) -> dict[str, Any]:
    """Return the entry of a row of a board.

    Args:
        result: The result of a deterministic defense.
        known: Fields that are already known, such as the title of the paper.
        verification: The badge of the row (`shown_badge`), which is in the footnote.

    Raises:
        PurebenchError: The defense is random, its norm is not one of RobustBench, or an accuracy is unknown.
    """
    threat = result.board["threat"]
    if result.random:
        raise PurebenchError(
            f"{result.name}: expected a deterministic defense, but it is random; RobustBench's rules exclude random "
            "defenses, because AutoAttack standard overestimates their robustness."
        )
    if threat["norm"] not in NORMS:
        raise PurebenchError(
            f"{result.name}: expected the norm {' or '.join(NORMS)}, which RobustBench has, but got {threat['norm']}."
        )
    if result.robust is None or result.clean is None:
        raise PurebenchError(f"{result.name}: expected a clean and a robust accuracy, but one is unknown.")
    standard = _under_autoattack(result)
    entry = _entry(
        known,
        dataset=_dataset(result),
        eps=str(threat["radius"]),
        clean_acc=percent(result.clean),
        autoattack_acc=None if standard is None else percent(standard),
    )
    version = result.provenance.get("versions", {}).get("purebench", "")
    entry["footnote"] = (
        f"Robust accuracy {result.robust.percent()} ({100 * result.robust.confidence:g} % interval, {result.robust.n} "
        f"images) under all attacks of the board {result.board['name']} of {f'purebench {version}'.rstrip()}"
        f"{'; AutoAttack standard is not one of them' if standard is None else ''}. "
        f"Verification by purebench: {verification}."
    )
    if standard is None or result.robust.value < standard.value:
        entry["external"] = percent(result.robust)
    return entry


def path_of(entry: Mapping[str, Any], norm: str, name: str) -> Path:
    """Return the path of an entry below the folder `model_info`.

    Args:
        entry: The entry.
        norm: linf or l2.
        name: The name of the file, without its suffix.
    """
    return Path(str(entry["dataset"]), NORMS[norm], f"{name}.json")


def is_model_info(path: Path, dataset: str, threat_model: str) -> bool:
    """Return whether a path is that of an entry: model_info/DATASET/THREAT/NAME.json.

    Args:
        path: The path.
        dataset: The data set of the evaluation.
        threat_model: Linf or L2.

    Raises:
        PurebenchError: The folders are those of another data set or threat model.
    """
    folders = path.absolute().parts[-4:-1]
    if "model_info" not in folders:
        return False
    wanted = ("model_info", dataset, threat_model)
    if folders != wanted or path.suffix != ".json":
        raise PurebenchError(
            f"--out: expected {'/'.join(wanted)}/NAME.json, but got {path}; choose that path, or one "
            "outside of a folder model_info."
        )
    return True


def read_known(path: Path) -> dict[str, Any]:
    """Return the fields of an earlier file of a model, which RobustBench keeps too; {} without a file.

    Raises:
        PurebenchError: The file is not a JSON object.
    """
    if not path.is_file():
        return {}
    found = load_json(read_text(path, MEBIBYTE))
    if not isinstance(found, dict):
        raise PurebenchError(f"{path}: expected the JSON object of a model, but it is not one; choose another file.")
    return found


def missing(entry: Mapping[str, Any]) -> list[str]:
    """Return the fields that its author has to fill in."""
    return [name for name in FIELDS if entry.get(name, "") is None]


def as_text(entry: Mapping[str, Any]) -> str:
    """Return the text of the file, in RobustBench's layout."""
    return json.dumps(entry, indent=2) + "\n"


def percent(estimate: Estimate) -> str:
    """Return an accuracy in per cent, as RobustBench rounds it."""
    return str(round(100 * estimate.value, 2))


def radius_text(eps: float) -> str:
    """Return a radius as RobustBench writes it.

    >>> radius_text(8 / 255), radius_text(0.5)
    ('8/255', '0.5')
    """
    levels = round(255 * eps)
    return f"{levels}/255" if float(f"{eps:g}") != eps and isclose(levels / 255, eps) else f"{eps:g}"


def _entry(known: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    """Return an entry whose measured fields replace the known ones; unknown fields are None, as in RobustBench."""
    base: dict[str, Any] = {**dict.fromkeys(FIELDS), "number_forward_passes": 1}
    return {**base, **{name: value for name, value in known.items() if value is not None}, **found}


def _under_autoattack(result: DefenseResult) -> Estimate | None:
    """Return the accuracy under AutoAttack standard alone, on all images; None if the board does not run it so."""
    found = [attack for attack in result.attacks if _is_standard(attack)]
    complete = found and all(outcome in ANSWERED for outcome in found[0].outcomes)
    return result.accuracy(found[0]) if complete else None


def _is_standard(attack: AttackResult) -> bool:
    return dict(attack.spec) == STANDARD


def _dataset(result: DefenseResult) -> str:
    """Return the name of the data set, in letters that are valid in the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", Spec.parse(result.board["dataset"]["use"]).name).lstrip(".")
