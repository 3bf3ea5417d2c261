"""Defense-GAN: the image of a generator that is nearest to the input (Samangouei et al. 2018, arXiv:1805.06605).

Section 3 of the paper: from R starts, L steps of gradient descent with momentum on the mean squared error of G(z) to
the image; the purified image is G of the best z found. The authors' attacks do not differentiate the search. Here the
exact gradient unrolls it, step by step with constant memory, and BPDA may differentiate an encoder instead.

The generator's leaky ReLUs make the gradient of the error jump where one of them changes sign. A step of the search
jumps too, which no derivative shows: the unrolled gradient is exact between the jumps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from purebench.core.defense import LatentSearchPurifier
from purebench.core.defense.listed import listed
from purebench.defenses.checkpoints import load
from purebench.defenses.diffusion.chain import gradient_of, run
from purebench.defenses.gan.search_spaces import CodeSpace, ImageSpace, PriorSpace
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN
from purebench.defenses.parameters import require

SPACES = ("z", "w+")
SURROGATES = ("identity", "encoder")


class DefenseGAN(LatentSearchPurifier):
    """Purifier that returns the nearest image found by a search in any space, clamped to [0,1].

    Args:
        space: the space of the search, with its generator.
        steps: number of steps L.
        rate: learning rate of the descent on an image's mean squared error.
        momentum: share of the last step that is added to the next, in [0,1).
        surrogate: the surrogate that BPDA differentiates, `identity` or `encoder`, the space's guess without a search.
        checkpointed: whether to recompute each step in the backward pass.

    Raises:
        PurebenchError: If a value is out of range.
    """

    def __init__(
        self,
        space: ImageSpace,
        *,
        steps: int = 20,
        rate: float = 3.0,
        momentum: float = 0.7,
        surrogate: str = "identity",
        checkpointed: bool = True,
    ):
        super().__init__()
        require("defense-gan", surrogate in SURROGATES, f"surrogate {' or '.join(SURROGATES)}", surrogate=surrogate)
        require("defense-gan", isinstance(steps, int) and steps >= 1, "a whole number of steps from 1", steps=steps)
        require(
            "defense-gan",
            0 < rate < math.inf and 0 <= momentum < 1,
            "a finite rate above 0 and momentum in [0,1)",
            rate=rate,
            momentum=momentum,
        )
        self.space, self.steps, self.rate, self.momentum = space, steps, rate, momentum
        self.stand_in, self.checkpointed, self.random = surrogate, checkpointed, space.random

    def forward(self, x: Tensor) -> Tensor:
        """Return G of the best code of each image, clamped to [0,1]."""
        return self.generate(self.search(x))

    def generate(self, codes: Tensor) -> Tensor:
        """Return the images of codes [N,D], clamped to [0,1]."""
        image: Tensor = self.space(codes).clamp(0, 1)
        return image

    def search(self, x: Tensor) -> Tensor:
        """Return the best code [N,D] of each image [N,C,H,W] in [0,1]."""
        starts = self.space.starts(x)
        count, restarts, length = starts.shape
        images = x.repeat_interleave(restarts, 0)
        codes = starts.flatten(0, 1)

        def step(state: Tensor) -> Tensor:
            code, speed, image = state.tensor_split([length, 2 * length], 1)
            slope = gradient_of(lambda at: self.error(at, image.view_as(images)), code)
            speed = self.momentum * speed - self.rate * slope
            return torch.cat([code + speed, speed, image], 1)

        # the state contains the image, so that gradients flow to it too
        state = torch.cat([codes, torch.zeros_like(codes), images.flatten(1)], 1)
        found = run(state, [step] * self.steps, self.checkpointed)[:, :length]
        with torch.no_grad():
            best = self.error(found, images).view(count, restarts).argmin(1)
        return found.view(count, restarts, length)[torch.arange(count, device=x.device), best]

    def error(self, codes: Tensor, images: Tensor) -> Tensor:
        """Return the mean squared error between the codes' images, before clamping, and the images, [N]."""
        difference: Tensor = self.space(codes) - images
        return difference.square().flatten(1).mean(1)

    def surrogate(self, x: Tensor) -> Tensor:
        """Return x, or the space's guess."""
        return self.space.guess(x) if self.stand_in == "encoder" else x


@listed(
    random=False,
    gradient="exact",
    surrogate="encoder",
    forwards=22,
    licence="MIT",
    source="Samangouei et al. 2018, arXiv:1805.06605",
)
def defense_gan(
    *,
    weights: str = "fashion-stylegan",
    space: str = "w+",
    start: str = "mean",
    restarts: int = 1,
    steps: int = 20,
    rate: float = 3.0,
    momentum: float = 0.7,
    seed: int | None = 0,
    surrogate: str = "encoder",
    checkpointed: bool = True,
) -> DefenseGAN:
    """Search the nearest image over StyleGAN2's codes: Defense-GAN, in w+; space=z is the paper's (Samangouei et al.).

    Args:
        weights: weights of the StyleGAN2, a bundled name or a .safetensors file.
        space: `z` searches from `restarts` draws of the prior, `w+` from one start.
        start: start of the search in w+, `mean` or `encoder`.
        restarts: number of starts in z.
        steps: steps of gradient descent.
        rate: learning rate of the descent on an image's mean squared error.
        momentum: share of the last step that is added to the next, in [0,1).
        seed: seed of the starts in z; None for new ones each time, which makes the purifier random.
        surrogate: the surrogate that BPDA differentiates, `encoder` for the model's autoencoder, or `identity`.
        checkpointed: whether to recompute each step in the backward pass.

    Raises:
        PurebenchError: If a value is out of range.
    """
    require("defense-gan", space in SPACES, f"space {' or '.join(SPACES)}", space=space)
    least = isinstance(restarts, int) and restarts >= 1
    require("defense-gan", least and (space == "z" or restarts == 1), "restarts from 1, of z alone", restarts=restarts)
    model = load(weights, "small-stylegan", SmallStyleGAN)
    where: ImageSpace = (
        PriorSpace(model, restarts=restarts, seed=seed) if space == "z" else CodeSpace(model, start=start)
    )
    return DefenseGAN(
        where,
        steps=steps,
        rate=rate,
        momentum=momentum,
        surrogate=surrogate,
        checkpointed=checkpointed,
    )
