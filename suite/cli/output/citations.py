"""Makes BibTeX entries for the declared papers of defenses, from papers.bib or from the declarations themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

from purebench.cli.declaration import declared

ENTRY = re.compile(r"^@\w+\{.*?^\}$", re.MULTILINE | re.DOTALL)
EPRINT = re.compile(r"eprint\s*=\s*\{([^}]*)\}")
FIELD = re.compile(r"^  (title|author) = \{+(.*?)\}+,$", re.MULTILINE)
SOURCE = re.compile(r"(?:after )?(?P<authors>.+?) (?P<year>\d{4}), arXiv:(?P<number>[\w./-]+)")
OWN = """@software{purebench,
  title = {{purebench: an evaluation suite for purification defenses of image classifiers}},
  author = {{The purebench authors}},
  year = {2026},
  version = {VERSION},
  license = {MIT},
}"""


def bibtex(defenses: Iterable[str], version: str) -> str:
    """Return the BibTeX entries of purebench and of the papers that defenses declare as their source.

    Args:
        defenses: Registered names; of a family, the name before `/` or `:` counts. Undeclared ones are left out.
        version: Version of purebench.

    Returns:
        The entries, separated by blank lines.
    """
    declarations, _ = declared()
    known = papers()
    entries = {"": OWN.replace("VERSION", version)}
    for name in defenses:
        one = declarations.get(re.split("[/:]", name)[0])
        found = None if one is None else SOURCE.fullmatch(one.source)
        if found is not None:
            entries[found["number"]] = known.get(found["number"]) or entry(found["authors"], found["year"], found[3])
    return "\n\n".join(entries.values()) + "\n"


def paper(defense: str) -> dict[str, str]:
    """Return link, name and authors of the paper that a defense declares, under the names that RobustBench uses.

    Args:
        defense: Registered name, as for `bibtex`.

    Returns:
        The fields that are known; {} for a defense without a paper.
    """
    declarations, _ = declared()
    one = declarations.get(re.split("[/:]", defense)[0])
    found = None if one is None else SOURCE.fullmatch(one.source)
    if found is None:
        return {}
    fields = dict(FIELD.findall(papers().get(found["number"], "")))
    known = {
        "link": f"https://arxiv.org/abs/{found['number']}",
        "name": fields.get("title", ""),
        "authors": fields.get("author", "").replace(" and ", ", "),
    }
    return {name: value for name, value in known.items() if value}


def papers() -> dict[str, str]:
    """Return the entries of our own papers.bib, by their arXiv number."""
    text = files("purebench.defenses").joinpath("papers.bib").read_text(encoding="utf-8")
    return {number[1]: one for one in ENTRY.findall(text) if (number := EPRINT.search(one))}


def entry(authors: str, year: str, number: str) -> str:
    """Return a minimal entry for a paper of which only the declaration is known.

    Args:
        authors: Authors as in the declaration.
        year: Year of publication.
        number: arXiv number.

    Returns:
        The entry.
    """
    first = re.split(" et al| & ", authors)[0]
    several = " and ".join(re.sub(" et al\\.?", " and others", authors).split(" & "))
    key = re.sub(r"[^a-z]", "", first.lower()) + year
    return (
        f"@misc{{{key},\n  author = {{{several}}},\n  year = {{{year}}},\n  eprint = {{{number}}},\n"
        f"  archivePrefix = {{arXiv}},\n  url = {{https://arxiv.org/abs/{number}}},\n}}"
    )
