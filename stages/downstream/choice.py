"""Which of an arm's settings serves best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Chosen:
    """What validation chose for an arm.

    setting: its number. steps: for each replicate, the step to stop its final training after; None for the end.
    scores: validation scores (settings, replicates); None where there was nothing to choose.
    """

    setting: int
    steps: list[int | None]
    scores: NDArray[np.float64] | None


def no_choice(replicates: int) -> Chosen:
    """That of an arm with one setting, which is trained to the end."""
    return Chosen(0, [None] * replicates, None)


def choose(trials: Sequence[Sequence[Mapping[str, Any]]]) -> Chosen:
    """The setting with the highest mean validation score over replicates, the first of equals.

    One choice for the whole arm: chosen per replicate on some 50 images, noise alone would look like 5 points. Where
    the training stops is each replicate's own.

    trials: the fields of an `arms.Trial`, of each replicate's settings.
    """
    scores = np.array([[trial["validation_score"] for trial in settings] for settings in trials]).T
    setting = int(scores.mean(axis=1).argmax())
    return Chosen(setting, [settings[setting]["step"] for settings in trials], scores)
