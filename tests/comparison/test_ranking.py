"""Measures of ranking are scikit-learn's, and an image of weight w counts like w copies of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from stages.comparison.ranking import sensitivity_at_specificity, weighted_auroc

Ints = NDArray[np.int64]
IMAGES, CLASSES = 14, 3
truths = arrays(np.int64, IMAGES, elements=st.integers(0, CLASSES - 1))
# eighths: many ties
chances = arrays(np.float32, (2, IMAGES, CLASSES), elements=st.integers(0, 8).map(lambda k: k / 8))
counts = arrays(np.int64, IMAGES, elements=st.integers(0, 3)).filter(lambda w: w.sum() > 0)


def sensitivity(truth: Ints, scores: NDArray[np.float32], of: int, specificity: float) -> float:
    false_positives, sensitivities, _ = roc_curve(truth == of, scores, drop_intermediate=False)
    return float(sensitivities[false_positives <= 1 - specificity + 1e-9].max())


def both_there(truth: Ints, of: int) -> bool:
    return 0 < (truth == of).sum() < len(truth)


@settings(max_examples=60)
@given(truths, chances, counts)
def test_weighted_measures_are_scikit_learns_on_repeated_images(truth: Ints, chance: Any, copies: Ints) -> None:
    weights = np.stack([np.ones(IMAGES), copies.astype(float)])
    areas = weighted_auroc(truth, chance, weights)
    found = sensitivity_at_specificity(truth, chance, weights, 1, 0.8)
    for b, row in enumerate(weights.astype(np.int64)):
        y = np.repeat(truth, row)
        for r, own in enumerate(np.repeat(chance, row, axis=1)):
            defined = [roc_auc_score(y == k, own[:, k]) for k in range(CLASSES) if both_there(y, k)]
            assert areas[b, r] == pytest.approx(np.mean(defined) if defined else np.nan, nan_ok=True)
            expected = sensitivity(y, own[:, 1], 1, 0.8) if both_there(y, 1) else np.nan
            assert found[b, r] == pytest.approx(expected, nan_ok=True)


def test_with_two_classes_it_is_their_one_auroc() -> None:
    rng = np.random.default_rng(0)
    truth, positive = rng.integers(2, size=80), rng.random((3, 80)).astype(np.float32)
    areas = weighted_auroc(truth, np.stack([1 - positive, positive], axis=2), np.ones((1, 80)))[0]
    assert areas == pytest.approx([roc_auc_score(truth, own) for own in positive], abs=1e-6)


@settings(max_examples=40)
@given(truths.filter(lambda truth: both_there(truth, 1)), chances, st.floats(0.01, 0.98))
def test_sensitivity_falls_as_more_specificity_is_asked_for_and_orders_alone_count(
    truth: Ints, chance: Any, specificity: float
) -> None:
    once = np.ones((1, IMAGES))
    lax, strict = (
        sensitivity_at_specificity(truth, chance, once, 1, share) for share in (specificity, specificity + 0.01)
    )
    assert (strict <= lax).all()
    assert (sensitivity_at_specificity(truth, np.exp(chance), once, 1, specificity) == lax).all()


def test_a_perfect_and_a_reversed_order_are_the_ends_of_the_scale() -> None:
    truth, once = np.repeat([0, 1], 10), np.ones((1, 20))
    perfect = np.linspace(0, 1, 20, dtype=np.float32)[None, :, None].repeat(2, axis=2)
    assert sensitivity_at_specificity(truth, perfect, once, 1, 0.95) == 1
    assert sensitivity_at_specificity(truth, 1 - perfect, once, 1, 0.95) == 0
