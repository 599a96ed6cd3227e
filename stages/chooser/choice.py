"""Which sizes and roles fit what lies in a folder: alternatives, the best first. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.memorization.conformal import calibration_needed

LARGEST = 32  # pixels: the GANs were measured up to here, and each step of larger ones takes longer
SMALLEST = 8
LEAST_PRETRAINED = 32  # pixels: what a network that learned from photographs can read
LEAST_REFINED = 28  # pixels: where convolutions that refine the Gaussian were measured
FEW_COLOURED = 0.05  # share of images in colour that are outliers among grey ones
MANY_LABELS = 4000  # labelled images beside the test set, from which on a run takes part of them
MOST_VALIDATION = 10  # of each class
MOST_CALIBRATION = 200
MOST_POOL = 5000
UNBALANCED = 1.5  # commonest class to rarest
# Error rates of the filter and ways to keep them, the best first
_RATES = (0.05, 0.1, 0.2)
_SHARES = (0.3, 0.25)  # of the images, for the test set: the second leaves three of four

Sizes = NDArray[np.int64]


@dataclass(frozen=True)
class Held:
    """What is there. counts: labelled images of each class (K,) beside given test and validation sets. unlabelled:
    images without a label. per_group: images of a patient, speaker or slide in the mean, 0 where none is known.
    pretrained: whether there is a pretrained network, and images large enough for it.
    """

    counts: Sizes
    unlabelled: int
    per_group: float
    has_test: bool
    has_validation: bool
    pretrained: bool

    def left(self, test_share: float) -> Sizes:
        """Labelled images of each class (K,) beside the test set, about."""
        return self.counts if self.has_test else np.floor(self.counts * (1 - test_share)).astype(np.int64)

    @property
    def is_unbalanced(self) -> bool:
        return bool(self.counts.max() > UNBALANCED * self.counts.min())


@dataclass(frozen=True)
class Choice:
    """Sizes of the roles, and how the filter keeps its promise. labels: all, or so many of each class."""

    test_share: float
    labels: int | str
    validation: int
    calibration: int
    alpha: float
    full_conformal: bool
    by_group: bool
    neighbours: int


def choices(held: Held) -> Iterator[Choice]:
    """The best first: a low error rate before many validation images; an own calibration set before none.

    Full conformal prediction promises nothing where images come in groups. So where groups are too few, one of each
    for the threshold, at last all of their images count.
    """
    if held.per_group:
        ways = [(alpha, by_group, False) for by_group in (True, False) for alpha in _RATES]
    else:
        ways = [(alpha, True, full_conformal) for alpha in _RATES for full_conformal in (False, True)]
    for alpha, by_group, full_conformal in ways:
        for share in _SHARES[: 1 if held.has_test else None]:
            yield from _of_rate(held, share, alpha, by_group, full_conformal)


def _of_rate(held: Held, share: float, alpha: float, by_group: bool, full_conformal: bool) -> Iterator[Choice]:
    left = held.left(share)
    everything = int(left.sum()) + held.unlabelled
    needed = math.ceil(calibration_needed(alpha) * (held.per_group or 1) if by_group else calibration_needed(alpha))
    calibration = 1 if full_conformal else min(MOST_CALIBRATION, max(needed, everything // 5))
    if 3 * calibration > everything or (full_conformal and everything - 1 < calibration_needed(alpha / 2)):
        return
    most = MOST_VALIDATION if held.has_validation else min(MOST_VALIDATION, int(left.min()) // 3)
    for validation in dict.fromkeys((max(most, 1), max(most // 2, 1), 1)):
        labels, neighbours = _labels(left, validation), 5 if everything >= 20 else 3
        yield Choice(share, labels, validation, calibration, alpha, full_conformal, by_group, neighbours)


def _labels(left: Sizes, validation: int) -> int | str:
    """All, or of a large set as many of each class as make a run that ends today."""
    if left.sum() <= MANY_LABELS:
        return "all"
    return max(1, min(MANY_LABELS // len(left), int(left.min()) - validation))


def side(sides: NDArray[np.int64]) -> int:
    """Pixels that images of these sides (N,), the shorter ones, are brought to."""
    return int(np.clip(np.median(sides), SMALLEST, LARGEST))


def in_colour(colourful: NDArray[np.bool_]) -> bool:
    """Whether colour tells something, (N,) of each image whether it has some."""
    return bool(colourful.mean() > FEW_COLOURED)
