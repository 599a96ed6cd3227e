"""Measures beside the headline ones: how well probabilities rank and mean what they say, and every class by itself.

Pure. A figure that the test set does not define (AUROC where all test images are of one class) is left out.
"""

import numpy as np
from numpy.typing import NDArray

from stages.comparison.scores import Predictions, class_recall, confusion, summarise

CALIBRATION_BINS = 15  # of equal width, as in Guo et al. (2017)
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)  # what one counts as at least in the log loss, which thus is finite

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Probabilities = NDArray[np.float32]  # (R, n, K)


def measure(predictions: Predictions) -> dict[str, dict[str, dict[str, float]]]:
    """Arm -> measure -> {mean, std} over its replicates; one replicate has no std.

    auroc, average_precision: one class against the rest, 0..1, the mean over the classes that some but not all test
    images have. calibration_error: see there. log_loss: natural logarithm, 0..16, as LEAST_PROBABILITY bounds it.
    brier: Brier (1950), Monthly Weather Review 78(1): squared distance from the true class's one-hot vector, 0..2.
    """
    return {
        arm: {name: summarise(values) for name, values in _measures(predictions, arm).items()}
        for arm in predictions.arms
    }


def per_class(predictions: Predictions, arm: str) -> list[dict[str, float]]:
    """For every class: `class` (its number), `test_images`, and the means over replicates of four shares, 0..1.

    sensitivity: of its test images, those recognised; specificity: of all other test images, those not taken for it;
    auroc, average_precision: its probability against the rest.
    """
    counts = confusion(predictions, arm)
    ranked, auroc, precision = one_against_rest(predictions.truth, predictions.probabilities[arm])
    shares = {
        "sensitivity": dict(enumerate(class_recall(counts))),
        "specificity": dict(enumerate(_specificity(counts))),
        "auroc": dict(zip(ranked, auroc.mean(axis=0).tolist(), strict=True)),
        "average_precision": dict(zip(ranked, precision.mean(axis=0).tolist(), strict=True)),
    }
    images = np.bincount(predictions.truth, minlength=predictions.classes).tolist()
    return [
        {"class": k, "test_images": images[k]}
        | {name: share for name, of_class in shares.items() if (share := of_class.get(k)) is not None}
        for k in range(predictions.classes)
    ]


def _measures(predictions: Predictions, arm: str) -> dict[str, Floats]:
    """Measure -> (R,)."""
    truth, probabilities = predictions.truth, predictions.probabilities[arm]
    of_truth = probabilities[:, np.arange(len(truth)), truth].astype(np.float64)
    squares = np.square(probabilities, dtype=np.float64).sum(axis=2)
    values = {
        "calibration_error": calibration_error(truth, predictions.arms[arm], probabilities),
        "log_loss": -np.log(np.maximum(of_truth, LEAST_PROBABILITY)).mean(axis=1),
        "brier": (squares - 2 * of_truth + 1).mean(axis=1),
    }
    ranked, auroc, precision = one_against_rest(truth, probabilities)
    return {"auroc": auroc.mean(axis=1), "average_precision": precision.mean(axis=1)} | values if ranked else values


def one_against_rest(truth: Ints, probabilities: Probabilities) -> tuple[list[int], Floats, Floats]:
    """The P classes that some but not all images have; their AUROC (R, P) and average precision (R, P), 0..1.

    truth: (n,); probabilities: (R, n, K). Both follow from ranks. AUROC is Mann and Whitney's (1947) statistic, the
    share of pairs of an image of the class and another one that are in order, ties half (Hanley and McNeil 1982,
    Radiology 143(1)). Average precision is the mean, over the images of the class, of the precision where the threshold
    is their own probability. scikit-learn gives the same numbers several times slower, one column after the other.
    """
    images = np.bincount(truth, minlength=probabilities.shape[2])
    ranked = np.flatnonzero((images > 0) & (images < len(truth)))
    auroc, precision = (np.empty((len(probabilities), len(ranked))) for _ in range(2))
    for column, k in enumerate(ranked):
        auroc[:, column], precision[:, column] = _rank_scores(probabilities[:, :, k], truth == k)
    return ranked.tolist(), auroc, precision


def _rank_scores(scores: NDArray[np.float32], is_class: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """AUROC (R,) and average precision (R,) of scores (R, n), given which images (n,) are of the class."""
    from scipy.stats import rankdata

    own = is_class.sum()
    mean_rank = rankdata(scores, axis=1)[:, is_class].mean(axis=1)
    reached = rankdata(-scores, method="max", axis=1)[:, is_class]  # images that score at least as high
    reached_of_class = rankdata(-scores[:, is_class], method="max", axis=1)
    return (mean_rank - (own + 1) / 2) / (len(is_class) - own), (reached_of_class / reached).mean(axis=1)


def calibration_error(truth: Ints, labels: Ints, probabilities: Probabilities) -> Floats:
    """Expected calibration error, (R,) in 0..1: how far confidence and accuracy lie apart.

    Guo et al. (2017), "On calibration of modern neural networks", arXiv:1706.04599, equation 3, with
    CALIBRATION_BINS bins ((m - 1) / M, m / M] of the predicted class's probability: |accuracy - mean confidence| of
    every bin, weighted by its share of the images.

    truth: (n,); labels: (R, n) predicted classes; probabilities: (R, n, K).
    """
    R, n = labels.shape
    confidence = np.take_along_axis(probabilities, labels[:, :, None], axis=2)[:, :, 0].astype(np.float64)
    bins = np.maximum(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0)
    cells = bins + CALIBRATION_BINS * np.arange(R)[:, None]
    gaps = (labels == truth) - confidence
    sums = np.bincount(cells.ravel(), weights=gaps.ravel(), minlength=R * CALIBRATION_BINS)
    return np.asarray(np.abs(sums).reshape(R, -1).sum(axis=1) / n)


def _specificity(counts: Ints) -> list[float | None]:
    """Share of all other classes' images that are not taken for a class, from a (K, K) confusion; None without any."""
    others = counts.sum() - counts.sum(axis=1)
    mistaken = counts.sum(axis=0) - counts.diagonal()
    return [float(1 - m / o) if o else None for m, o in zip(mistaken, others, strict=True)]
