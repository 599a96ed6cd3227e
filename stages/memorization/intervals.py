"""Intervals over what is the evidence: replicates where each measured something once, persons where these are found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000  # of units


@dataclass(frozen=True)
class Estimate:
    """A number with the limits of its interval."""

    value: float
    low: float
    high: float

    def clipped(self, least: float, most: float) -> "Estimate":
        """The same with limits within what is possible."""
        return Estimate(self.value, max(self.low, least), min(self.high, most))


def over_replicates(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean of R >= 2 replicates' values with Student's t interval, two-sided.

    What each replicate's own interval says is left out: what it measures, the luck of a replicate's images, is in the
    spread of the values already, and the mean of limits is no interval of a mean.
    """
    from scipy.stats import t  # a second of start-up that only summaries need

    mean = float(np.mean(values))
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(mean, mean - reach, mean + reach)


def over_units(values: NDArray[np.float64], units: NDArray[np.int64], confidence: float, seed: int = 0) -> Estimate:
    """Mean of values (N,) in 0..1, with the percentile interval of a bootstrap over units.

    units: int64 (N,), such as the person of each image; all values of one go together. Where every unit has the same
    mean, 0 or 1, no resample differs: the interval then reaches as far as Clopper and Pearson's for as many units that
    all came out alike.
    """
    _, codes = np.unique(units, return_inverse=True)
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    value, tail = float(sums.sum() / counts.sum()), (1 - confidence) / 2
    if value in (0.0, 1.0):
        reach = 1 - tail ** (1 / len(sums))
        return Estimate(value, value - reach, value + reach).clipped(0.0, 1.0)
    often = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    low, high = np.quantile((often @ sums) / (often @ counts), [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
