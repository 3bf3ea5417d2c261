"""Texts about the figures beside the robust accuracy: costs, known randomness, and the figures that papers print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from purebench.results.attack_result import AttackResult
from purebench.results.figures.as_printed import PrintedFigures, as_printed
from purebench.results.figures.known_randomness import KnownRandomnessFigures, known_randomness
from purebench.results.figures.passes import MEANING, passes_per_image
from purebench.results.ranking.rank import Row
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

VOTE = "vote@K is not the robustness of a voting defense: nothing attacked the vote; only a vote(…) row is"
"""Sentence that stands wherever vote@K, or MV.K, is printed."""
MV = (
    "MV.K is vote@K, with ties counted as wrong; DiffBreak has K = 128 on CIFAR-10 and K = 8 elsewhere, and stops at "
    f"the first wrong vote; {VOTE}"
)
"""Sentences that stand wherever MV.K is printed."""
NOT_OPTIMISED = (
    "its true value cannot be, so the attack with known randomness was not optimised to the end, unless the difference "
    "is due to chance"
)
"""Explains an accuracy under known randomness that is above the robust accuracy."""


def figure_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes below a table: the cost of each row and attack, known randomness, the figures of papers.

    Args:
        rows: Rows of the board.
    """
    costs = [_costs(row) for row in rows]
    notes = [MEANING, *costs] if costs else []
    notes += [f"{row.name}, {found.attack}: {known_text(found)}" for row in rows for found in known(row.result)]
    told = [f"{row.name}, {found.attack}: {printed_text(found)}" for row in rows for found in printed(row.result)]
    return [*notes, *told, *([MV] if told else [])]


def known(result: DefenseResult) -> tuple[KnownRandomnessFigures, ...]:
    """Return the figures of each attack with known randomness."""
    return tuple(found for attack in result.attacks if (found := known_randomness(result, attack)) is not None)


def printed(result: DefenseResult) -> tuple[PrintedFigures, ...]:
    """Return the figures of papers, for each attack whose looks were counted."""
    return tuple(found for attack in result.attacks if (found := as_printed(result, attack)) is not None)


def known_text(found: KnownRandomnessFigures) -> str:
    """Describe the accuracy under known randomness and its gap, for one attack."""
    told = (
        f"known-randomness accuracy {found.accuracy.percent()} ({found.seeds} seeds, {found.accuracy.n} images; an "
        f"upper bound), {found.unknown.percent()} at its final points under unknown randomness: "
        f"gap {_points(found.gap)} points; not ranked"
    )
    return "; ".join([told, *not_optimised_text(found)])


def not_optimised_text(found: KnownRandomnessFigures) -> tuple[str, ...]:
    """Return the note on an accuracy under known randomness that is above the robust accuracy; empty for others."""
    if found.robust is None or not found.not_optimised:
        return ()
    return (f"above the robust accuracy, {100 * found.robust.value:.1f} %: {NOT_OPTIMISED}",)


def printed_text(found: PrintedFigures) -> str:
    """Describe the figures of papers for one attack, attacked and clean."""
    figures = [
        f"{one.name} {one.attacked.percent()}" + (f", clean {one.clean.percent()}" if one.clean else "")
        for one in found.figures
    ]
    return f"{looks_text(found)}: {'; '.join(figures)}"


def looks_text(found: PrintedFigures) -> str:
    """Describe the looks that were counted."""
    return (
        f"{found.looks:.3g} looks of {found.draws:.3g} draws per image on average (images that leave the attack early "
        f"count with the looks that they had), and equally many at the clean image; {found.avg.attacked.n} images"
    )


def passes_text(passes: float | None) -> str:
    """Format a number of passes: "1,230"; "–" where there is none."""
    if passes is None:
        return "–"
    return f"{passes:,.0f}" if passes >= 10 else f"{passes:.3g}"


def milliseconds_text(found: float | None) -> str:
    """Format a time in milliseconds, to three digits below 100: "1.23 ms", "1,230 ms"; "–" where there is none."""
    if found is None:
        return "–"
    return f"{found:,.0f} ms" if found >= 99.95 else f"{found:.3g} ms"


def attack_columns(result: DefenseResult, attack: AttackResult) -> dict[str, Any]:
    """Return the figures of one attack as the columns of a table; a value is None where it is not known.

    Args:
        result: Result of the defense.
        attack: One of its attacks.
    """
    found, papers = known_randomness(result, attack), as_printed(result, attack)
    columns: dict[str, Any] = {"purifier_passes_per_image": attack.purifier_passes}
    columns |= dict(_ends("known_randomness_accuracy", None if found is None else found.accuracy))
    columns |= dict(_ends("known_randomness_gap", None if found is None else found.gap))
    columns["known_randomness_seeds"] = None if found is None else found.seeds
    columns["known_randomness_images"] = None if found is None else found.accuracy.n
    columns["counted_images"] = None if papers is None else papers.avg.attacked.n
    for name in ("avg", "wor"):
        one = None if papers is None else getattr(papers, name)
        columns |= dict(_ends(f"{name}_as_diffhammer_prints", None if one is None else one.attacked))
        columns |= dict(_ends(f"{name}_as_diffhammer_prints_clean", None if one is None else one.clean))
    return columns


def _ends(name: str, estimate: Estimate | None) -> Iterator[tuple[str, float | None]]:
    yield name, None if estimate is None else float(estimate.value)
    yield f"{name}_low", None if estimate is None else float(estimate.low)
    yield f"{name}_high", None if estimate is None else float(estimate.high)


def _points(difference: Estimate) -> str:
    return f"{100 * difference.value:.1f} [{100 * difference.low:.1f}, {100 * difference.high:.1f}]"


def _costs(row: Row) -> str:
    found = passes_per_image(row.result)
    attacks = [f"{name} {passes_text(passes)}" for name, passes in found.attacks if passes is not None]
    rest = f"picking and scoring {passes_text(found.picking)}, in all {passes_text(found.total)}"
    return f"{row.name}: {', '.join(attacks)}, {rest}"
