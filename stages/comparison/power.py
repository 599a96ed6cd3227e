"""What the verdict's rule can find: the chance of a true gain, the least gain, the replicates needed. Pure."""

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
    """The rule for one contrast: Holm's p at most `level` among `contrasts`, and the interval of 1 - level beyond 0."""

    level: float
    contrasts: int


@dataclass(frozen=True)
class Power:
    """What the verdict can find with replicates and test images that vary as those seen do. Gains are shares.

    needed: replicates that find a gain of the margin with power .8, and needed_as_seen: one as large as that seen, in
    either direction; None: more than 1000, so that it takes more test images. smallest_gain: what the replicates at
    hand find with power .8; None: nothing, there are too few. power_for_margin: their chance to find a gain of the
    margin.
    """

    needed: int | None
    needed_as_seen: int | None
    smallest_gain: float | None
    power_for_margin: float


def foresee(parts: VarianceParts, replicates: int, seen: float, margin: float, criterion: Criterion) -> Power:
    """Power of `replicates` (>= 2) and what more of them would bring; seen: the mean difference, margin > 0."""
    return Power(
        needed=replicates_needed(margin, parts, criterion),
        needed_as_seen=replicates_needed(abs(seen), parts, criterion),
        smallest_gain=smallest_gain(replicates, parts, criterion),
        power_for_margin=power(margin, replicates, parts, criterion),
    )


def power(gain: float, replicates: int, parts: VarianceParts, criterion: Criterion) -> float:
    """Chance that the verdict finds a true gain (share) in one contrast with so many replicates (>= 2).

    The mean difference is taken as normal with variance images + replicates / R. The deviation s between replicates
    is independent of it and its square follows a chi-squared law with R - 1 degrees of freedom (Student (1908), "The
    probable error of a mean", Biometrika 6). Two bars must be passed, and the chance is averaged over s:

    - the sign-flip test, whose power tends to the paired t-test's (Hoeffding (1952), "The large-sample power of tests
      based on permutations of observations", Annals of Mathematical Statistics 23), at the level that R replicates
      can attain. Of Holm's levels the first is taken, level / contrasts: where other contrasts show something, the
      chance is greater.
    - the interval, with the variance that the crossed bootstrap has (Owen (2007), theorem 1; see `bootstrap_means`):
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


def smallest_gain(replicates: int, parts: VarianceParts, criterion: Criterion) -> float | None:
    """Least true gain (share) that so many replicates (>= 2) find with power .8; None where they can find none."""
    from scipy.optimize import brentq

    if power(1.0, replicates, parts, criterion) < POWER:
        return None
    return float(brentq(lambda gain: power(gain, replicates, parts, criterion) - POWER, 0.0, 1.0, xtol=1e-6))
