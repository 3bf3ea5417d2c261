"""Defense-GAN: the image that a generator can draw and that is nearest to the input (Samangouei et al. 2018).

arXiv:1805.06605, section 3: from R starts, L steps of gradient descent with momentum on the mean squared error of G(z)
to the image; the purified image is G of the best z found. The authors' attacks do not differentiate the search; here
the exact gradient unrolls it, step by step in flat memory, and BPDA may differentiate an encoder in its place.

The generator's leaky ReLUs make the error's slope jump where one of them changes sign. A step of the search jumps with
it, which no derivative sees: the unrolled gradient is exact between the jumps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from purebench.core.defense import Purifier
from purebench.defenses.checkpoints import load
from purebench.defenses.diffusion.sampling import gradient_of, require, run
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN
from purebench.defenses.priors.spaces import CodeSpace, PriorSpace, Space

SPACES = ("z", "w+")
SURROGATES = ("identity", "encoder")


class DefenseGAN(Purifier):
    """The nearest image that a search in any space finds, clamped to [0,1].

    steps: L; rate: of the descent, on an image's mean squared error; momentum: share of the last step that is added to
    the next, in [0,1). surrogate: what BPDA differentiates, `identity` or `encoder`, the space's guess without search.
    checkpointed: take each step again in the backward pass. Raises PurebenchError for values out of range.
    """

    def __init__(
        self,
        space: Space,
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
        """G of the best code of each image."""
        image: Tensor = self.space(self.search(x)).clamp(0, 1)
        return image

    def search(self, x: Tensor) -> Tensor:
        """The best code [N,D] of each image [N,C,H,W] in [0,1]."""
        starts = self.space.starts(x)
        count, restarts, length = starts.shape
        images = x.repeat_interleave(restarts, 0)
        codes = starts.flatten(0, 1)

        def step(state: Tensor) -> Tensor:
            code, speed, image = state.tensor_split([length, 2 * length], 1)
            slope = gradient_of(lambda at: self.error(at, image.view_as(images)), code)
            speed = self.momentum * speed - self.rate * slope
            return torch.cat([code + speed, speed, image], 1)

        # the image travels in the state, so that its gradient comes back
        state = torch.cat([codes, torch.zeros_like(codes), images.flatten(1)], 1)
        found = run(state, [step] * self.steps, self.checkpointed)[:, :length]
        with torch.no_grad():
            best = self.error(found, images).view(count, restarts).argmin(1)
        return found.view(count, restarts, length)[torch.arange(count, device=x.device), best]

    def error(self, codes: Tensor, images: Tensor) -> Tensor:
        """Mean squared error of the codes' images, before clamping, to the images, [N]."""
        difference: Tensor = self.space(codes) - images
        return difference.square().flatten(1).mean(1)

    def surrogate(self, x: Tensor) -> Tensor:
        """The identity, or the space's guess."""
        return self.space.guess(x) if self.stand_in == "encoder" else x


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
    """Defense-GAN, but a search for StyleGAN2 codes (w+) from their mean; space=z is the paper's (Samangouei et al.).

    space: `z` searches from `restarts` draws of the prior (seed: of the draws, None for new ones each time, which makes
    it random); `w+` from one start, `mean` or `encoder`. surrogate: `encoder` for the model's autoencoder, `identity`.
    Raises PurebenchError for other values.
    """
    require("defense-gan", space in SPACES, f"space {' or '.join(SPACES)}", space=space)
    least = isinstance(restarts, int) and restarts >= 1
    require("defense-gan", least and (space == "z" or restarts == 1), "restarts from 1, of z alone", restarts=restarts)
    model = load(weights, "small-stylegan", SmallStyleGAN)
    where: Space = PriorSpace(model, restarts=restarts, seed=seed) if space == "z" else CodeSpace(model, start=start)
    return DefenseGAN(
        where,
        steps=steps,
        rate=rate,
        momentum=momentum,
        surrogate=surrogate,
        checkpointed=checkpointed,
    )
