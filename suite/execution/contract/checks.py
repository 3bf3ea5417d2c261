"""Checks the contract of a defense before a board is run on it, with a pass over two images.

Errors of the defense itself, and NaN, are left to the jobs, which attribute them to the images that cause them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from purebench.core.answers import NotLogits, are_probabilities, check_logits
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.execution.contract.declared_random import check_declared_random
from purebench.execution.contract.draw_independence import SHARED, shares_draws
from purebench.execution.contract.global_state import changed, snapshot
from purebench.execution.contract.image_shape import check_image_shape

SLACK = 0.5
"""Largest accepted distance of a purifier's images from [0,1]: generative models overshoot, a wrong scale exceeds it by
more."""
PROBABILITIES = (
    "its outputs are probabilities (each row sums to 1), so that the gradient of the cross-entropy vanishes; return "
    "the logits, without the softmax"
)


class WrongImages(PurebenchError):
    """The purifier returns something other than images of the expected shape, type and range."""


@dataclass(frozen=True)
class Facts:
    """Properties of a defense that were determined by calling it.

    Attributes:
        shares_draws: see `Defense`.
        warnings: the warnings for the record of every job.
    """

    shares_draws: bool = False
    warnings: tuple[ResultWarning, ...] = ()


def facts(defense: Defense, x: Tensor) -> Facts:
    """Determine the facts about a defense that was never called.

    Args:
        defense: a copy of the defense.
        x: images [N,C,H,W] in [0,1].

    Raises:
        PurebenchError: as for `shares_draws`.
        DefenseFault: the logits are invalid.
    """
    known = defense.shares_draws
    shared = shares_draws(defense, x) if known is None else known and defense.random
    with torch.no_grad(), seeded("facts", device=x.device):
        logits = check_logits(defense(x.clone()), len(x))
    found = [ResultWarning(WarningCode.SHARED_DRAWS, SHARED)] if shared else []
    found += [ResultWarning(WarningCode.PROBABILITIES, PROBABILITIES)] if are_probabilities(logits) else []
    return Facts(shared, tuple(found))


@torch.no_grad()
def check_contract(defense: Defense, x: Tensor) -> str | None:
    """Check a defense on two images; the defense is not used afterwards.

    Args:
        defense: a copy of the defense.
        x: images [2,C,H,W] in [0,1].

    Returns:
        A sentence if a defense with random=True looks deterministic, else None (see `check_declared_random`).

    Raises:
        WrongImages: the purifier returns images of another shape, type or range.
        PurebenchError: a part takes images of another shape, the answers are not logits, the defense changes its input
            or keeps a state outside of itself, or it is random and declares random=False; the message says how to fix
            it.
    """
    try:
        with seeded("contract", device=x.device):
            given = x[:1].clone()
            purified = defense.purify(given)
            _check_purified(defense, x[:1], purified)
            _check_input(given, x[:1])
            logits = check_logits(_classified(defense, x[:1], purified), 1)
            _check_forward(defense, x[:1], logits)
            before = snapshot(defense)  # caches that depend on the shapes are filled at this point
            given = x[1:].clone()
            defense(given)
            _check_input(given, x[1:])
            written = changed(before, snapshot(defense))
            _check_range(defense, x, purified)
    except PurebenchError:
        raise
    except NotLogits as fault:
        raise PurebenchError(f"{fault}.") from fault
    except Exception as error:  # reported by the jobs, for the images that cause it
        check_image_shape(defense, x, error)
        return None
    if written:
        raise PurebenchError(
            "expected a defense that stores nothing outside of itself between calls, but its code changes "
            f"{', '.join(written)}; store it in an attribute of the defense, which is copied for verification."
        )
    try:
        return check_declared_random(defense, x)
    except PurebenchError:
        raise
    except Exception:
        return None


@torch.no_grad()
def _check_forward(defense: Defense, x: Tensor, logits: Tensor) -> None:
    """Raise PurebenchError if an overridden `forward` is another function than classifier(purify(x))."""
    if type(defense).forward is Defense.forward:
        return
    with seeded("contract", device=x.device):
        whole = check_logits(defense(x.clone()), 1)
    if whole.shape != logits.shape or not torch.allclose(
        whole, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())
    ):
        raise PurebenchError(
            "expected a defense that computes classifier(purify(x)), which attacks differentiate, but "
            f"{type(defense).__name__} overrides `forward` with another function; move it into a Purifier, or into "
            "the classifier."
        )


def _check_input(given: Tensor, x: Tensor) -> None:
    """Raise PurebenchError if a call changed the images x that it was given."""
    if not bool(((given == x) | x.isnan()).all()):
        raise PurebenchError(
            "expected a defense that does not modify its input images, but it modifies them in place; work on a "
            "copy: x = x.clone()."
        )


def _classified(defense: Defense, x: Tensor, purified: Tensor) -> object:
    try:
        return defense.classifier(purified)
    except Exception as error:
        if purified.dtype is x.dtype:
            raise
        raise WrongImages(
            f"expected a purifier that returns {x.dtype}, the type of its input, but got {purified.dtype}, which "
            f"the classifier does not accept ({error}); end with .to(x.dtype)."
        ) from error


def _check_purified(defense: Defense, x: Tensor, purified: object) -> None:
    if not isinstance(purified, Tensor):
        raise WrongImages(
            f"expected a purifier that returns images as a tensor, but got {type(purified).__name__}; return a "
            "tensor [N,C,H,W]."
        )
    if not purified.is_floating_point():
        raise WrongImages(
            f"expected a purifier that returns floating-point images in [0,1], but got {purified.dtype}; convert "
            "them: .float() / 255."
        )
    votes = purified.ndim == x.ndim + 1
    shape = purified.shape[2:] if votes else purified.shape[1:]
    resizes = defense.purifier is not None and defense.purifier.resizes and purified.ndim == x.ndim
    if len(purified) != len(x) or not (resizes or shape == x.shape[1:]):
        raise WrongImages(
            f"expected a purifier that returns images of shape {list(x.shape)}, the shape of its input, but got "
            f"{list(purified.shape)}; resize them back, or declare resizes = True if the classifier accepts that "
            "size."
        )


def _check_range(defense: Defense, x: Tensor, purified: Tensor) -> None:
    """Raise PurebenchError for images of another scale than [0,1].

    Black and white images show the scale best, if the purifier accepts them.
    """
    some = [purified]
    with suppress(Exception):  # the purifier may fail on a constant image
        some.append(defense.purify(torch.cat([torch.zeros_like(x[:1]), torch.ones_like(x[:1])])))
    values = torch.cat([one.flatten().float() for one in some])
    values = values[values.isfinite()]
    if not len(values) or (float(values.min()) >= -SLACK and float(values.max()) <= 1 + SLACK):
        return
    cure = (
        "map [-1,1] to [0,1]: (x + 1) / 2" if float(values.max()) <= 1 + SLACK else "divide by 255, or clamp to [0,1]"
    )
    raise WrongImages(
        f"expected a purifier that returns images in [0,1], but got values from {float(values.min()):.3g} to "
        f"{float(values.max()):.3g}; {cure}."
    )
