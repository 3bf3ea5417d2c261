"""Builds verdicts about results that follow from their evidence."""

from __future__ import annotations

from typing import Any

from purebench.results.files.verdict import BROKEN, CLEAN_IMAGES, MARGINS, ROBUST, Badge, StoredClaim, Verdict
from purebench.results.files.verdicts import result_hash
from purebench.results.results import DefenseResult


def verdict_about(result: DefenseResult, badge: Badge = Badge.VERIFIED, seed: int = 1, **parts: Any) -> Verdict:
    """Returns a verdict with this badge; `parts` replace its fields."""
    claimed = {ROBUST: (float(result.fresh[result.scored].mean()), int(result.scored.sum()))}
    if result.clean is not None:
        claimed[CLEAN_IMAGES] = (float(result.clean.value), result.clean.n)
    if badge is not Badge.REPRODUCED:
        claimed[BROKEN] = (0.5, 20)
    p_value = 1e-6 if badge is Badge.REFUTED else 1.0
    bound = 0.5 if badge is Badge.UNDECIDED else 0.01
    claims = [
        StoredClaim(
            name=name, claimed=one, found=one, p_value=p_value, bound=bound, margin=MARGINS[name], images=images
        )
        for name, (one, images) in claimed.items()
    ]
    fields: dict[str, Any] = {"badge": badge, "result": result_hash(result), "bundle": "b" * 64, "seed": seed}
    fields |= {"attacked": 20 if BROKEN in claimed else 0, "broken": [], "claims": claims, "remarks": ["a remark"]}
    return Verdict(**(fields | {"purebench": "0.5.0", "day": "2026-01-31"} | parts))
