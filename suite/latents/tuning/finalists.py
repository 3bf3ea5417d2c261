"""The best of a search are asked again on images and draws that it has not seen.

The largest of many noisy values is mostly lucky (the winner's curse), and the more were tried the luckier. So the fresh
images fall in two halves: on the one the winner is chosen, from the other come its number and its interval. Nothing
chose the second half, so that its mean is unbiased for every list.
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
    """A list to be asked again. searched: its value in the search, None if the search did not ask it."""

    name: str
    alphas: tuple[float, ...]
    searched: float | None = None


@dataclass(frozen=True)
class Finalist:
    """What the fresh images say of a list: `chosen` on the half that picks the winner, the others on the other half.

    difference: of robust accuracies from the best baseline, None for that one.
    """

    candidate: Candidate
    chosen: Estimate
    robust: Estimate
    clean: Estimate
    difference: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rates = {name: getattr(self, name) for name in ("chosen", "robust", "clean", "difference")}
        return {**asdict(self.candidate), **{k: v.to_dict() if v is not None else None for k, v in rates.items()}}


def baselines(n: int) -> list[Candidate]:
    """Lists that need no search."""
    lists = {"cosine": cosine(n), "linear": linear(n), "constant": [1.0] * n}
    return [Candidate(name, tuple(rounded(alphas))) for name, alphas in lists.items()]


def with_baselines(best: Sequence[Candidate], n: int) -> list[Candidate]:
    """The best few and all baselines, no list twice; a baseline among the best keeps its name and its value."""
    found = {candidate.alphas: candidate for candidate in best}
    for base in reversed(baselines(n)):  # of baselines that agree the first names them
        found[base.alphas] = replace(found.get(base.alphas, base), name=base.name)
    return [*(found.pop(c.alphas) for c in best), *reversed(found.values())]


def ask_again(
    candidates: Sequence[Candidate],
    ask: Ask,
    n: int,
    confidence: float = 0.95,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finalist]:
    """All candidates on the fresh images, the winner first, then by the half that chose it.

    n: latents. told: progress(answers so far, answers in all). The first of equals wins.
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
