"""Writes a row of a board as a part of a model card of the Hugging Face Hub: metadata in YAML and a section of text.

The metadata is the `model-index` of the Hub, made by huggingface_hub: https://huggingface.co/docs/hub/model-cards. It
has no field for an interval, which is in the text, beside the command that reproduces the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.terminal_output import printable
from purebench.results.ranking.rank import Row
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

TASK = "image-classification"


def model_card(row: Row, command: str, verification: str, escaped: Callable[[str], str]) -> str:
    """Return the metadata and the text of a row.

    Args:
        row: The row.
        command: The command line that reproduces it.
        verification: The badge of the row (`shown_badge`).
        escaped: Makes a text inert in Markdown.

    Returns:
        A Markdown file that begins with the YAML of its metadata, as README.md on the Hub does.

    Raises:
        PurebenchError: The robust accuracy of the row is unknown.
    """
    if row.robust is None:
        raise PurebenchError(f"{row.name}: expected a robust accuracy, but it is unknown; run the board again.")
    return f"---\n{_metadata(row, row.robust)}---\n\n{_text(row, row.robust, command, verification, escaped)}"


def _metadata(row: Row, robust: Estimate) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    name = printable(row.name)
    found = row.result
    data = _data_set(found)

    def result(metric: str, estimate: Estimate) -> EvalResult:
        return EvalResult(
            task_type=TASK,
            dataset_type=data,
            dataset_name=f"{data} ({estimate.n} images)",
            metric_type="accuracy",
            metric_name=metric,
            metric_value=round(estimate.value, 6),
        )

    results = [
        result(f"Robust accuracy ({printable(_threat(found))}, board {printable(str(found.board['name']))})", robust)
    ]
    results += [result("Clean accuracy", row.clean)] if row.clean is not None else []
    return str(ModelCardData(model_name=name, pipeline_tag=TASK, eval_results=results).to_yaml()) + "\n"


def _text(row: Row, robust: Estimate, command: str, verification: str, escaped: Callable[[str], str]) -> str:
    found = row.result
    attacks = ", ".join(attack.name for attack in found.common if not attack.skipped)
    draws = f", {found.fresh_draws} fresh draws at each adversarial example" if found.random else ""
    version = found.provenance.get("versions", {}).get("purebench", "")
    lines = [
        f"| robust accuracy | {robust.percent()} |",
        *([f"| clean accuracy | {row.clean.percent()} |"] if row.clean is not None else []),
        f"| threat model | {escaped(printable(_threat(found)))} |",
        f"| images | {robust.n} of {escaped(_data_set(found))}{draws} |",
        f"| attacks | {escaped(printable(attacks))} |",
        f"| board | {escaped(printable(str(found.board['name'])))} of purebench {escaped(printable(str(version)))} |",
        *([f"| grade of the evaluation | {row.grade.letter} |"] if row.grade is not None else []),
        f"| verification | {escaped(printable(verification))} |",
    ]
    fence = "`" * (max(map(len, re.findall("`+", command)), default=0) + 3)
    return (
        "## Adversarial robustness\n\n| | |\n|---|---|\n" + "\n".join(lines) + "\n\n"
        f"Intervals at {100 * robust.confidence:g} % confidence ({robust.method}). Robust accuracy is an upper bound: "
        "a stronger attack can only lower it. The number is reproduced by\n\n"
        f"{fence}sh\n{printable(command)}\n{fence}\n"
    )


def _threat(found: DefenseResult) -> str:
    threat = found.board["threat"]
    return f"{threat['norm']} {threat['radius']}"


def _data_set(found: DefenseResult) -> str:
    return printable(Spec.parse(found.board["dataset"]["use"]).name)
