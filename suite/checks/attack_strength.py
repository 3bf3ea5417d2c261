"""Checks by comparison of attacks: more knowledge or a larger threat must not make the attacks weaker.

Athalye et al. 2018 (arXiv:1802.00420), section 3; Carlini et al. 2019 (arXiv:1902.06705), section 3. Attacks are
compared on the same images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from purebench.checks.attack_variants import BLACK, BLIND, FEW, LONGER, MANY, TRANSFER, WHITE, in_units
from purebench.checks.finding import Suspicion, compared, counted, worst
from purebench.results.results import DefenseResult
from purebench.results.scores import under

Floats = npt.NDArray[np.float64]

WITHOUT = {BLACK: "random search (Square)", TRANSFER: "transfer from the classifier alone"}
"""The attacks without gradients of the defense, and how each works."""
LEFT = 0.05
"""Accuracy that is accepted under an unbounded attack: attacks of a few steps miss some images."""


def more_draws(found: DefenseResult, tolerance: float) -> Suspicion:
    """Check that APGD with gradients over several draws (EOT) is at least as strong as with those of one draw.

    Args:
        found: the result of the defense on the board of `for_strength`.
        tolerance: the difference, a share of the images, that must be detected.
    """
    name = "more draws do not weaken the attack"
    if not found.random:
        return Suspicion(name, "the defense is not random")
    return _against(name, found, (MANY,), FEW, tolerance, "with many draws per gradient", "with one draw per gradient")


def beats_blind(found: DefenseResult, tolerance: float, *, purifies: bool) -> Suspicion:
    """Check that attacks that know the purifier are at least as strong as one that does not.

    Args:
        found: the result of the defense on the board of `for_strength`.
        tolerance: the difference, a share of the images, that must be detected.
        purifies: whether the defense has a purifier.
    """
    name = "white-box is at least as strong as blind"
    if not purifies:
        return Suspicion(name, "the defense has no purifier")
    return _against(
        name, found, WHITE, BLIND, tolerance, "with knowledge of the purifier", "against the classifier alone"
    )


def beats_black_box(found: DefenseResult, tolerance: float) -> Suspicion:
    """Check that attacks with gradients are at least as strong as attacks without gradients of the defense.

    The attacks without are random search, and the transfer of images found against the board's classifier alone.

    Args:
        found: the result of the defense on the board of `for_strength`.
        tolerance: the difference, a share of the images, that must be detected.
    """
    name = "white-box is at least as strong as black-box"
    strong = _values(found, WHITE)
    weak = {how: values for other, how in WITHOUT.items() if (values := _values(found, (other,))) is not None}
    if strong is None or not weak:
        return Suspicion(name, "one of the attacks to compare does not apply to this defense")
    told = ", ".join(f"{how} {_percent(values)}" for how, values in weak.items())
    told = f"accuracy under attack: with gradients {_percent(strong)}, {told} ({strong.size} images)"
    return worst([compared(name, told, strong, values, tolerance) for values in weak.values()])


def reaches_zero(found: DefenseResult, tolerance: float) -> Suspicion:
    """Check that an attack that may turn any image into any other leaves an accuracy of almost zero.

    Args:
        found: the result at the radius of `everything`.
        tolerance: the excess over `LEFT`, a share of the images, that must be detected.
    """
    name = "an unbounded attack reaches 0 %"
    values = _values(found, WHITE)
    if values is None:
        return Suspicion(name, "no gradient-based attack applies to this defense")
    told = f"accuracy under an unbounded attack: {_percent(values)} ({values.size} images)"
    return counted(name, told, values, LEFT, tolerance)


def does_not_rise(found: Mapping[float, DefenseResult], tolerance: float) -> Suspicion:
    """Check that the robust accuracy does not increase from a radius to the next.

    Args:
        found: the result at each radius.
        tolerance: the difference, a share of the images, that must be detected.
    """
    name = "robustness does not rise with the radius"
    radii = sorted(found)
    values = {radius: _values(found[radius], WHITE) for radius in radii}
    known = [(radius, value) for radius in radii if (value := values[radius]) is not None]
    if len(known) < 2:
        return Suspicion(name, "no gradient-based attack applies to this defense")
    written = (str(one.board.get("threat", {}).get("radius", "")) for one in found.values())
    like = next((text for text in written if "/" in text), "")
    told = ", ".join(f"{_percent(value)} at radius {in_units(radius, like)}" for radius, value in known)
    return worst([compared(name, told, far, near, tolerance) for (_, near), (_, far) in pairwise(known)])


def falls_with_radius(near: DefenseResult, far: DefenseResult, tolerance: float) -> Suspicion:
    """Check that at least half of the robust accuracy at the board's radius is lost far beyond it.

    Args:
        near: the result at the board's radius.
        far: the result at a radius far beyond it (`far_radius`).
        tolerance: the difference, a share of the images, that must be detected.
    """
    name = "robustness falls far beyond the radius"
    here, there = _values(near, WHITE), _values(far, WHITE)
    if here is None or there is None:
        return Suspicion(name, "no gradient-based attack applies to this defense")
    told = (
        f"accuracy under attack: {_percent(here)} at the radius, {_percent(there)} far beyond it ({here.size} images)"
    )
    # far - near / 2 is in [-1/2, 1]: 0 if half is lost, tolerance / 2 if the accuracy is `tolerance` at both radii
    return counted(name, told, (there - here / 2 + 0.5) / 1.5, 0.5 / 1.5, tolerance / 2 / 1.5)


def more_steps(found: DefenseResult, longer: DefenseResult, tolerance: float) -> Suspicion:
    """Check that an attack with more steps is not stronger, which means that the attack has converged.

    Args:
        found: the result of the attack.
        longer: the result of the same attack with more steps.
        tolerance: the difference, a share of the images, that must be detected.
    """
    name = "more steps do not make the attack stronger"
    (attack,) = (attack.name for attack in longer.attacks)
    short, long = _values(found, (attack,)), _values(longer, (attack,))
    if short is None or long is None:
        return Suspicion(name, "no gradient-based attack applies to this defense")
    told = (
        f"accuracy under {attack}: {_percent(short)}, with {LONGER} times the steps {_percent(long)} ({short.size} "
        "images)"
    )
    return compared(name, told, short, long, tolerance)


def stronger_view(found: DefenseResult) -> str:
    """Return the view of the strongest white-box attack: `exact` or `bpda`."""
    left = {name: values.mean() for name in WHITE if (values := _values(found, (name,))) is not None}
    best = min(left, key=lambda name: left[name], default=MANY)
    return "exact" if best == MANY else "bpda"


def _against(
    name: str, found: DefenseResult, knowing: Sequence[str], other: str, tolerance: float, how: str, instead: str
) -> Suspicion:
    """Compare the strongest of the attacks `knowing` with another attack, which should not be stronger."""
    strong, weak = _values(found, knowing), _values(found, (other,))
    if strong is None or weak is None:
        return Suspicion(name, "one of the attacks to compare does not apply to this defense")
    told = f"accuracy under attack: {how} {_percent(strong)}, {instead} {_percent(weak)} ({strong.size} images)"
    return compared(name, told, strong, weak, tolerance)


def _values(found: DefenseResult, attacks: Sequence[str]) -> Floats | None:
    """Return the share of correct draws of each image under the worst of these attacks; None if none answered."""
    some = [attack for attack in found.attacks if attack.name in attacks and not (attack.failed or attack.skipped)]
    return under(found, some) if some else None


def _percent(values: Floats) -> str:
    return f"{100 * values.mean():.1f} %"
