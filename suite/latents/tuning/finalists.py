"""Evaluates the best lists of a search again, on images and draws that the search did not use.

The largest of many noisy values is mostly due to chance (the winner's curse), the more so the more lists were tried. So
the fresh images are split in two halves: the winner is chosen on the first half, and its number and interval come from
the second half. Nothing was chosen on the second half, so that its mean is unbiased for every list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from purebench.data.datasets import Array
from purebench.defenses.mlvgm.alpha_spaces import cosine, linear, rounded
from purebench.latents.inspection import mean_difference
from purebench.statistics import Estimate, accuracy

Ask = Callable[[str, tuple[float, ...]], tuple[Array, bool]]
"""ask(what, alphas) → right bool [N,draws] on the fresh images, and whether the defense is random there.

what: `attacked` or `clean`; the same images in the same random order for every list.
"""


@dataclass(frozen=True)
class Candidate:
    """A list of alphas to be evaluated again.

    Attributes:
        name: Name of the list.
        alphas: Coarse to fine, before attenuation.
        searched: Its value in the search, None if the search did not evaluate it.
    """

    name: str
    alphas: tuple[float, ...]
    searched: float | None = None


@dataclass(frozen=True)
class Finalist:
    """Results of a list on the fresh images.

    Attributes:
        candidate: The list.
        chosen: Robust accuracy on the half that picks the winner.
        robust: Robust accuracy on the other half.
        clean: Clean accuracy on the other half.
        difference: Robust accuracy less that of the best baseline, on the other half; None for that baseline.
    """

    candidate: Candidate
    chosen: Estimate
    robust: Estimate
    clean: Estimate
    difference: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rates = {name: getattr(self, name) for name in ("chosen", "robust", "clean", "difference")}
        return {**asdict(self.candidate), **{k: v.to_dict() if v is not None else None for k, v in rates.items()}}


def baselines(n: int) -> list[Candidate]:
    """Return the lists of n alphas that need no search."""
    lists = {"cosine": cosine(n), "linear": linear(n), "constant": [1.0] * n}
    return [Candidate(name, tuple(rounded(alphas))) for name, alphas in lists.items()]


def with_baselines(best: Sequence[Candidate], n: int) -> list[Candidate]:
    """Return the best few lists and all baselines, no list twice.

    A baseline among the best keeps its name and its value.

    Args:
        best: The best lists of the search.
        n: Number of latents.

    Returns:
        The candidates.
    """
    found = {candidate.alphas: candidate for candidate in best}
    for base in reversed(baselines(n)):  # of equal baselines the first gives the name
        found[base.alphas] = replace(found.get(base.alphas, base), name=base.name)
    return [*(found.pop(c.alphas) for c in best), *reversed(found.values())]


def ask_again(
    candidates: Sequence[Candidate],
    ask: Ask,
    n: int,
    confidence: float = 0.95,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finalist]:
    """Evaluate all candidates on the fresh images.

    Args:
        candidates: The lists.
        ask: Evaluates a list on the fresh images.
        n: Number of latents.
        confidence: Of the intervals, in (0,1).
        told: Called with the number of answers so far and in all.

    Returns:
        The results, the winner first, then ordered by the half that chose it; of equals the first comes first.
    """
    answers: dict[Candidate, tuple[Array, Array, bool]] = {}
    for candidate in candidates:
        attacked, random = ask("attacked", candidate.alphas)
        told(2 * len(answers) + 1, 2 * len(candidates))
        answers[candidate] = attacked, ask("clean", candidate.alphas)[0], random
        told(2 * len(answers), 2 * len(candidates))
    half = len(next(iter(answers.values()))[0]) // 2
    order = sorted(candidates, key=lambda c: -float(answers[c][0][:half].mean()))
    known = {base.alphas for base in baselines(n)}
    base = next(c for c in order if c.alphas in known)

    def finalist(candidate: Candidate) -> Finalist:
        attacked, clean, random = answers[candidate]
        per_image, others = (np.asarray(each[half:].mean(1)) for each in (attacked, answers[base][0]))
        return Finalist(
            candidate,
            chosen=accuracy(attacked[:half], deterministic=not random, confidence=confidence),
            robust=accuracy(attacked[half:], deterministic=not random, confidence=confidence),
            clean=accuracy(clean[half:], deterministic=not random, confidence=confidence),
            difference=None if candidate is base else mean_difference(per_image, others, confidence),
        )

    return [finalist(candidate) for candidate in order]
