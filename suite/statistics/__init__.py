"""Statistical inference from the answers of a defense: pure functions on numpy arrays, without I/O and without torch.

estimate       `Estimate`: a number with its interval, its n and its method; every reported number is one
intervals/     confidence intervals of a mean of values in [0,1], one value per image
  methods      `interval`: computes an interval by the name of its method; `interval_method`: the
               method for a kind of defense; `METHODS`, and `APPROXIMATE` (textbook ones)
  proportions  `clopper_pearson`, `wilson`, …: one right or wrong answer per image (a deterministic defense)
  calibration  `least_coverage`: the exact coverage of such an interval; the level that gives the nominal coverage
  gaffke       `gaffke`: of values in [0,1] (a random defense), in any order; `one_sided_bound`
  betting      `betting_sequence`: valid at any time; `betting`: for a fixed number of images, in a fixed order
  bernstein    `empirical_bernstein` and its sequence: in closed form, and wider
  bootstrap    `bca`: by resampling images
worst_case/    accuracy under the worst attack of each image
  halving      `contenders`, `picked`: one adversarial example per image, by successive halving over `RUNGS`
  bracket      `bracket`: a lower and an upper bound of mean_i min_a q[i,a]
  picking      `split_score`: the worst attack of an image is picked on some draws and scored on other draws
  split_draws  `robust_accuracy`: the worst attack of every image, on plain arrays; `accuracy`: a single attack
  missed       `missed_per_image`: what some attacks miss and others find
  outcome_shares  shares of images that are nearly always, mostly and nearly never right
  resubmission `resubmission_curve`, `vote_curve`: N queries of the same image, and majority votes
ranking/       comparisons of defenses on the same images
  paired       `compare`, `attributable_loss`: paired differences of two defenses
  equivalence  `equivalent`, `exceeds_by_less`: two one-sided tests
  skewness     a guard for differences of equal means that are not symmetric
  ranks        `rank`: rank intervals, groups of indistinguishable defenses, the probability of being best
signs          the null distribution of paired differences: random signs
multiplicity   `holm`, `romano_wolf`: corrections for multiple comparisons
sequential/    inference that is valid at any time
  anytime      `anytime_p_values`, `anytime_p_above`: sequential tests of a difference and of a mean
  stopping     `half_width_reached`, `decided`: stopping rules of a run
design/        the number of images and draws
  variance     `variance_parts`: variance components of images, restarts and draws
  allocation   `advise`: images and draws for a given half-width; power of a comparison
distances/     of minimum-norm attacks
  curve        `security_curve`: accuracy against radius; `median_distance`
  survival     `survival_band`, `kaplan_meier`, `median_with_ends`: the same for partly unknown distances

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
from purebench.statistics.intervals.methods import APPROXIMATE, IN_ORDER, METHODS, interval, interval_method
from purebench.statistics.intervals.proportions import (
    agresti_coull,
    clopper_pearson,
    jeffreys,
    wilson,
    wilson_corrected,
)
from purebench.statistics.multiplicity import holm, romano_wolf
from purebench.statistics.ranking.equivalence import equivalent, exceeds_by_less
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
from purebench.statistics.worst_case.missed import missed_per_image
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
    lowest_per_image,
    robust_accuracy,
    robust_per_image,
)

__all__ = [
    "APPROXIMATE",
    "FRESH",
    "IN_ORDER",
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
    "equivalent",
    "exceeds_by_less",
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
    "missed_per_image",
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
