"""Choosing the alphas of a purifier that mixes latents, by search (Serez et al., WACV 2025, arXiv:2412.03453, §4).

trial       `Trial`: one evaluation; the next point is proposed by `statistics.design.propose`
loop        `search`: the search itself, on any function of alphas
images      dev images, disjoint from every board's
setting     `Setting`: the purifier, the images, and the attack that it is tuned against
bench       `Bench`: the value of a list of alphas, attacked and verified by the runner
finalists   evaluates the best lists again, on fresh images and draws
journal     keeps all evaluations on disk, so that an interrupted search continues
picture     draws the search
tune        `tune`: the whole procedure

The search spaces (all lists of alphas, or curves with two or three parameters) are in
`purebench.defenses.mlvgm.alpha_spaces`.
"""

from purebench.latents.tuning.loop import best_few, search
from purebench.latents.tuning.trial import Trial

__all__ = ["Trial", "best_few", "search"]
