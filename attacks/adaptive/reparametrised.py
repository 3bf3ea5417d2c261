"""An attack on purifiers that search the codes of a generator G: searches the codes too, by reparametrisation.

Athalye et al. 2018 (arXiv:1802.00420) attack Defense-GAN on the generator's manifold, where its
projection hardly changes an image: they search a code u for which G(u) is misclassified and near x. Here the search
starts at the code that the defense itself finds for x, and is bounded: Adam ascends the margin of f(G(u)) and descends
the squared distance of the point from the threat model, with a weight that grows; the point is then projected into the
threat model. The authors take the nearest of 30 random starts and search the weight, once for each of 5 values, for
the nearest adversarial image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.adaptive.off_manifold import ASK
from purebench.attacks.best import Best, rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.losses import margin
from purebench.attacks.gradient.pgd import arrive, see_scores
from purebench.attacks.min_norm.cw import Adam
from purebench.attacks.views.view import View
from purebench.attacks.views.view_module import passes_gradient
from purebench.core.answers import Inapplicable, check_logits
from purebench.core.defense import LatentSearchPurifier
from purebench.core.norms.norms import NORMS, l2_size
from purebench.core.parameters import CheckedParameters, Count, Positive
from purebench.core.threat import Knowledge, ThreatModel

WEIGHTS = 1.0, 300.0
"""First and last weight of the distance from the threat model."""


@listed("searches the codes of a generator that the purifier searches", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Reparametrised(CheckedParameters):
    """Searches a code u of large margin, and returns G(u), or x + G(u) - G(u0), projected into the threat model.

    Attributes:
        steps: Gradients of generator and classifier per image.
        rate: Adam's first learning rate, as a share of the root mean square of an image's first code; it falls to zero
            along half a cosine.
        offset: Add the image's difference from its own projection, x - G(u0), to G(u). It keeps the perturbation small
            where the generator cannot reproduce the image within the radius. False for G(u) itself, as in the paper.
    """

    steps: Count = 100
    rate: Positive = 0.1
    offset: bool = True
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If the purifier does not search the codes of a generator.
        """
        purifier = view.defense.purifier
        if not isinstance(purifier, LatentSearchPurifier):
            raise Inapplicable("the purifier searches no codes of a generator")
        best = Best(view, x, y)
        see_scores(view, best, torch.arange(len(x), device=x.device), x, margin)
        index = best.open.nonzero().squeeze(1)
        if len(index):
            self._search(view, purifier, x, index, threat, best)
        return best.points()

    def _search(
        self, view: View, purifier: LatentSearchPurifier, x: Tensor, index: Tensor, threat: ThreatModel, best: Best
    ) -> None:
        def project(images: Tensor) -> tuple[Tensor, Tensor]:
            codes = purifier.search(images)
            return codes, purifier.generate(codes)

        with torch.no_grad():
            codes, images = view.batch.map(project, x[index])
        view.forwards += len(index)
        shift = torch.zeros_like(x)
        if self.offset:
            shift[index] = x[index] - images
        rates = torch.zeros(len(x), 1, device=x.device)
        rates[index] = self.rate * codes.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
        zero = torch.zeros_like(codes)
        state = Adam(index, x[index], codes, zero, zero, torch.full((len(index),), torch.inf, device=x.device))
        for k in range(self.steps):
            weight = WEIGHTS[0] * (WEIGHTS[1] / WEIGHTS[0]) ** (k / self.steps)

            def downhill(codes: Tensor, *given: Tensor, weight: float = weight) -> tuple[Tensor]:
                return (-ascent(view, purifier, codes, *given, threat=threat, weight=weight),)

            (gradient,) = view.batch.map(downhill, state.w, best.y[state.index], state.x, shift[state.index])
            gradient = view.checked(gradient, lambda: None)
            view.forwards += len(state.index)
            view.backwards += len(state.index)
            state.step(gradient, rates[state.index] * 0.5 * (1 + math.cos(math.pi * k / self.steps)), k + 1)
            last = k == self.steps - 1
            if last or k % ASK == ASK - 1:
                with torch.no_grad():
                    (images,) = view.batch.map(lambda codes: (purifier.generate(codes),), state.w)
                point = threat.project(images + shift[state.index], state.x)
                if last:
                    return arrive(view, best, state.index, point, margin)
                state.keep(see_scores(view, best, state.index, point, margin)[1])
                if not len(state.index):
                    return None
        return None


def ascent(
    view: View,
    purifier: LatentSearchPurifier,
    codes: Tensor,
    labels: Tensor,
    x: Tensor,
    shift: Tensor,
    *,
    threat: ThreatModel,
    weight: float,
) -> Tensor:
    """Return the direction that raises the margin of f(G(u)) and lowers the distance from the threat model, [M,D].

    At the image G(u) the margin's gradient has length 1, and the distance's is `weight` times the excess, as a share of
    the longest useful perturbation, so that the scale of the logits does not matter.

    Args:
        view: The defense as the attack sees it.
        purifier: Its purifier.
        codes: u, [M,D].
        labels: True classes [M].
        x: The clean images, [M,C,H,W].
        shift: What is added to G(u), [M,C,H,W].
        threat: The threat model.
        weight: Weight of the distance.
    """
    leaf = codes.detach().requires_grad_()
    with torch.enable_grad():
        image = purifier.generate(leaf)
        logits = check_logits(view.defense.classifier(image), len(x))
        (slope,) = torch.autograd.grad(passes_gradient(margin(logits, labels)).sum(), image, retain_graph=True)
        slope = view.checked(slope, lambda: logits.argmax(1) != labels, again=True)
        point = image.detach() + shift
        excess = point - threat.project(point, x)
        reach = threat.radius * l2_size(NORMS[threat.norm].direction(slope))
        heading = NORMS["l2"].direction(slope) - weight * excess / rows(reach.clamp_min(1e-12), excess)
        (found,) = torch.autograd.grad(image, leaf, heading)
    return found
