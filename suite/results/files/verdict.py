"""Defines verdicts about rows, and checks that a verdict follows from the evidence that is stored with it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import Field

from purebench.core.files.versioned_model import Hash, Line, StrictModel, Text, Whole
from purebench.records.answers import is_outcome
from purebench.results.results import ANSWERED, CLEAN, DefenseResult
from purebench.statistics.reproduction import ACCURACY_MARGIN, BROKEN_MARGIN, ClaimTest, Conclusion, conclude

ROBUST, CLEAN_IMAGES, BROKEN = "robust accuracy", "clean accuracy", "accuracy after repeated attacks"
"""The claims that are tested."""
MARGINS = {ROBUST: ACCURACY_MARGIN, CLEAN_IMAGES: ACCURACY_MARGIN, BROKEN: BROKEN_MARGIN}
ROUNDING = 1e-9


class Badge(StrEnum):
    """The state of the reproduction of a row; the value is its text wherever it is shown.

    Attributes:
        VERIFIED: the accuracies were reproduced, and repeated attacks broke no more images than allowed.
        REPRODUCED: the accuracies were reproduced, and the attacks were not repeated.
        UNDECIDED: a verification could neither confirm nor refute the row.
        REFUTED: a verification refuted the row.
        UNVERIFIED: no verdict about this result file.
    """

    VERIFIED = "verified"
    REPRODUCED = "examples reproduced, attacks not re-run"
    UNDECIDED = "undecided"
    REFUTED = "refuted"
    UNVERIFIED = "unverified"


Finite = Annotated[float, Field(ge=-1, le=1)]


class StoredClaim(StrictModel):
    """A stored test of one claim; the fields are those of `statistics.reproduction.ClaimTest`."""

    name: Line
    claimed: Finite
    found: Finite
    p_value: Finite
    bound: Finite
    margin: Finite
    images: Whole


class Verdict(StrictModel):
    """A verdict about one result file.

    Attributes:
        badge: the verdict.
        result: sha256 of the result file.
        bundle: sha256 of the bundle.
        seed: seed of the verifier.
        attacked: number of images on which the attacks were repeated, 0 if they were not.
        broken: positions in the data set of the images claimed robust that the repeated attacks broke.
        claims: the tests.
        remarks: further findings, such as other weights.
        purebench: version of purebench of the verifier.
        day: day of the verification in UTC, such as 2026-01-31.
    """

    badge: Badge = Field(strict=False)
    result: Hash
    bundle: Hash
    seed: Whole
    attacked: Whole
    broken: list[Whole]
    claims: list[StoredClaim]
    remarks: list[Text]
    purebench: Line
    day: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]


def contradiction(verdict: Verdict, result: DefenseResult | None = None) -> str:
    """Return why a verdict does not follow from its evidence; "" if it does.

    The conclusion is computed again from the p-values and bounds of the claims, with the margins of purebench. The
    p-values themselves are not computed again: the draws behind them are not stored.

    Args:
        verdict: the verdict.
        result: the result that it is about, whose accuracies must be the claimed ones; None if it is not known.
    """
    claims = {claim.name: claim for claim in verdict.claims}
    if len(claims) < len(verdict.claims) or not claims.keys() <= MARGINS.keys():
        return f"expected each claim once, of {', '.join(MARGINS)}"
    if told := next((told for claim in verdict.claims if (told := _impossible(claim))), ""):
        return told
    again = claims.get(BROKEN)
    if verdict.attacked != (0 if again is None else again.images):
        return f"expected the claim {BROKEN!r} on {verdict.attacked} images that were attacked again"
    if again is not None and again.bound < len(verdict.broken) / again.images - ROUNDING:
        return f"{len(verdict.broken)} broken images contradict the bound of the claim {BROKEN!r}"
    if again is None and verdict.broken:
        return f"{len(verdict.broken)} images are called broken, but none was attacked again"
    found = conclude([ClaimTest(**claim.model_dump()) for claim in verdict.claims])
    allowed = _badges(found, attacked=again is not None, robust=ROBUST in claims)
    if verdict.badge not in allowed:
        return f"its claims give {' or '.join(allowed)}, but it says {verdict.badge}"
    return "" if result is None else _against(verdict, claims, result)


def _impossible(claim: StoredClaim) -> str:
    """Return why the numbers of a claim contradict each other; "" if they do not."""
    if claim.margin != MARGINS[claim.name]:
        return f"{claim.name}: expected the margin {MARGINS[claim.name]:g}, but got {claim.margin:g}"
    if min(claim.claimed, claim.found, claim.p_value) < 0 or not claim.images:
        return f"{claim.name}: expected fractions from 0 to 1, and images"
    if claim.name != BROKEN and claim.bound < claim.claimed - claim.found - ROUNDING:
        return f"{claim.name}: the bound {claim.bound:g} is below the difference of claimed and found accuracy"
    return ""


def _badges(found: Conclusion, *, attacked: bool, robust: bool) -> tuple[Badge, ...]:
    """Return the badges that a conclusion from claims permits; other settings or weights leave a row undecided."""
    if found is Conclusion.REFUTED:
        return (Badge.REFUTED,)
    if found is Conclusion.UNDECIDED or not robust:
        return (Badge.UNDECIDED,)
    return (Badge.VERIFIED if attacked else Badge.REPRODUCED, Badge.UNDECIDED)


def _against(verdict: Verdict, claims: dict[str, StoredClaim], result: DefenseResult) -> str:
    """Return why the claims are not those of a result; "" if they are."""
    clean = None if result.clean is None else next(one for one in result.attacks if one.name == CLEAN)
    expected = {ROBUST: result.fresh[result.scored]}
    expected |= {} if clean is None else {CLEAN_IMAGES: result.right(clean)[is_outcome(clean.outcomes, *ANSWERED)]}
    for name, draws in expected.items():
        claim = claims.get(name)
        if claim is None and draws.size and verdict.badge in (Badge.VERIFIED, Badge.REPRODUCED):
            return f"expected the claim {name!r} of the result, but it is missing"
        if claim and claim.images == len(draws) and not np.isclose(claim.claimed, draws.mean(), rtol=0, atol=1e-6):
            return f"{name}: the claimed {claim.claimed:.4f} is not the {draws.mean():.4f} of the result"
    return ""
