"""BPDA with a learned surrogate: a small network fitted to imitate the purifier is differentiated in its place.

The identity stands in badly for a purifier that inverts, shifts or resamples the image, or that damps some directions
and keeps others; Athalye et al. 2018 (arXiv:1802.00420, section 4.1.2) ask only for a differentiable function that is
close to it. This one is fitted around the images that are attacked.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.attacks.parameters import at_least_one
from purebench.attacks.views.view import View, bpda, straight_through
from purebench.core.defense import Defense
from purebench.core.norms import NORMS
from purebench.core.threat import ThreatModel

BATCH = 8
"""Pairs of a fitting step."""
RATE = 0.02
"""Adam's first step size; it falls to zero along a half cosine."""


class Imitation(nn.Module):
    """A small residual denoiser of images [N,C,H,W] of one size: A·x·B + convolutions; the identity at first.

    A [H,H] mixes rows and B [W,W] mixes columns, so that flips, shifts and resampling are within reach, which lie
    beyond the sight of convolutions.
    """

    def __init__(self, shape: tuple[int, int, int], width: int):
        super().__init__()
        channels, height, number = shape
        self.rows, self.columns = nn.Parameter(torch.eye(height)), nn.Parameter(torch.eye(number))
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the purifier is thought to answer; not clamped, so that no gradient is lost."""
        moved: Tensor = self.rows @ x @ self.columns
        rest: Tensor = self.layers(2 * x - 1)
        return moved + rest


def bpda_learned(
    defense: Defense,
    *,
    eot: int = 1,
    images: Tensor,
    threat: ThreatModel,
    steps: int = 300,
    samples: int = 16,
    width: int = 16,
) -> View:
    """The true purifier forward, a network fitted to imitate it backward (BPDA).

    images: those that will be attacked, [N,C,H,W] in [0,1]; threat: how far, which is where the imitation must be good.
    steps: Adam steps; samples: passes of the purifier an image, each at another point; width: channels of the network.
    The passes count as the view's forwards. Without a purifier, `bpda`. Raises PurebenchError for settings below one.
    """
    at_least_one(steps=steps, samples=samples, width=width)
    if defense.purifier is None or not len(images):
        return bpda(defense, eot=eot)
    channels, height, number = images.shape[1:]
    imitation = Imitation((channels, height, number), width).to(images)
    view = View(defense, straight_through(defense, imitation), defense.random, True, eot)
    points = nearby(images, threat, samples)
    fit(imitation, points, asked(view, points), steps)
    fresh = nearby(images, threat, 1)
    answers = asked(view, fresh)
    with torch.no_grad():
        (guesses,) = view.batch.map(lambda part: (imitation(part),), fresh)
    error, of_identity = (float(functional.mse_loss(guess, answers)) for guess in (guesses, fresh))
    view.note(f"surrogate fitted: imitation error {error:.2g} against the identity's {of_identity:.2g}")
    return view


def nearby(images: Tensor, threat: ThreatModel, samples: int) -> Tensor:
    """Points within twice the radius of the images [N,C,H,W] and in [0,1], `samples` of each, [samples·N,C,H,W].

    They take turns: random points of the ball, and points on the way to another of the images, where an attack that
    follows the data would go. Fractions of the radius are random, so that the images themselves are near.
    """
    reach = ThreatModel(threat.norm, 2 * threat.radius)
    found = []
    for turn in range(samples):
        if turn % 2:
            move = images[torch.randperm(len(images), device=images.device)] - images
        else:
            move = reach.radius * NORMS[threat.norm].random(images)
        move = NORMS[threat.norm].project(move, reach.radius) * torch.rand(len(images), 1, 1, 1).to(images)
        found.append(reach.project(images + move, images))
    return torch.cat(found)


@torch.no_grad()
def asked(view: View, points: Tensor) -> Tensor:
    """One draw of the purifier at each of the points, counted as forwards of the view."""
    view.forwards += len(points)
    (answers,) = view.batch.map(lambda part: (view.defense.purify(part),), points)
    return answers.mean(1) if answers.ndim > points.ndim else answers  # of several votes, their mean


def fit(imitation: Imitation, points: Tensor, answers: Tensor, steps: int) -> None:
    """Least squares by Adam. One draw a point is enough: the mean over draws is what has the least squared error."""
    optimiser = torch.optim.Adam(imitation.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with torch.enable_grad():
        for _ in range(steps):
            some = torch.randint(len(points), (BATCH,), device=points.device)
            loss = functional.mse_loss(imitation(points[some]), answers[some])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    imitation.eval().requires_grad_(False)
