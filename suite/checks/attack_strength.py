"""What attacks of different strength say of each other: knowing more, or being allowed more, must not help a defense.

Athalye et al. 2018 (arXiv:1802.00420), section 3; Carlini et al. 2019 (arXiv:1902.06705), section 3. Attacks are
compared on the same images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from purebench.checks.attack_variants import BLACK, BLIND, FEW, LONGER, MANY, TRANSFER, WHITE
from purebench.checks.finding import Suspicion, compared, counted, worst
from purebench.results.results import DefenseResult
from purebench.results.scores import under

Floats = npt.NDArray[np.float64]

WITHOUT = {BLACK: "by random search (Square)", TRANSFER: "by images found against the classifier alone"}
"""The attacks that know no gradient of the defense, and how each works."""
LEFT = 0.05
"""Accuracy that may be left where an attack may do anything: attacks of a few steps miss some images."""


def more_draws(found: DefenseResult, tolerance: float) -> Suspicion:
    """Whether APGD does at least as well with gradients that average over more draws (EOT) as with those of one."""
    name = "more draws do not weaken the attack"
    if not found.random:
        return Suspicion(name, "the defense is not random")
    return _against(name, found, (MANY,), FEW, tolerance, "with the gradients of many draws", "with those of one")


def beats_blind(found: DefenseResult, tolerance: float, *, purifies: bool) -> Suspicion:
    """Whether attacks that know the purifier do at least as well as one that does not."""
    name = "white-box is at least as strong as blind"
    if not purifies:
        return Suspicion(name, "there is no purifier that an attacker could know of")
    return _against(name, found, WHITE, BLIND, tolerance, "knowing the purifier", "attacking the classifier alone")


def beats_black_box(found: DefenseResult, tolerance: float) -> Suspicion:
    """Whether attacks that follow gradients do at least as well as those that know none: random search, and images
    that were found against the board's classifier alone."""
    name = "white-box is at least as strong as black-box"
    strong = _values(found, WHITE)
    weak = {how: values for other, how in WITHOUT.items() if (values := _values(found, (other,))) is not None}
    if strong is None or not weak:
        return Suspicion(name, "one of the attacks to compare does not apply")
    told = ", ".join(f"{how} {_percent(values)}" for how, values in weak.items())
    told = f"following gradients {_percent(strong)} are left, {told}, of {strong.size} images"
    return worst([compared(name, told, strong, values, tolerance) for values in weak.values()])


def reaches_zero(found: DefenseResult, tolerance: float) -> Suspicion:
    """Whether an attack that may turn any image into any other leaves next to nothing."""
    name = "an unbounded attack reaches 0 %"
    values = _values(found, WHITE)
    if values is None:
        return Suspicion(name, "no attack that follows gradients applies")
    told = f"{_percent(values)} of {values.size} images hold where any image may become any other"
    return counted(name, told, values, LEFT, tolerance)


def does_not_rise(found: Mapping[float, DefenseResult], tolerance: float) -> Suspicion:
    """Whether robustness does not rise from a radius to the next; radius → what was found there."""
    name = "robustness does not rise with the radius"
    radii = sorted(found)
    values = {radius: _values(found[radius], WHITE) for radius in radii}
    known = [(radius, value) for radius in radii if (value := values[radius]) is not None]
    if len(known) < 2:
        return Suspicion(name, "no attack that follows gradients applies")
    told = ", ".join(f"{_percent(value)} at {radius:.4g}" for radius, value in known)
    return worst([compared(name, told, far, near, tolerance) for (_, near), (_, far) in pairwise(known)])


def falls_with_radius(near: DefenseResult, far: DefenseResult, tolerance: float) -> Suspicion:
    """Whether at least half of what holds at the board's radius is lost at one far beyond it (`far_radius`)."""
    name = "robustness falls far beyond the radius"
    here, there = _values(near, WHITE), _values(far, WHITE)
    if here is None or there is None:
        return Suspicion(name, "no attack that follows gradients applies")
    told = f"{_percent(here)} at the radius, {_percent(there)} far beyond it, of {here.size} images"
    # far - near / 2 lies in [-1/2, 1]: 0 where half is lost, tolerance / 2 where `tolerance` holds and nothing is lost
    return counted(name, told, (there - here / 2 + 0.5) / 1.5, 0.5 / 1.5, tolerance / 2 / 1.5)


def more_steps(found: DefenseResult, longer: DefenseResult, tolerance: float) -> Suspicion:
    """Whether an attack with more steps leaves as much, so that the attack at hand has converged."""
    name = "more steps do not break more"
    (attack,) = (attack.name for attack in longer.attacks)
    short, long = _values(found, (attack,)), _values(longer, (attack,))
    if short is None or long is None:
        return Suspicion(name, "no attack that follows gradients applies")
    told = (
        f"{_percent(short)} are left by {attack}, {_percent(long)} by {LONGER} times the steps, of {short.size} images"
    )
    return compared(name, told, short, long, tolerance)


def stronger_view(found: DefenseResult) -> str:
    """The view of the white-box attack that leaves least: `exact`, or `bpda`."""
    left = {name: values.mean() for name in WHITE if (values := _values(found, (name,))) is not None}
    best = min(left, key=lambda name: left[name], default=MANY)
    return "exact" if best == MANY else "bpda"


def _against(
    name: str, found: DefenseResult, knowing: Sequence[str], other: str, tolerance: float, how: str, instead: str
) -> Suspicion:
    """Whether the best of the attacks `knowing` leaves no more than another one does."""
    strong, weak = _values(found, knowing), _values(found, (other,))
    if strong is None or weak is None:
        return Suspicion(name, "one of the attacks to compare does not apply")
    told = f"{how} {_percent(strong)} are left, {instead} {_percent(weak)}, of {strong.size} images"
    return compared(name, told, strong, weak, tolerance)


def _values(found: DefenseResult, attacks: Sequence[str]) -> Floats | None:
    """How often the defense is right under the worst of these attacks, image by image; None where none answers."""
    some = [attack for attack in found.attacks if attack.name in attacks and not (attack.failed or attack.skipped)]
    return under(found, some) if some else None


def _percent(values: Floats) -> str:
    return f"{100 * values.mean():.1f} %"
