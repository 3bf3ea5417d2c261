"""The command `purebench robustbench`: prints the benchmark of a model, or lists the models in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import make_console
from purebench.integrations.robustbench.benchmark import benchmark
from purebench.integrations.robustbench.model_info import (
    as_text,
    check_protocol,
    is_model_info,
    missing,
    of_benchmark,
    read_known,
)
from purebench.integrations.robustbench.zoo import available, check_folder, models
from purebench.integrations.robustbench.zoo_result import ZooResult
from purebench.results.files.export import write_files


def _check_out(out: Path) -> None:
    """Raise PurebenchError for a file that cannot be written, before the evaluation, which takes hours."""
    if not out.parent.is_dir():
        raise PurebenchError(
            f"--out: expected a file in an existing folder, but got {out}; create the folder, or choose another."
        )
    if out.is_dir():
        raise PurebenchError(f"--out: expected a file, but {out} is a folder; choose a file in it.")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise PurebenchError(f"--out: expected a writable file, but {out} is not writable; choose another.")


def command(model: str | None, *, model_dir: Path | None, out: Path | None, **options: Any) -> None:
    """Run `purebench robustbench`: print the benchmark of a model, or list the models in `model_dir`.

    Args:
        model: Name in the zoo, or an own model, path/to/file.py:name; None to list the models.
        model_dir: Folder of the models; None for an own model.
        out: A JSON file for the result, None for none; model_info/DATASET/THREAT/NAME.json is written in RobustBench's
            form, and keeps the other fields of an earlier file.
        **options: Further arguments of `benchmark`.

    Raises:
        PurebenchError: As `benchmark` does, and for an `out` that cannot be written.
    """
    from rich.table import Table

    table, console = Table(box=None, show_header=False, padding=(0, 2)), make_console()
    if model is None:
        if model_dir is None:
            raise PurebenchError(
                "--models: expected RobustBench's model folder, but got none; add it, or name a model of your own."
            )
        check_folder(model_dir)
        if not model_dir.is_dir():
            raise PurebenchError(
                f"--models: expected a folder of DATASET/THREAT/NAME.pt, but {model_dir} is not a folder."
            )
        models(options.get("dataset", "cifar10"), options.get("threat_model", "Linf"))  # reports a wrong name
        for entry in available(model_dir):
            table.add_row(entry.name, entry.dataset, entry.threat_model)
        console.print(table if table.rows else f"no model of RobustBench's zoo is in {model_dir}", markup=False)
        return
    write = _writer(out, **options)
    with make_console(stderr=True).status(f"{model}: AutoAttack takes hours on many images") as status:
        told = benchmark(model, model_dir=model_dir, tell=lambda line: status.update(line), keep=write, **options)
    rows = {
        "clean accuracy": told.clean,
        "robust accuracy": told.robust,
        "by AutoAttack's verdict": told.claimed,
        "verified by purebench": told.verified,
    }
    for name, estimate in rows.items():
        table.add_row(name, estimate.percent())
    console.print(
        f"{model}, {told.dataset} {told.threat_model} {told.eps:.5g}, AutoAttack {told.version} (seed {told.seed}), "
        f"the first {told.clean.n} test images, {told.clean.confidence:.0%} intervals",
        markup=False,
    )
    console.print(table)
    for note in [*told.notes, *([] if out is None else _written(out))]:
        console.print(note, markup=False)


def _writer(out: Path | None, **options: Any) -> Callable[[ZooResult], None]:
    """Return the function that writes a result; a path that cannot be written is refused before the evaluation."""
    if out is None:
        return lambda found: None
    dataset, threat_model = options.get("dataset", "cifar10"), options.get("threat_model", "Linf")
    models(dataset, threat_model)  # reports a wrong name
    if not is_model_info(out, dataset, threat_model):
        _check_out(out)
        return lambda found: write_files({out: json.dumps(found.to_dict(), indent=1) + "\n"})
    check_protocol(
        dataset, threat_model, options.get("eps"), options.get("n_examples"), options.get("version", "standard")
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    _check_out(out)
    known = read_known(out)
    return lambda found: write_files({out: as_text(of_benchmark(found, known))})


def _written(out: Path) -> list[str]:
    """Return the notes about a file of RobustBench's form: where it is, and what its author has to fill in."""
    found = read_known(out) if "model_info" in out.absolute().parts else {}
    left = missing(found)
    return [f"result: {out}", *([f"fill in, for RobustBench: {', '.join(left)}"] if left else [])]
