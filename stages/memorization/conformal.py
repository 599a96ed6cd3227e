"""A threshold with a stated error rate: split-conformal p-values against real images that no generator saw.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); as a test for outliers: Bates, Candès, Lei,
Romano and Sesia, "Testing for outliers with conformal p-values" (Annals of Statistics 51, 2023), section 1.2.

The rank of an image among m calibration images is 1 + #{calibration scores <= its score} = p (m + 1). It is dropped if
its rank is at most r, the `cutoff_rank`: that is, if fewer than r calibration scores are as low as its own.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.errors import UserError

FOLDS = 5
# What no threshold promises, in plain words.
LIMIT = (
    "This is about real images: it is no promise that every copy among the generated images is found; how many are, "
    "the planted copies show."
)
ROUNDING = 1e-9  # of shares and counts in floating point: .29 * 100 is a little less than 29, and must allow rank 29


@dataclass(frozen=True, eq=False)
class ClassVerdicts:
    """What thresholds for each class say of N images."""

    p: NDArray[np.float64]  # (N,) in 0..1
    dropped: NDArray[np.bool_]  # (N,)
    own: tuple[int, ...]  # the classes judged by their own calibration images, ascending; the others by all of them


def cutoff_rank(alpha: float, calibration: int, confidence: float | None = None) -> int:
    """The largest rank r, 0..m, with which images may be dropped; 0: none can be.

    On average (`confidence` None): r = floor(alpha (m + 1)), so that P(dropped) <= alpha for a fresh real image, over
    the draw of the calibration images and of itself.

    With confidence: with at least that probability over the draw of the calibration images, at most a share alpha of
    all further fresh real images is dropped. They are dropped if below the r-th lowest calibration score, and this
    share is distributed as Beta(r, m + 1 - r), or less where scores tie. It exceeds alpha with probability
    P(Binomial(m, alpha) < r), and r is the largest with which that is at most 1 - confidence (Vovk, "Conditional
    validity of inductive conformal predictors", 2012, proposition 2a; Clopper and Pearson's argument).

    Args:
        alpha: 0..1, exclusive.
        calibration: how many calibration images, m.
        confidence: 0.9 or more (much less would drop more than the promise on average does), below 1; None for that.
    """
    if confidence is None:
        return math.floor(alpha * (calibration + 1) + ROUNDING)
    from scipy.stats import binom  # a second of start-up that only this mode needs

    missed = binom.cdf(np.arange(calibration), calibration, alpha)  # P(Binomial < r) for r = 1..m
    return int(np.count_nonzero(missed <= 1 - confidence + ROUNDING))


def calibration_needed(alpha: float, confidence: float | None = None) -> int:
    """The fewest calibration images with which any image can be dropped: the least m whose `cutoff_rank` is 1.

    On average 1 / (m + 1) <= alpha (19 for .05), with confidence (1 - alpha)^m <= 1 - confidence (59 for .05 and .95).
    """
    if confidence is None:
        return math.ceil(1 / alpha - ROUNDING) - 1
    return math.ceil(math.log1p(-confidence) / math.log1p(-alpha) - ROUNDING)


def check_calibration(count: int, alpha: float, confidence: float | None = None) -> None:
    """Raises UserError when `count` calibration images are too few for `alpha`, saying how many are needed."""
    needed = calibration_needed(alpha, confidence)
    if count < needed:
        allowed = 1 / (count + 1) if confidence is None or not count else 1 - (1 - confidence) ** (1 / count)
        surely = "" if confidence is None else f" to hold with {confidence:.0%} confidence"
        raise UserError(
            f"filter_memorized.alpha is {alpha:g}, which needs at least {needed} calibration images{surely}, but there "
            f"are {count}: set aside more of them in `prepare`, or raise alpha to at least "
            f"{math.ceil(1000 * allowed - ROUNDING) / 1000:g}"
        )


def p_values(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """p = (1 + #{calibration scores <= score}) / (m + 1), in 1/(m + 1)..1: small where the score is unusually small.

    For a fresh real image, exchangeable with the m calibration images, P(p <= alpha) <= alpha.

    Args:
        scores: (N,), low for a copy.
        calibration: (m,), scores of real images that no generator saw.
    """
    return _ranks(scores, calibration) / (len(calibration) + 1)


def dropped(
    scores: NDArray[np.float64], calibration: NDArray[np.float64], alpha: float, confidence: float | None = None
) -> NDArray[np.bool_]:
    """Which images rank within `cutoff_rank`, (N,); without `confidence` the same as p <= alpha.

    Arguments as of `p_values` and `cutoff_rank`.
    """
    return _ranks(scores, calibration) <= cutoff_rank(alpha, len(calibration), confidence)


def p_values_by_class(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    calibration: NDArray[np.float64],
    calibration_labels: NDArray[np.int64],
    alpha: float,
    confidence: float | None = None,
) -> ClassVerdicts:
    """Judges each image by the calibration images of its class, where there are `calibration_needed` of them.

    The promise then holds within each such class. Images of the other classes are judged by all calibration images,
    as if pooled; of those classes alone nothing is promised.

    Args:
        scores: (N,), low for a copy.
        labels: (N,), class index of each.
        calibration: (m,), scores of real images that no generator saw.
        calibration_labels: (m,), class index of each; these labels count as used.
        alpha, confidence: as of `cutoff_rank`.
    """
    p = p_values(scores, calibration)
    out = dropped(scores, calibration, alpha, confidence)
    classes, counts = np.unique(calibration_labels, return_counts=True)
    own = classes[counts >= calibration_needed(alpha, confidence)]
    for label in own:
        here, others = labels == label, calibration[calibration_labels == label]
        p[here] = p_values(scores[here], others)
        out[here] = dropped(scores[here], others, alpha, confidence)
    return ClassVerdicts(p=p, dropped=out, own=tuple(own.tolist()))


def false_positives(
    calibration: NDArray[np.float64],
    alpha: float,
    rng: np.random.Generator,
    confidence: float | None = None,
    labels: NDArray[np.int64] | None = None,
    variants: NDArray[np.float64] | None = None,
) -> int:
    """How many calibration images would be dropped, each judged by the four fifths of them that it isn't in.

    Where the images are exchangeable its expectation is alpha (rounded down to what the ranks allow), and because the
    folds take turns it strays less from it than independent trials would: on the digits (200 images, alpha .05) the
    share's standard deviation is .005, against .015. With `confidence` the expectation is less: about half of alpha
    with 200 images. With fewer than 5/4 of `calibration_needed` images four fifths of them can drop none, and the
    count is 0.

    Args:
        calibration: (m,) scores.
        alpha, confidence: as of `cutoff_rank`.
        rng: deals the images into five folds.
        labels: (m,), class index of each, if the filter judges by class; None if not.
        variants: (m,) scores of the same images changed, blurred for example, to be judged instead of themselves.
    """
    judged = calibration if variants is None else variants
    count = 0
    for fold in np.array_split(rng.permutation(len(calibration)), FOLDS):
        rest = np.delete(np.arange(len(calibration)), fold)
        scores, others = judged[fold], calibration[rest]
        if labels is None:
            out = dropped(scores, others, alpha, confidence)
        else:
            out = p_values_by_class(scores, labels[fold], others, labels[rest], alpha, confidence).dropped
        count += int(np.count_nonzero(out))
    return count


def detection_auc(copies: NDArray[np.float64], fresh: NDArray[np.float64]) -> float:
    """P(a copy's score < a fresh image's) + P(equal) / 2, in 0..1: .5 is blind, 1 tells them apart at some threshold.

    The area under the ROC curve by Mann and Whitney's statistic.

    Args:
        copies: (N,) scores of planted copies, low for a copy.
        fresh: (m,) scores of real images that no generator saw.
    """
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(fresh, copies, method="asymptotic").statistic / (len(fresh) * len(copies)))


def rate_interval(rate: float, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval (low, high) of a false-positive rate measured on so many different calibration images.

    An image that calibrates several replicates is one piece of evidence and counts once. Simulated for 10 replicates
    that draw 200 images each from 300, 898 or 2,500, the 95 % interval then holds the replicates' true mean rate 95 %
    of the time; counting all 2,000 draws it does so 81 % of the time with 898.

    Args:
        rate: share of false positives, 0..1, over all replicates.
        images: how many different calibration images all replicates have together, at least 1.
        confidence: of the interval, two-sided.
    """
    from scipy.stats import binomtest  # a second of start-up that only the summary needs

    interval = binomtest(round(rate * images), images).proportion_ci(confidence_level=confidence, method="exact")
    return float(interval.low), float(interval.high)


def guarantee(alpha: float, calibration: int, confidence: float | None = None) -> str:
    """What the threshold promises, and what it does not, in plain words."""
    share = cutoff_rank(alpha, calibration, confidence) / (calibration + 1)
    fresh = f"Of fresh real images, drawn like the {calibration} calibration images and unseen, the filter drops"
    if confidence is None:
        promise = f"{fresh} {share:.2%} on average over such draws, and so at most the stated {alpha:.2%}."
    else:
        promise = (
            f"{fresh} at most {alpha:.2%}, whatever the draw of calibration images but for the unluckiest "
            f"{1 - confidence:.0%} of draws; on average it drops {share:.2%}."
        )
    return f"{promise} {LIMIT}"


def _ranks(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.int64]:
    return 1 + np.searchsorted(np.sort(calibration), scores, side="right")
