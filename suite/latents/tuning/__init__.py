"""Choosing the alphas of a purifier that mixes latents, by search (Serez et al., WACV 2025, arXiv:2412.03453, §4).

spaces      where: all lists of alphas, or curves with two or three parameters
propose     what to ask next: at random, or by a Gaussian process (Optuna)
loop        `search`: the search itself, on any function of alphas
images      held-out images, apart from every board's
setting     `Setting`: the purifier, the images, and the attack it is tuned against
bench       `Bench`: what a list is worth, attacked and verified by the runner
finalists   the best again, on fresh images and draws
journal     all of it on disk, so that a killed search goes on
tune        `tune`: all of them together
"""

from purebench.latents.tuning.loop import best_few, search
from purebench.latents.tuning.propose import Trial

__all__ = ["Trial", "best_few", "search"]
