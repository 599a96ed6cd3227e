"""What the rules of the answers can find: the chance of a true gain, and the replicates needed. Pure."""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from stages.comparison.statistics import VarianceParts

# The chance that a study is customarily planned for: Cohen (1988), Statistical Power Analysis, section 2.4.
POWER = 0.8
# No one runs more replicates than this.
MOST_REPLICATES = 1000
# Equally likely values over which the chance is averaged; with twice as many, it changes by less than .001.
QUANTILES = 200
# Beyond so many replicates the sign-flip test reaches any level that matters.
FINE_ENOUGH = 50


@dataclass(frozen=True)
class Criterion:
    """The rule for one contrast: Holm's p at most `level` among `contrasts`, and the interval of 1 - level beyond 0.

    By symmetry it is also the rule that shows an equal arm to lie within a margin, the gain being the margin and the
    level twice that of the one-sided test."""

    level: float
    contrasts: int


def power(gain: float, replicates: int, parts: VarianceParts, criterion: Criterion) -> float:
    """Chance to find a true gain (share) in one contrast with so many replicates (>= 2).

    The mean difference is taken as normal with variance images + replicates / R. The deviation s between replicates
    is independent of it and its square follows a chi-squared law with R - 1 degrees of freedom (Student (1908), "The
    probable error of a mean", Biometrika 6). Two bars must be passed, and the chance is averaged over s:

    - the sign-flip test, whose power tends to the paired t-test's (Hoeffding (1952), "The large-sample power of tests
      based on permutations of observations", Annals of Mathematical Statistics 23), at the level that R replicates
      can attain. Of Holm's levels the first is taken, level / contrasts: where other contrasts show something, the
      chance is greater.
    - the interval, with the variance that the crossed bootstrap has (Owen (2007), theorem 1; see `bootstrap`):
      s^2 (R - 1) / R^2 + images + 2 cells / R.

    For a gain of 0 it is half the chance to tell equal arms apart. At level .05 that chance is at most .052 where
    cells make up a tenth of `replicates` or more, as chance in single predictions does (a fifth on the digits); without
    any, it would reach .07 where replicates add two to three times what test images do, for then neither bar is whole.
    """
    from scipy.stats import chi2, norm, t

    level = _attainable(criterion.level / criterion.contrasts, replicates)
    if level == 0:
        return 0.0
    free = replicates - 1
    ranks = (np.arange(QUANTILES) + 0.5) / QUANTILES
    squares = parts.replicates * chi2.ppf(ranks, free) / free
    sign_flip = t.isf(level / 2, free) * np.sqrt(squares / replicates)
    resampled = squares * free / replicates**2 + parts.images + 2 * parts.cells / replicates
    interval = norm.isf(criterion.level / 2) * np.sqrt(resampled)
    deviation = max(math.sqrt(parts.images + parts.replicates / replicates), np.finfo(np.float64).tiny)
    return float(norm.cdf((gain - np.maximum(sign_flip, interval)) / deviation).mean())


def _attainable(level: float, replicates: int) -> float:
    """Greatest p of a sign-flip test over `replicates` that is at most `level`: a multiple of 2^(1 - R), or 0."""
    if replicates > FINE_ENOUGH:
        return level
    patterns = 2.0 ** (replicates - 1)
    return math.floor(level * patterns) / patterns


def replicates_needed(gain: float, parts: VarianceParts, criterion: Criterion) -> int | None:
    """Fewest replicates that find a true gain (share) with power .8; None where 1000 do not.

    Then the test images alone vary too much, and only more of them would do. The power grows with the replicates.
    """
    choices = range(2, MOST_REPLICATES + 1)
    place = bisect_left(choices, True, key=lambda count: power(gain, count, parts, criterion) >= POWER)
    return choices[place] if place < len(choices) else None
