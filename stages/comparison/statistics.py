"""Inference for paired replicates on one test set. Pure: arrays in, numbers out.

The scores of an arm vary for two reasons: the replicate (labelled subset, GAN, classifier seed) and the test
images, or the groups (patients, speakers) that these come from. Both are resampled for intervals. The sign-flip test
looks at replicates alone, so its p-value is conditional on this data set.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Groups = NDArray[Any]

# Resamples that are scored at once: bounds memory at (chunk x images) weights.
CHUNK = 250
# Variances need fewer resamples than an interval's ends do.
VARIANCE_RESAMPLES = 500
# Up to 2^16 sign flips are enumerated; beyond, as many are drawn at random.
SIGN_FLIPS = 2**16


def paired_differences(arm: Floats, rival: Floats) -> Floats:
    """Score of the arm minus score of its rival, replicate by replicate: (R,) and (R,) -> (R,)."""
    if arm.shape != rival.shape:
        raise ValueError(f"paired scores need equal shapes, got {arm.shape} and {rival.shape}")
    return arm - rival


def weighted_scores(truth: Ints, predicted: Ints, weights: Floats, classes: int) -> dict[str, Floats]:
    """Scores of every replicate on every weighting of the test images.

    truth: (n,) classes; predicted: (R, n) classes; weights: (B, n), not negative, each row with a positive sum.
    Returns measure -> (B, R). An image of weight w counts like w copies of it. Per class, the margins of the
    weighted confusion matrix are enough: hits t, true s and predicted q give recall t / s and F1 2t / (s + q).
    Classes without any true image are left out of balanced accuracy, those neither true nor predicted out of
    macro-F1, as scikit-learn does.
    """
    one_hot = np.arange(classes) == predicted[:, :, None]
    is_true = np.arange(classes) == truth[:, None]
    true = (weights @ is_true)[:, None, :]
    predicted_as = _weigh(weights, one_hot)
    hits = _weigh(weights, one_hot & is_true)
    return {
        "accuracy": hits.sum(axis=2) / true.sum(axis=2),
        "balanced_accuracy": _mean_ratio(hits, np.broadcast_to(true, hits.shape)),
        "macro_f1": _mean_ratio(2 * hits, true + predicted_as),
    }


def _weigh(weights: Floats, cells: NDArray[np.bool_]) -> Floats:
    """Sum over images of weights (B, n) times cells (R, n, K): (B, R, K), as one matrix product."""
    R, n, K = cells.shape
    flat = cells.transpose(1, 0, 2).reshape(n, R * K)
    return (weights @ flat.astype(weights.dtype)).reshape(len(weights), R, K)


def _mean_ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Mean over the last axis of the ratios whose denominator is positive."""
    present = denominator > 0
    ratios = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=present)
    return ratios.sum(axis=-1) / present.sum(axis=-1)


Scorer = Callable[[str, Floats], Mapping[str, Floats]]  # arm and weights (B, n) -> measure -> (B, R)


@dataclass(frozen=True)
class Resampled:
    """means: arm -> measure -> (resamples,) mean scores, replicates and images drawn anew. by_image: arm -> measure ->
    (at most VARIANCE_RESAMPLES, R) scores of every replicate, images alone drawn anew. All share each resample, so the
    difference of two arms' draws is a draw of their paired difference."""

    means: dict[str, dict[str, Floats]]
    by_image: dict[str, dict[str, Floats]]


def bootstrap(
    score: Scorer, arms: Iterable[str], replicates: int, images: int, resamples: int, seed: int, groups: Groups | None
) -> Resampled:
    """Bootstrap distribution of every arm's mean score, crossed over replicates and test images or groups of them.

    Owen (2007), "The pigeonhole bootstrap", Annals of Applied Statistics 1(2): rows (replicates) and columns
    (images) are resampled independently, and a cell's weight is the product of its row's and its column's. The
    variance that it estimates is never too small in the limit, and mildly too large where cells have noise of
    their own.

    groups: (n,) what each image belongs to, drawn as a whole because images of one patient are no independent evidence
    (Field and Welsh (2007), "Bootstrapping clustered data", Journal of the Royal Statistical Society B 69(3)); None:
    every image is drawn by itself. A resample depends on the seed, the numbers and the groups alone, not on which arms
    there are. A score that a resample does not define (an AUROC without an image of the class) is NaN.
    """
    means: dict[str, dict[str, list[Floats]]] = {arm: {} for arm in arms}
    by_image: dict[str, dict[str, list[Floats]]] = {arm: {} for arm in means}
    for chunk, (rows, columns) in enumerate(_resamples(replicates, _units(images, groups), resamples, seed)):
        for arm in means:
            for measure, scores in score(arm, columns).items():
                means[arm].setdefault(measure, []).append((rows * scores).mean(axis=1))
                if chunk * CHUNK < VARIANCE_RESAMPLES:
                    by_image[arm].setdefault(measure, []).append(scores)
    return Resampled(_joined(means), _joined(by_image))


def _joined(parts: Mapping[str, Mapping[str, list[Floats]]]) -> dict[str, dict[str, Floats]]:
    return {arm: {name: np.concatenate(each) for name, each in of.items()} for arm, of in parts.items()}


def _units(images: int, groups: Groups | None) -> Ints:
    """(n,): number, from 0, of the group or else of the image itself that is drawn as a whole."""
    if groups is None:
        return np.arange(images)
    return np.unique(groups, return_inverse=True)[1]


def _resamples(replicates: int, unit_of: Ints, resamples: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Chunks of how often each replicate (B, R) and each image (B, n), with its whole unit, was drawn."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        rows, units = _multiplicities(size, replicates, rng), _multiplicities(size, int(unit_of.max()) + 1, rng)
        yield rows, units[:, unit_of]


def _multiplicities(size: int, units: int, rng: np.random.Generator) -> Floats:
    """(size, units): how often each of `units` came in `units` draws with replacement, row by row."""
    drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


@dataclass(frozen=True)
class VarianceParts:
    """Variance of one replicate's paired difference of scores (shares squared), by where it comes from.

    replicates: between replicates on the same test images, chance in single predictions included. images: what the
    choice of test images adds to all replicates alike, so that no number of replicates averages it away. cells: what
    that choice adds to each replicate by itself; it is a part of `replicates` too.
    """

    replicates: float
    images: float
    cells: float


def variance_parts(seen: Floats, by_image: Floats) -> VarianceParts:
    """Where the variance of the paired difference of two arms' scores comes from.

    seen: (R,) differences, R >= 2; by_image: (B, R) the same on test images or groups drawn anew, as in `Resampled`:
    the covariance that two replicates have then is the images' part, and a replicate's variance exceeds it by the
    cells' part. These are the variance components of a two-way random-effects model (Searle, Casella and McCulloch
    (1992), Variance Components, chapter 4), for any measure; a negative estimate becomes 0.
    """
    covariance = np.cov(by_image[np.isfinite(by_image).all(axis=1)], rowvar=False)
    own = float(covariance.diagonal().mean())
    shared = float(covariance[~np.eye(len(seen), dtype=bool)].mean())
    return VarianceParts(float(seen.var(ddof=1)), max(0.0, shared), max(0.0, own - max(0.0, shared)))


def percentile_interval(draws: Floats, confidence: float) -> tuple[float, float]:
    """Interval between the (1 - confidence) / 2 quantiles at both ends of a bootstrap distribution.

    Efron (1979), "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1). The percentile
    interval rather than BCa at every number of replicates: simulated on crossed data with 10 and with 20 replicates,
    normal and skewed, with the digits' variances and with others, 95 % intervals of both covered .91 to .98, and within
    .008 of each other, so that the correction buys nothing.
    """
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])  # a draw that is not defined tells nothing
    return float(low), float(high)


def sign_flip_p(differences: Floats, seed: int) -> float:
    """Two-sided p-value of the exact sign-flip test that paired differences (R,) are symmetric about 0.

    Fisher (1935), The Design of Experiments, section 21: if the arm makes no difference, each replicate's
    difference could as well have had the other sign, so all 2^R sign patterns are equally likely. Beyond 16
    replicates random patterns are drawn, counted as Phipson and Smyth (2010) do so that p is never 0.
    """
    from scipy.stats import permutation_test

    result = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=SIGN_FLIPS,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def least_p(replicates: int, contrasts: int) -> float:
    """Least p that Holm can report for `contrasts` sign-flip tests over `replicates` replicates.

    Only 2 of the 2^R sign patterns are as extreme as all differences agreeing, so p is at least 2^(1 - R); Holm
    multiplies the smallest p by the number of contrasts.
    """
    return min(1.0, contrasts * 2.0 ** (1 - replicates))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false rejection among them stays below the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    statsmodels has it too, and has all of Python's memory searched for garbage at each call: tenths of a second.
    """
    p, order = np.asarray(p_values), np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted.tolist()
