"""Presents a verification: for a terminal, as JSON, and as Markdown for a comment on a submission."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from purebench.boards.replay import command
from purebench.checks.verification.verification import Verification
from purebench.core.terminal_output import printable
from purebench.records.outcome import Outcome
from purebench.results.files.verdicts import Badge
from purebench.statistics.reproduction import CONFIDENCE, FALSE_ALARMS, ClaimTest, Conclusion

EXIT_CODES = {Conclusion.VERIFIED: 0, Conclusion.REFUTED: 1, Conclusion.UNDECIDED: 3}
"""The exit code of `purebench verify`; 2 means that the bundle is invalid."""
HEADINGS = ("claim", "images", "claimed", "found", "p", "excess at most", "margin")
STYLES = {Badge.VERIFIED: "bold green", Badge.REPRODUCED: "bold green", Badge.REFUTED: "bold red"}
NOT_COVERED = (
    "not covered: what the result says about its commit, device, versions, warnings, notes, seconds and passes (if "
    "these differ here, a remark says so; notes and seconds are not compared), and the accuracies under single attacks"
)
MOST_LISTED = 10
"""Most images that are listed by their positions."""


def report(found: Verification) -> RenderableType:
    """Return the report for a terminal of 100 columns, without the command that repeats it (`repeat`)."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if place else "left", no_wrap=place > 0)
    for test in found.tests:
        table.add_row(*(Text(one) for one in _cells(test)))
    manifest = found.bundle.manifest
    title = Text(printable(f"{manifest.row} on {manifest.board}"), style="bold")
    title.append(printable(f" · bundle of purebench {manifest.purebench} · seed {found.seed}"), style="not bold dim")
    verdict = Text("verdict: ").append(found.badge.value, style=STYLES.get(found.badge, "bold yellow"))
    lines = [Text(printable(line), style="dim") for line in notes(found)]
    return Group(title, table, verdict, *lines)


def notes(found: Verification) -> list[str]:
    """Return the explanations of a verdict, a sentence each."""
    level = FALSE_ALARMS / max(1, len(found.tests))
    told = [
        f"an honest bundle is refuted with a probability of at most {FALSE_ALARMS:.0%} (each p at most {level:.2g})",
        f"verified: every excess is within its margin, with {CONFIDENCE:.0%} confidence",
    ]
    told += [_why(found)] if found.conclusion is Conclusion.UNDECIDED else []
    again = found.repetition
    if again is not None:
        told.append(
            f"repeated attacks broke {len(again.broken)} of {again.robust} images that are claimed robust; the excess "
            "is a bound of this share"
        )
    if again is not None and again.broken:
        told.append(f"broken images (positions in the data set): {_listed(again.broken)}")
    if again is not None and again.broken and not found.bundle.result.random:
        held = sum(one is Outcome.ROBUST for one in found.bundle.result.worst_case.outcomes) - len(again.broken)
        total = int(found.bundle.result.scored.sum())
        told.append(f"with these images the robust accuracy is at most {100 * held / total:.1f} %")
    if not found.with_attacks:
        told.append("the attacks were not repeated: weak attacks are not detected")
    return [*told, NOT_COVERED, *found.remarks]


def as_plain(found: Verification) -> dict[str, Any]:
    """Return the verification as plain JSON values."""
    manifest = found.bundle.manifest
    return {
        "board": manifest.board,
        "row": manifest.row,
        "conclusion": found.conclusion.value,
        "exit_code": EXIT_CODES[found.conclusion],
        "notes": notes(found),
        **found.verdict().model_dump(mode="json"),
    }


def markdown(found: Verification, again: str) -> str:
    """Return the report in Markdown, in which all text of the bundle is inert.

    Args:
        found: the verification.
        again: the command that repeats it (`repeat`).
    """
    manifest = found.bundle.manifest
    lines = [
        f"### Verification of {inert(manifest.row)} on {inert(manifest.board)}: {found.badge.value}",
        "",
        f"| {' | '.join(HEADINGS)} |",
        f"| --- |{' --: |' * (len(HEADINGS) - 1)}",
        *(f"| {' | '.join(_cells(test))} |" for test in found.tests),
        "",
        *(f"- {inert(note)}" for note in notes(found)),
        "",
        f"Repeat it: {inert(again)}",
    ]
    return "\n".join(lines) + "\n"


def inert(text: str) -> str:
    """Return any text as a code span of Markdown, in which no mark, link, mention or HTML has an effect.

    Backticks are replaced by apostrophes and vertical bars by broken bars, because neither can be escaped in a span.

    >>> inert("a`b|c")
    "`a'b¦c`"
    """
    plain = printable(text).replace("`", "'").replace("|", "¦")
    return f"`{plain}`" if plain.strip() else "` `"


def repeat(found: Verification, name: str, **options: str | Path | bool | None) -> str:
    """Return the command that repeats a verification with the same seed.

    Args:
        found: the verification.
        name: the bundle as the user named it.
        **options: further options of the command.
    """
    again = found.repetition
    images = None if again is None else again.asked
    return command("verify", name, seed=found.seed, images=images, no_attacks=not found.with_attacks, **options)


def _why(found: Verification) -> str:
    beyond = [test.name for test in found.tests if test.bound > test.margin]
    if beyond:
        return f"undecided: too few images or draws, or a small difference: {', '.join(beyond)} (more: --images)"
    return "undecided: no claim is refuted, but see the remarks below"


def _cells(test: ClaimTest) -> Sequence[str]:
    return (
        test.name,
        str(test.images),
        f"{100 * test.claimed:.1f} %",
        f"{100 * test.found:.1f} %",
        f"{test.p_value:.2g}",
        f"{100 * test.bound:.1f} points",
        f"{100 * test.margin:.0f} points",
    )


def _listed(positions: Sequence[int]) -> str:
    more = len(positions) - MOST_LISTED
    return ", ".join(map(str, positions[:MOST_LISTED])) + (f" and {more} more" if more > 0 else "")
