"""Measures of how well a class's probability ranks images, for every replicate and every weighting of the images. Pure.

An image of weight w counts like w copies of it. A score that a weighting does not define, as no image of the class or
no other one has weight, is NaN.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Probabilities = NDArray[np.float32]
ROUNDING = 1e-9  # of a share


def weighted_auroc(truth: Ints, probabilities: Probabilities, weights: Floats) -> Floats:
    """Mean over the classes of the area under the ROC curve of one class against the rest: (B, R) in 0..1.

    truth: (n,); probabilities: (R, n, K); weights: (B, n), not negative. A class without weight, or with all of it, is
    left out of the mean. With two classes it is their one AUROC. The area is Mann and Whitney's statistic, the weight
    of the pairs that are in order, ties half (Hanley and McNeil (1982), Radiology 143(1)).
    """
    by_class = [
        np.stack([_auroc(own[truth == k, k], own[truth != k, k], weights, truth == k) for own in probabilities], axis=1)
        for k in range(probabilities.shape[2])
    ]
    areas = np.stack(by_class)
    defined = np.isfinite(areas)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, areas, 0).sum(axis=0) / defined.sum(axis=0))


def sensitivity_at_specificity(
    truth: Ints, probabilities: Probabilities, weights: Floats, of: int, specificity: float
) -> Floats:
    """Share of the images of class `of` that are found where at least `specificity` of all others are not taken for it.

    An image is taken for the class where its probability exceeds the threshold, which is, for each replicate and
    weighting, the least probability that at least `specificity` of the other images do not exceed: the highest point
    of the ROC curve with at most 1 - specificity false positives. The threshold is thus set on the test set, as a
    reader of the curve does; it is none that was fixed beforehand. Shapes as for `weighted_auroc`: (B, R) in 0..1.
    """
    is_class, columns = truth == of, []
    for own in probabilities[:, :, of]:
        found, others = np.sort(own[is_class]), np.sort(own[~is_class])
        below = _running(weights[:, ~is_class], np.argsort(own[~is_class], kind="stable"))
        reached = below[1:] >= specificity * below[-1] * (1 - ROUNDING)
        threshold = others[np.argmax(reached, axis=0)] if len(others) else np.zeros(len(weights))
        missed = _running(weights[:, is_class], np.argsort(own[is_class], kind="stable"))
        lost = np.take_along_axis(missed, np.searchsorted(found, threshold, side="right")[None], axis=0)[0]
        columns.append(_ratio(missed[-1] - lost, missed[-1], below[-1] > 0))
    return np.stack(columns, axis=1)


def _auroc(own: Probabilities, others: Probabilities, weights: Floats, is_class: NDArray[np.bool_]) -> Floats:
    """(B,) of one replicate and class, whose images have the scores `own`, all others `others`."""
    below = _running(weights[:, ~is_class], np.argsort(others, kind="stable"))
    ranked = np.sort(others)
    left, right = (np.searchsorted(ranked, own, side=side) for side in ("left", "right"))
    weight = weights[:, is_class].T
    in_order = (weight * (below[left] + below[right])).sum(axis=0) / 2
    return _ratio(in_order, weight.sum(axis=0) * below[-1], below[-1] > 0)


def _running(weights: Floats, order: NDArray[np.intp]) -> Floats:
    """(n + 1, B): weight of the first 0 to n images in this order."""
    sums = np.zeros((len(order) + 1, len(weights)))
    np.cumsum(weights.T[order], axis=0, out=sums[1:])
    return sums


def _ratio(part: Floats, whole: Floats, defined: NDArray[np.bool_]) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=defined & (whole > 0))
