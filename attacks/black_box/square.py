"""Square Attack (Andriushchenko et al. 2020, arXiv:1912.00049): random search with square patches; needs scores only.

On a random defense both the incumbent and the proposal are evaluated again in every query round, so that one lucky draw
does not end the search; each evaluation is the mean of `eot` draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import Best, rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.losses import margin, mean_over_draws
from purebench.attacks.gradient.pgd import see_scores
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.norms.norms import l2_size
from purebench.core.parameters import Count, PositiveShare
from purebench.core.threat import Knowledge, ThreatModel

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, at which the patch's area is halved (section 3.3)."""


def area(start: float, query: int, queries: int) -> float:
    """Return the share of the image that a patch covers at a query.

    Args:
        start: Share at the first query.
        query: Number of the query.
        queries: Total number of queries.
    """
    halvings = sum(query * 10_000 > mark * queries for mark in HALVINGS)
    return start * 0.5**halvings


def side(share: float, size: int, least: int = 1) -> int:
    """Return the side in pixels of a square that covers a share of the image.

    Args:
        share: Share of the image.
        size: Side of the image in pixels.
        least: Smallest side in pixels.
    """
    return min(max(round(math.sqrt(share * size * size)), least), size - 1)


def stripes(x: Tensor, radius: float) -> Tensor:
    """Return the starting points in linf: vertical stripes of ± radius, one pixel wide, drawn for each channel."""
    signs = torch.randint(0, 2, (*x.shape[:2], 1, x.shape[3]), device=x.device).to(x) * 2 - 1
    return (x + radius * signs).clamp(0, 1)


def linf_proposal(x: Tensor, point: Tensor, radius: float, s: int) -> Tensor:
    """Return the points with one random s×s square of each image set to x ± radius (algorithm 2).

    Where that would not change the point, the opposite signs are taken, so that no query is wasted.

    Args:
        x: Clean images [N,C,H,W] in [0,1].
        point: Current points [N,C,H,W].
        radius: Radius in linf.
        s: Side of the square in pixels.
    """
    count, channels, height, width = x.shape
    top = torch.randint(0, height - s + 1, (count, 1, 1, 1), device=x.device)
    left = torch.randint(0, width - s + 1, (count, 1, 1, 1), device=x.device)
    down = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    right = torch.arange(width, device=x.device).view(1, 1, 1, -1)
    inside = (down >= top) & (down < top + s) & (right >= left) & (right < left + s)
    signs = torch.randint(0, 2, (count, channels, 1, 1), device=x.device).to(x) * 2 - 1
    proposal, other = (torch.where(inside, (x + radius * sign).clamp(0, 1), point) for sign in (signs, -signs))
    same = (proposal - point).flatten(1).abs().amax(1) < 1e-7
    return torch.where(rows(same, point), other, proposal)


def bump(s: int, like: Tensor) -> Tensor:
    """Return the l2 attack's patch eta of norm 1: peaks of opposite sign in its two halves, [s,s] (section 3.4).

    At l, m of a half of height h and width w, sum_{k=0}^M 1/(n+1-k)² with n = max(h, w) // 2 and M = n - max(|l -
    h//2|, |m - w//2|), l and m counted from 0. The patch is transposed at random.

    Args:
        s: Side of the patch in pixels.
        like: A tensor with the type and device of the result.
    """

    def peak(height: int, width: int) -> Tensor:
        down = (torch.arange(height) - height // 2).abs()
        right = (torch.arange(width) - width // 2).abs()
        n = max(height, width) // 2
        sums = torch.cumsum(1 / torch.arange(n + 1, 0, -1).double().square(), 0)
        values: Tensor = sums[n - torch.maximum(down[:, None], right[None, :])]
        return values

    patch = torch.zeros(s, s, dtype=torch.float64)
    half = s // 2
    if half:
        patch[:half] = peak(half, s)
    patch[half:] = -peak(s - half, s)
    patch = patch / patch.norm()
    turned: Tensor = patch.T if float(torch.rand(())) < 0.5 else patch
    return turned.to(like)


def l2_start(x: Tensor, radius: float) -> Tensor:
    """Return the starting points in l2: a grid of patches with random signs, scaled to the radius."""
    delta = torch.zeros_like(x)
    s = max(x.shape[3] // 5, 2)
    for top in range(0, x.shape[2] - s + 1, s):
        for left in range(0, x.shape[3] - s + 1, s):
            signs = torch.randint(0, 2, (*x.shape[:2], 1, 1), device=x.device).to(x) * 2 - 1
            delta[:, :, top : top + s, left : left + s] += bump(s, x) * signs
    return (x + radius * delta / rows(l2_size(delta), delta)).clamp(0, 1)


def l2_proposal(x: Tensor, point: Tensor, radius: float, s: int) -> Tensor:
    """Return the points with the perturbation of two random s×s windows moved into one of them (algorithm 3).

    Args:
        x: Clean images [N,C,H,W] in [0,1].
        point: Current points [N,C,H,W].
        radius: Radius in l2.
        s: Side of the windows in pixels.
    """
    delta = point - x
    (top, other_top), (left, other_left) = (
        torch.randint(0, size - s + 1, (2,)).tolist() for size in (x.shape[2], x.shape[3])
    )
    window = (..., slice(top, top + s), slice(left, left + s))
    second = (..., slice(other_top, other_top + s), slice(other_left, other_left + s))
    unused = (radius**2 - l2_size(delta).square()).clamp_min(0)
    emptied = delta.clone()
    emptied[window] = 0
    emptied[second] = 0
    freed = (delta.square() - emptied.square()).sum((2, 3)) + unused[:, None] / x.shape[1]
    signs = torch.randint(0, 2, (*x.shape[:2], 1, 1), device=x.device).to(x) * 2 - 1
    old = delta[window]
    old_size = old.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    mixed = bump(s, x) * signs + old / old_size
    mixed = mixed / mixed.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    emptied[window] = mixed * freed.sqrt()[..., None, None]
    return (x + emptied).clamp(0, 1)


MOVES = {"linf": (stripes, linf_proposal, 1), "l2": (l2_start, l2_proposal, 3)}


@listed("random squares that raise the loss; averages draws", norms="linf l2", sees="score", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Square(NativeAttack):
    """Square Attack in linf and l2.

    Attributes:
        queries: Evaluations per image and restart, each of `eot` draws on a random defense.
        share: Share of the image that the first patch covers.
        restarts: Number of restarts.
    """

    queries: Count = 5000
    share: PositiveShare = 0.8
    restarts: Count = 1
    knowledge: ClassVar[Knowledge] = Knowledge.SCORE

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack supports a threat model.

        Raises:
            PurebenchError: If the norm is neither linf nor l2.
        """
        if threat.norm not in MOVES:
            raise PurebenchError(f"square: expected the norm linf or l2, but got {threat.norm}; use autoattack:square.")

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            PurebenchError: If the norm is neither linf nor l2.
        """
        self.check(threat)
        begin, propose, least = MOVES[threat.norm]
        best = Best(view, x, y)
        see_scores(view, best, torch.arange(len(x), device=x.device), x, margin)
        for number in range(self.restarts):
            index = best.open.nonzero().squeeze(1)
            if not len(index):
                break
            given = view.start[index] if view.start is not None and number == 0 else None
            point = threat.project(begin(x[index], threat.radius) if given is None else given, x[index])
            index, point, worst = _look(view, best, index, point, None)
            for query in range(1, self.queries):
                if not len(index):
                    break
                s = side(area(self.share, query, self.queries), min(x.shape[-2:]), least)
                proposal = threat.project(propose(x[index], point, threat.radius, s), x[index])
                index, point, worst = _look(view, best, index, proposal, (point, worst))
            best.settle(index, point, worst)
        return best.points()


def _look(
    view: View, best: Best, index: Tensor, proposal: Tensor, incumbent: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the images that stay, their better point and its margin; a random view evaluates the incumbent again."""
    if not len(index):
        return index, proposal, torch.zeros(0, device=proposal.device)
    logits = view.scores(proposal)
    value = mean_over_draws(margin, logits, best.y[index])
    point, worst = proposal, value
    if incumbent is not None:
        old_point, old_worst = incumbent
        if view.random:
            old_worst = mean_over_draws(margin, view.scores(old_point), best.y[index])
        point = torch.where(rows(value > old_worst, proposal), proposal, old_point)
        worst = torch.maximum(value, old_worst)
    stay = best.see(index, proposal, value, logits, scored=True)
    return index[stay], point[stay], worst[stay]
