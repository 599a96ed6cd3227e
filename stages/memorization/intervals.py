"""Intervals of what was measured once in each replicate: replicates are the evidence, so the spread is theirs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


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
