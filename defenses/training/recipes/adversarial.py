"""A critic for a generative model, trained together with it in one step of the training loop.

Non-saturating logistic losses (Goodfellow et al. 2014, arXiv:1406.2661) with the penalty R1 (Mescheder et al. 2018,
arXiv:1801.04406) in some of the steps (lazy regularisation: Karras et al. 2020, arXiv:1912.04958, appendix B).
Generator and critic are updated simultaneously rather than in turns: the generator's loss treats the critic's weights
as constants, and the critic's loss treats the generator's images as constants, so one backward pass of the sum gives
each its own gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

GAMMA = 2.0
EVERY = 8
"""Weight of R1, and mean number of steps between two uses; they are random, so that a resumed run is the same."""
SLOPE = 0.2


class Critic(nn.Module):
    """Critic of images [N,colours,32,32] in [-1,1].

    As in StyleGAN2, the last layers receive the variation in the batch, so that a generator cannot produce one image
    for all codes.

    Args:
        colours: channels of the images.
        widths: channels of the convolutions.
        varied: whether the last layers receive the variation in the batch; False for a penalty on each image by itself.
    """

    def __init__(self, *, colours: int = 1, widths: tuple[int, ...] = (16, 32, 64, 96), varied: bool = True):
        super().__init__()
        self.varied = varied
        first, *others = widths
        layers: list[nn.Module] = [nn.Conv2d(colours, first, 3, padding=1)]
        for inner, outer in zip(widths, others, strict=False):
            layers.append(nn.Conv2d(inner, outer, 4, stride=2, padding=1))
        self.layers = nn.ModuleList(layers)
        self.last = nn.Conv2d(widths[-1] + varied, widths[-1], 3, padding=1)
        self.head = nn.Linear(widths[-1] * 16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits of being real, [N], and the features before them."""
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
            features.append(x)
        if self.varied:
            variation = (x.var(0, unbiased=False) + 1e-8).sqrt().mean().expand(len(x), 1, *x.shape[2:])
            x = torch.cat([x, variation], 1)
        x = functional.leaky_relu(self.last(x), SLOPE)
        return self.head(x.flatten(1))[:, 0], features[1:]


class WithCritic(nn.Module):
    """The trained module: the model, which is stored, and the critic, which is not.

    Args:
        model: the model.
        critic: the critic; a new one by default.
    """

    def __init__(self, model: nn.Module, critic: Critic | None = None):
        super().__init__()
        self.model, self.critic = model, Critic() if critic is None else critic

    def held(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the critic's output, with gradients to x but not to the critic."""
        weights = {name: value.detach() for name, value in self.critic.named_parameters()}
        found: tuple[Tensor, list[Tensor]] = functional_call(self.critic, weights, (x,))
        return found


def generator_loss(fake: Tensor) -> Tensor:
    """Return the mean of -log D(fake) over logits [N]."""
    return functional.softplus(-fake).mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean of -log D(real) - log(1 - D(fake)) over logits [N]."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Return R1: half the squared norm of the logits' gradient with respect to real images, averaged over these."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2


def feature_distance(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Return the mean absolute difference of features, in units of the first one's mean size, summed over layers."""
    distances = [(a - b).abs().mean() / (a.detach().abs().mean() + 1e-8) for a, b in zip(one, other, strict=True)]
    return torch.stack(distances).sum()
