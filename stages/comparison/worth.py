"""What synthetic images are worth in labels, read off the learning curve of training without them. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.comparison.statistics import percentile_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """How many labels per class reach, without synthetic images, what an arm reaches with them.

    labels, and the interval low to high at `confidence`: in `fewest` to `most`, the ends of the curve; 0 where the arm
    lies below the curve, infinity where it lies above, for a curve is not extended. rises: whether the curve's last
    score exceeds its first beyond chance.
    """

    labels: float
    low: float
    high: float
    fewest: int
    most: int
    confidence: float
    rises: bool

    @property
    def supported(self) -> bool:
        """Whether the curve supports any statement: it rises, and the interval leaves out at least one of its ends."""
        return self.rises and (self.low > 0 or self.high < math.inf)

    def sentence(self, arm: str, labels: int) -> str:
        """The statement on an arm that used `labels` per class; or that there is none to make."""
        budgets = f"{self.fewest} to {self.most} labels per class without synthetic images"
        if not self.rises:
            return f"the scores of {budgets} do not rise beyond chance: they do not tell what those of {arm} are worth."
        if not self.supported:
            return f"the scores of {budgets} vary too much to tell what those of {arm} are worth."
        count = "1 label" if labels == 1 else f"{labels} labels"
        if labels >= self.most and self.low == math.inf:
            return (
                f"{count} per class are worth more with {arm} than without: how much more, a curve that ends there "
                "does not tell."
            )
        verb = "reaches" if labels == 1 else "reach"
        return (
            f"{count} per class with {arm} {verb} what {self._words(self.labels)} without reach "
            f"({100 * self.confidence:g} % interval {self._range()})."
        )

    def _range(self) -> str:
        if self.high == math.inf:
            return self._words(min(self.low, self.most), "at least ")
        if self.low == 0:
            return self._words(max(self.high, self.fewest), "at most ")
        return f"{self._words(self.low)} to {self._words(self.high)}"

    def _words(self, labels: float, bound: str = "") -> str:
        if labels == math.inf:
            return f"at least {self.most}"
        return f"at most {self.fewest}" if labels == 0 else f"{bound}{labels:.0f}"


def worth_in_labels(
    curve: Mapping[int, Floats],
    arm: Floats,
    curve_draws: Mapping[int, Floats],
    arm_draws: Floats,
    confidence: float,
) -> Worth:
    """Inverse of the learning curve at an arm's mean score, with its bootstrap interval.

    curve: labels per class (>= 1) -> scores (R,) of the same training without synthetic images, at least two budgets;
    arm: scores (R,). curve_draws and arm_draws: their means (B,) from one call of `bootstrap`, or from several
    with the same seed, so that they share resamples; every draw has a curve of its own. Raises ValueError for fewer
    than two budgets or other budgets in the draws.
    """
    if len(curve) < 2 or set(curve) != set(curve_draws):
        raise ValueError(f"a curve needs two budgets or more, with draws of each; got {[*curve]} and {[*curve_draws]}")
    budgets = np.array(sorted(curve))
    means = np.array([curve[budget].mean() for budget in budgets])
    draws = np.stack([curve_draws[budget] for budget in budgets], axis=1)
    reached = [labels_reaching(score, budgets, means) for score, means in zip(arm_draws, draws, strict=True)]
    tail = (1 - confidence) / 2
    # a quantile that is one of the draws: between a number and infinity there is nothing to interpolate
    low, high = np.quantile(reached, [tail, 1 - tail], method="inverted_cdf")
    return Worth(
        labels=labels_reaching(float(arm.mean()), budgets, means),
        low=float(low),
        high=float(high),
        fewest=int(budgets[0]),
        most=int(budgets[-1]),
        confidence=confidence,
        rises=percentile_interval(draws[:, -1] - draws[:, 0], confidence)[0] > 0,
    )


def labels_reaching(score: float, budgets: NDArray[np.int64], means: Floats) -> float:
    """Fewest labels at which the curve reaches the score; 0 below the curve's first point, infinity above its last.

    budgets: (k,) ascending, >= 1; means: (k,) scores, made monotone by isotonic regression (Barlow et al. (1972),
    Statistical Inference under Order Restrictions, chapter 1). Between two budgets the curve is linear in the
    logarithm of the labels, as learning curves nearly are over short ranges.
    """
    from scipy.optimize import isotonic_regression

    curve = isotonic_regression(means).x
    # rounding in the regression must not move a score that equals the curve's end beyond it
    after = int(np.searchsorted(curve, score - 1e-12))
    if after == len(curve):
        return math.inf
    if after == 0:
        return float(budgets[0]) if score >= curve[0] - 1e-12 else 0.0
    (left, right), (below, above) = np.log(budgets[after - 1 : after + 1]), curve[after - 1 : after + 1]
    return float(np.exp(left + (right - left) * min(1.0, (score - below) / (above - below))))
