"""A threshold with a stated error rate: split-conformal p-values against real images that no GAN saw.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); as a test for outliers: Bates, Candès, Lei,
Romano and Sesia, "Testing for outliers with conformal p-values" (Annals of Statistics 51, 2023), section 1.2.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.errors import UserError

FOLDS = 5


def calibration_needed(alpha: float) -> int:
    """The fewest calibration images with which any image can be dropped: the least m with 1 / (m + 1) <= alpha."""
    return math.ceil(1 / alpha) - 1


def check_calibration(count: int, alpha: float) -> None:
    """Raises UserError when `count` calibration images are too few for `alpha`, saying how many are needed."""
    needed = calibration_needed(alpha)
    if count < needed:
        raise UserError(
            f"filter_memorized.alpha is {alpha:g}, which needs at least {needed} calibration images, but there are "
            f"{count}: set aside more of them in `prepare`, or raise alpha to at least {1 / (count + 1):.3g}"
        )


def p_values(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """p = (1 + #{calibration scores <= score}) / (m + 1), in 1/(m + 1)..1: small where the score is unusually small.

    For a fresh real image, exchangeable with the m calibration images, P(p <= alpha) <= alpha.

    Args:
        scores: (N,), low for a copy.
        calibration: (m,), scores of real images that no GAN saw.
    """
    at_most = np.searchsorted(np.sort(calibration), scores, side="right")
    return (1 + at_most) / (len(calibration) + 1)


def false_positives(calibration: NDArray[np.float64], alpha: float, rng: np.random.Generator) -> int:
    """How many calibration images would be dropped, each judged by the four fifths of them that it isn't in.

    Where the images are exchangeable its expectation is alpha (rounded down to what the ranks allow), and because the
    folds take turns it strays less from it than independent trials would: on the digits (200 images, alpha .05) the
    share's standard deviation is .005, against .015. With fewer than 5/4 of `calibration_needed` images four fifths
    of them can drop none, and the count is 0.

    Args:
        calibration: (m,) scores.
        alpha: an image is dropped if p <= alpha.
        rng: deals the images into five folds.
    """
    folds = np.array_split(rng.permutation(len(calibration)), FOLDS)
    return sum(
        int(np.count_nonzero(p_values(calibration[fold], np.delete(calibration, fold)) <= alpha)) for fold in folds
    )


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


def guarantee(alpha: float, calibration: int) -> str:
    """What the threshold promises, and what it does not, in one sentence each."""
    most = math.floor(alpha * (calibration + 1) + 1e-9) / (calibration + 1)
    return (
        f"Of fresh real images, drawn like the {calibration} calibration images and seen by no GAN, the filter drops "
        f"{most:.2%} on average over such draws, and so at most the stated {alpha:.2%}. "
        "This is about real images: it is no promise that every copy among the generated images is found; how many "
        "are, the planted copies show."
    )
