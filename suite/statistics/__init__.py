"""What the answers of a defense say about it, and how surely: pure functions on numpy arrays, no I/O, no
torch.

estimate     `Estimate`: a number with its interval, its n and its method; no number leaves without them
intervals    `interval`: one door to the methods by name; `METHODS`: the table of them
proportions  `clopper_pearson`, `wilson`: right or wrong once an image (a deterministic defense)
betting      `betting`: the mean of values in [0,1] (a random defense); `betting_sequence`: the same at any time
worst_case   `robust_accuracy`, `robust_per_image`: the worst attack of every image; `accuracy`: a single attack
curve        `security_curve`: accuracy against radius, from the distances of minimum-norm attacks; `median_distance`

The sampling unit is everywhere the image, never the draw.
"""

from purebench.statistics.betting import betting, betting_sequence
from purebench.statistics.curve import median_distance, security_curve
from purebench.statistics.estimate import Estimate
from purebench.statistics.intervals import METHODS, interval
from purebench.statistics.proportions import clopper_pearson, wilson
from purebench.statistics.worst_case import accuracy, robust_accuracy, robust_per_image

__all__ = [
    "METHODS",
    "Estimate",
    "accuracy",
    "betting",
    "betting_sequence",
    "clopper_pearson",
    "interval",
    "median_distance",
    "robust_accuracy",
    "robust_per_image",
    "security_curve",
    "wilson",
]
