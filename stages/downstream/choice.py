"""Which of an arm's settings serves best."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def validation_scores(facts: Sequence[Sequence[dict[str, Any]]]) -> NDArray[np.float64]:
    """Validation scores (settings, replicates), NaN where there is none; facts: of each replicate's settings."""
    return np.array([[setting["validation_score"] for setting in settings] for settings in facts], dtype=float).T


def choose(scores: NDArray[np.float64]) -> int:
    """The setting (row) with the highest mean validation score over replicates (columns); the first of equals.

    One choice for the whole arm: chosen per replicate on some 50 images, noise alone would look like 5 points.
    Raises ValueError when there are several settings but not all scores are numbers: nothing can be chosen on them.
    """
    means = scores.mean(axis=1)
    if len(means) > 1 and not np.isfinite(means).all():
        raise ValueError("several settings, but no validation score to choose on")
    return int(means.argmax())
