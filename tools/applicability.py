"""Writes the table of docs/attacks.md on which view and attack applies to which purifier.

    python tools/applicability.py            # writes the page
    python tools/applicability.py --check    # changes nothing; exit code 1 if the page has another table

Every purifier is built with few steps, and attacked with one or two steps by each view and attack. Where it raises
Inapplicable, the attack would be SKIPPED on a board, with the same reason.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from textwrap import wrap

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from applicability_rows import every_row  # isort: skip
from generated_page import write_page  # isort: skip

from purebench.core import registry
from purebench.core.defense import Defense
from purebench.core.errors import Inapplicable
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

OUTDATED = "docs/attacks.md: the table differs from the purifiers; run python tools/applicability.py"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "attacks.md"
MARK = re.compile(r"(<!-- applicability -->\n\n)(?:(?!<!-- ).)*(<!-- end -->)", re.DOTALL)
ATTACKS = {
    "exact": ("pgd(steps=1)", "exact"),
    "surrogate": ("pgd(steps=1)", "surrogate"),
    "noised": ("pgd(steps=1)", "noised"),
    "intermediate": ("pgd(steps=1)", "intermediate"),
    "deviated": ("deviated(steps=2)", "exact"),
    "diffhammer": ("diffhammer(steps=1, draws=2, losses=[cw], restarts=1)", "exact"),
    "known-randomness": ("known-randomness(steps=1, seeds=1, then=1)", "exact"),
    "latent": ("latent(steps=2)", "exact"),
    "latent-skl": ("latent-skl(steps=2)", "exact"),
    "reparametrised": ("reparametrised(steps=2)", "exact"),
    "off-manifold": ("off-manifold(steps=1)", "exact"),
    "md": ("md(steps=2)", "exact"),
    "pgd(votes=sign)": ("pgd(steps=1, votes=sign)", "exact"),
}
"""A short attack and its view, by what the table calls them."""
WIDTH = 100
REASONS = "The reasons in records (attacks that run through `exact` are also skipped for its reason):"


@dataclass(frozen=True)
class Group:
    """Purifiers on which the same views and attacks apply.

    Attributes:
        names: Their names.
        reasons: Why an attack does not apply, by its name; None where it applies.
    """

    names: tuple[str, ...]
    reasons: Mapping[str, str | None]


def reason(defense: Defense, x: torch.Tensor, attack: str, gradient: str) -> str | None:
    """Return why an attack does not apply to a defense; None if it does."""
    with seeded("applicability"):
        with torch.no_grad():
            y = defense(x).argmax(1)
        try:
            view = registry.create("views", Spec.parse(gradient), defense=defense)
            registry.create("attacks", Spec.parse(attack))(view, x, y, ThreatModel("linf", 0.02))
        except Inapplicable as error:
            return str(error)
    return None


def groups() -> list[Group]:
    """Return all purifiers, grouped by the views and attacks that apply, in the order of their first names."""
    found: dict[tuple[bool, ...], Group] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small passes are slower with several threads
    try:
        for name, build, x in every_row():
            defense = build()
            reasons = {told: reason(defense, x, *how) for told, how in ATTACKS.items()}
            key = tuple(one is None for one in reasons.values())
            own = found.get(key, Group((), reasons))
            found[key] = Group((*own.names, name), own.reasons)
    finally:
        torch.set_num_threads(threads)
    return list(found.values())


def table(found: Sequence[Group]) -> str:
    """Return the groups, the table of attacks by groups, and the reasons where an attack does not apply."""
    letters = ascii_uppercase[: len(found)]
    members = [
        _item(f"**{letter}**: {', '.join(f'`{name}`' for name in group.names)}")
        for letter, group in zip(letters, found, strict=True)
    ]
    lines: dict[tuple[bool, ...], list[str]] = {}
    for attack in ATTACKS:
        lines.setdefault(tuple(group.reasons[attack] is None for group in found), []).append(f"`{attack}`")
    rows = [[", ".join(names), *("✓" if one else "–" for one in yes)] for yes, names in lines.items()]
    head = [["view or attack", *letters], ["---"] * (len(letters) + 1)]
    cells = "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows])
    why: dict[str, dict[str, str]] = {}
    for attack in ATTACKS:
        for letter, group in zip(letters, found, strict=True):
            told = group.reasons[attack]
            if told is not None and (attack == "exact" or told != group.reasons["exact"]):
                places = why.setdefault(re.split("[:;]", told)[0], {})
                places[attack] = f"{places.get(attack, '')} {letter}".strip()
    reasons = [
        _item(f"{told}: {', '.join(f'`{attack}` ({at})' for attack, at in places.items())}")
        for told, places in why.items()
    ]
    return "\n".join([*members, "", cells, "", REASONS, "", *reasons])


def _item(text: str) -> str:
    return "\n".join(wrap(f"* {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False))


def written(page: str) -> str:
    """Return the text of the page with the table of the registered purifiers.

    Raises:
        ValueError: the page has not exactly one place for it.
    """
    made = table(groups())
    text, count = MARK.subn(lambda mark: f"{mark[1]}{made}\n\n{mark[2]}", page)
    if count != 1:
        raise ValueError(f"expected <!-- applicability --> … <!-- end --> once in docs/attacks.md, but got {count}")
    return text


def main(arguments: Sequence[str]) -> int:
    """Write or check the page."""
    return write_page(PAGE, written, arguments, usage=str(__doc__), outdated=OUTDATED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
