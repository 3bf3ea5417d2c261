"""What the answers of a defense say about it, and how surely: pure functions on numpy arrays, no I/O, no
torch.

estimate       `Estimate`: a number with its interval, its n and its method; no number leaves without them
intervals/     of a mean of values in [0,1], one an image
  methods      `interval`: one door to the methods by name; `METHODS`, and `APPROXIMATE`: those of the textbooks
  proportions  `clopper_pearson`, `wilson`, …: right or wrong once an image (a deterministic defense)
  calibration  `least_coverage`: the exact coverage of such an interval; the level at which it keeps its word
  gaffke       `gaffke`: of values in [0,1] (a random defense), whatever their order; `one_sided_bound`
  betting      `betting_sequence`: at any time; `betting`: for a fixed number of images, in an order
  bernstein    `empirical_bernstein` and its sequence: the same in closed form, longer
  bootstrap    `bca`: by resampling images
worst_case/    accuracy under the worst attack of each image
  halving      `contenders`, `picked`: one adversarial example an image, by successive halving over `RUNGS`
  bracket      `bracket`: both sides of mean_i min_a q[i,a]
  picking      `split_score`: the worst attack of every image is picked on other draws than it is scored on
  split_draws  `robust_accuracy`: the worst attack of every image, on plain arrays; `accuracy`: a single attack
  outcome_shares  images that are right nearly always, mostly, nearly never
  resubmission `resubmission_curve`, `vote_curve`: asked N times, and voting
ranking/       comparisons of defenses on the same images
  paired       `compare`, `attributable_loss`: two answers about the same images
  skewness     a guard where differences of equal means need not be symmetric
  ranks        `rank`: rank intervals, groups that cannot be told apart, the probability of being best
signs          the null distribution of paired differences: random signs
multiplicity   `holm`, `romano_wolf`: many comparisons
sequential/    inference that holds at any time
  anytime      `anytime_p_values`, `anytime_p_above`: whether two differ, or a mean is too large, after every image
  stopping     `half_width_reached`, `decided`: when a run may stop
design/        how many images and draws
  variance     `variance_parts`: what of the noise comes from images, restarts and draws
  allocation   `advise`: images and draws for an interval that short; power of a comparison
distances/     of minimum-norm attacks
  curve        `security_curve`: accuracy against radius; `median_distance`
  survival     `survival_band`, `kaplan_meier`, `median_with_ends`: the same where some distances were not found

The sampling unit is everywhere the image, never the draw.
"""

from purebench.statistics.design.allocation import (
    Allocation,
    advise,
    comparison_power,
    expected_half_width,
    images_for_power,
    mcnemar_power,
    smallest_difference,
)
from purebench.statistics.design.variance import VarianceParts, variance_parts
from purebench.statistics.distances.curve import median_distance, security_curve
from purebench.statistics.distances.survival import MedianDistance, kaplan_meier, median_with_ends, survival_band
from purebench.statistics.estimate import Estimate
from purebench.statistics.intervals.bernstein import empirical_bernstein, empirical_bernstein_sequence
from purebench.statistics.intervals.betting import betting, betting_at_any_time, betting_sequence
from purebench.statistics.intervals.bootstrap import bca
from purebench.statistics.intervals.calibration import least_coverage
from purebench.statistics.intervals.gaffke import gaffke, mean_p_value, one_sided_bound
from purebench.statistics.intervals.methods import APPROXIMATE, METHODS, interval
from purebench.statistics.intervals.proportions import (
    agresti_coull,
    clopper_pearson,
    jeffreys,
    wilson,
    wilson_corrected,
)
from purebench.statistics.multiplicity import holm, romano_wolf
from purebench.statistics.ranking.paired import (
    Comparison,
    attributable_loss,
    compare,
    mcnemar,
    paired_difference,
    require_same_images,
    sign_flip,
)
from purebench.statistics.ranking.ranks import Ranking, pair_p_values, probability_best, rank
from purebench.statistics.sequential.anytime import anytime_p_above, anytime_p_values
from purebench.statistics.sequential.stopping import Neighbours, Verdict, decided, half_width_reached, half_widths
from purebench.statistics.worst_case.bracket import bracket
from purebench.statistics.worst_case.halving import FRESH, RUNGS, Rung, contenders, picked
from purebench.statistics.worst_case.outcome_shares import OutcomeShares, outcome_shares
from purebench.statistics.worst_case.resubmission import (
    most_times,
    resubmission_curve,
    resubmission_per_image,
    vote_curve,
    vote_per_image,
)
from purebench.statistics.worst_case.split_draws import (
    accuracy,
    interval_method,
    lowest_per_image,
    robust_accuracy,
    robust_per_image,
)

__all__ = [
    "APPROXIMATE",
    "FRESH",
    "METHODS",
    "RUNGS",
    "Allocation",
    "Comparison",
    "Estimate",
    "MedianDistance",
    "Neighbours",
    "OutcomeShares",
    "Ranking",
    "Rung",
    "VarianceParts",
    "Verdict",
    "accuracy",
    "advise",
    "agresti_coull",
    "anytime_p_above",
    "anytime_p_values",
    "attributable_loss",
    "bca",
    "betting",
    "betting_at_any_time",
    "betting_sequence",
    "bracket",
    "clopper_pearson",
    "compare",
    "comparison_power",
    "contenders",
    "decided",
    "empirical_bernstein",
    "empirical_bernstein_sequence",
    "expected_half_width",
    "gaffke",
    "half_width_reached",
    "half_widths",
    "holm",
    "images_for_power",
    "interval",
    "interval_method",
    "jeffreys",
    "kaplan_meier",
    "least_coverage",
    "lowest_per_image",
    "mcnemar",
    "mcnemar_power",
    "mean_p_value",
    "median_distance",
    "median_with_ends",
    "most_times",
    "one_sided_bound",
    "outcome_shares",
    "pair_p_values",
    "paired_difference",
    "picked",
    "probability_best",
    "rank",
    "require_same_images",
    "resubmission_curve",
    "resubmission_per_image",
    "robust_accuracy",
    "robust_per_image",
    "romano_wolf",
    "security_curve",
    "sign_flip",
    "smallest_difference",
    "survival_band",
    "variance_parts",
    "vote_curve",
    "vote_per_image",
    "wilson",
    "wilson_corrected",
]
