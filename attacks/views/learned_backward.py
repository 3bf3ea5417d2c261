"""BPDA with a learned surrogate: a small network, fitted to imitate the purifier, is differentiated in its place.

The identity is a poor surrogate for a purifier that inverts, shifts or resamples the image, or that damps some
directions and keeps others; Athalye et al. 2018 (arXiv:1802.00420, section 4.1.2) only require a differentiable
function that is close to the purifier. This surrogate is fitted around the images that are attacked.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.attacks.views.gradient_modes import bpda, straight_through
from purebench.attacks.views.view import View
from purebench.core.defense import Defense
from purebench.core.errors import Inapplicable
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import Count, checked
from purebench.core.threat import ThreatModel

BATCH = 8
"""Pairs per fitting step."""
RATE = 0.02
"""Adam's first learning rate; it falls to zero along a half cosine."""


class Imitation(nn.Module):
    """A small residual denoiser of images [N,C,H,W] of one size: A·x·B + convolutions; initially the identity.

    A [H,H] mixes rows and B [W,W] mixes columns, so that flips, shifts and resampling can be represented, which exceed
    the receptive field of the convolutions.
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
        """Predict the purified images [N,C,H,W]; they are not clamped, so that no gradient is lost."""
        moved: Tensor = self.rows @ x @ self.columns
        rest: Tensor = self.layers(2 * x - 1)
        return moved + rest


@checked()
def bpda_learned(
    defense: Defense,
    *,
    eot: int = 1,
    images: Tensor,
    threat: ThreatModel,
    steps: Count = 300,
    samples: Count = 16,
    width: Count = 16,
) -> View:
    """Use the true purifier in the forward pass and a network fitted to imitate it in the backward pass (BPDA).

    The passes of the fit count as forwards of the attack. Without a purifier this is `bpda`.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
        images: The images that will be attacked, [N,C,H,W] in [0,1].
        threat: Threat model of the attack; the network is fitted to points within twice its radius.
        steps: Adam steps.
        samples: Passes of the purifier per image, each at a different point.
        width: Channels of the network.

    Raises:
        PurebenchError: If steps, samples or width is below one.
        Inapplicable: If the purifier resizes images.
    """
    if defense.purifier is None or not len(images):
        return bpda(defense, eot=eot)
    if defense.purifier.resizes:
        raise Inapplicable("the network imitates purifiers that keep the size of an image; bpda interpolates")
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
    """Return points in [0,1] within twice the radius of the images.

    Two kinds alternate: random points of the ball, and points on the way to another of the images, where an attack that
    follows the data would go. The fraction of the radius is random, so that points close to the images are included.

    Args:
        images: Images [N,C,H,W] in [0,1].
        threat: Threat model with the norm and the radius.
        samples: Points per image.

    Returns:
        Points [samples·N,C,H,W].
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
    """Return one draw of the purifier at each of the points, counted as forwards of the view."""
    view.forwards += len(points)
    (answers,) = view.batch.map(lambda part: (view.defense.purify(part),), points)
    return answers.mean(1) if answers.ndim > points.ndim else answers  # the mean of several votes


def fit(imitation: Imitation, points: Tensor, answers: Tensor, steps: int) -> None:
    """Fit the network to the purifier's answers by least squares with Adam.

    One draw per point is enough: the mean over draws minimises the squared error.

    Args:
        imitation: The network; in eval mode and without gradients of its own afterwards.
        points: Inputs of the purifier [M,C,H,W].
        answers: Outputs of the purifier [M,C,H,W].
        steps: Adam steps.
    """
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
