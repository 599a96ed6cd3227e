"""Which generated images of a replicate are dropped as copies of what its GAN saw, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from stages.memorization.conformal import calibration_needed, check_calibration, dropped, p_values, p_values_by_class
from stages.memorization.full_conformal import full_conformal_p_values
from stages.memorization.likeness import Groups, Likeness, one_of_each
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.errors import UserError


@dataclass(frozen=True)
class Originals:
    """The real images that a replicate's filter knows.

    seen: uint8 (M, C, H, W), all that the GAN saw. calibration: uint8 (m, C, H, W), which nothing saw; none for full
    conformal prediction. Their groups, or None where no image has one. calibration_labels: int64 (m,), which nothing
    reads unless there is a threshold for each class. flip_ok: whether a mirrored image keeps its class.
    """

    seen: torch.Tensor
    calibration: torch.Tensor
    flip_ok: bool
    seen_groups: Groups | None = None
    calibration_groups: Groups | None = None
    calibration_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Decisions:
    """What becomes of N generated images, and why.

    p: share, 0..1, of fresh real images that are at least as suspicious. score, distance, nearest: see `Likenesses`.
    """

    p: NDArray[np.float64]
    score: NDArray[np.float64]
    distance: NDArray[np.float64]
    nearest: NDArray[np.int64]
    dropped: NDArray[np.bool_]

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Those of all blocks as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class MemorizationFilter:
    """Drops what lies nearer to one seen image than all but a share alpha of fresh real images do.

    The threshold is set before the first generated image is looked at, so that these may come in blocks of any size.
    Where there are too few calibration images and the parameters allow it, it is full conformal prediction over the
    seen images. Of each group one image calibrates.

    Raises:
        UserError: images of the wrong type or of different sizes; too few calibration images for alpha, or seen ones
            in their place; fewer than neighbours + 1 different seen images; a shift of half an image.
    """

    def __init__(self, originals: Originals, params: FilterMemorizedParams) -> None:
        check_images(seen=originals.seen)
        self.originals, self.params = originals, params
        self.likeness = Likeness(originals.seen, originals.seen_groups, originals.flip_ok, params)
        self.calibrating = one_of_each(originals.calibration_groups, len(originals.calibration))
        self.full_conformal = params.too_few == "full_conformal" and len(self.calibrating) < calibration_needed(
            params.alpha, params.confidence
        )
        if self.full_conformal:
            _check_seen(len(self.likeness.kept), params)
            self._among_seen = self.likeness.among_seen()
            return
        _check_calibration(self.calibrating, len(originals.calibration), params)
        check_images(seen=originals.seen, calibration=originals.calibration)
        self.calibration_scores = self.likeness.of(self.calibration).score

    @property
    def calibration(self) -> torch.Tensor:
        """The images that set the threshold, uint8 (m, C, H, W)."""
        return self.originals.calibration[torch.from_numpy(self.calibrating)]

    @property
    def calibration_labels(self) -> NDArray[np.int64] | None:
        """The classes of the calibration images, (m,); None where one threshold serves all classes."""
        labels = self.originals.calibration_labels
        per_class = self.params.thresholds == "per_class" and labels is not None
        return labels[self.calibrating] if per_class and labels is not None else None

    def decide(self, images: torch.Tensor, labels: NDArray[np.int64] | None = None) -> Decisions:
        """About generated images uint8 (N, C, H, W), whose classes (N,) matter only for a threshold of each class.

        Without `labels` the threshold is that of all classes together. What becomes of an image does not depend on
        the others. Raises UserError for images unlike the real ones in type or size.
        """
        check_images(generated=images, seen=self.originals.seen)
        likenesses = self.likeness.of(images)
        alpha, confidence, score = self.params.alpha, self.params.confidence, likenesses.score
        if self.full_conformal:
            p = full_conformal_p_values(self._among_seen, self.likeness.all_distances(images))
            out = p <= alpha
        elif self.calibration_labels is not None and labels is not None:
            verdicts = p_values_by_class(
                score, labels, self.calibration_scores, self.calibration_labels, alpha, confidence
            )
            p, out = verdicts.p, verdicts.dropped
        else:
            p = p_values(score, self.calibration_scores)
            out = dropped(score, self.calibration_scores, alpha, confidence)
        return Decisions(p, score, likenesses.distance, likenesses.nearest, out)


def _check_seen(count: int, params: FilterMemorizedParams) -> None:
    """Raises UserError when full conformal prediction over `count` images could not even drop an exact copy.

    A copy ranks with the image that it copies: its p-value is 2 / (count + 1), not 1 / (count + 1).
    """
    needed = calibration_needed(params.alpha / 2)
    if count < needed:
        raise UserError(
            f"filter_memorized.alpha is {params.alpha:g}, for which full conformal prediction needs at least {needed} "
            f"different images that the GAN saw, but there are {count}: set aside at least "
            f"{calibration_needed(params.alpha, params.confidence)} calibration images in `prepare`, or raise alpha"
        )


def _check_calibration(calibrating: NDArray[np.int64], images: int, params: FilterMemorizedParams) -> None:
    """Raises UserError when too few of the calibration images can set a threshold, and says so if groups are why."""
    try:
        check_calibration(len(calibrating), params.alpha, params.confidence)
    except UserError as error:
        if len(calibrating) == images:
            raise
        raise UserError(
            f"{error}. There are {images}, but only one of each group counts; if a group's images don't show the same "
            "thing again, set filter_memorized.by_group to false"
        ) from error


def check_some_kept(dropped: NDArray[np.bool_], replicate: int) -> None:
    """Raises UserError, with advice, when every one of a replicate's generated images (N,) was dropped."""
    if dropped.all():
        raise UserError(
            f"all {len(dropped)} generated images of replicate {replicate} were dropped as copies of real "
            "images: the GAN has memorised what it saw. Train it for fewer steps (train_gan.steps) or on more images"
        )


def check_images(**sets: torch.Tensor) -> None:
    """Raises UserError for images, by what they are, that are no uint8 (N, C, H, W) of one size."""
    for name, images in sets.items():
        if images.is_floating_point() and images.isnan().any():
            raise UserError(f"{name} images hold NaN; allowed are bytes 0..255")
        if images.dtype != torch.uint8:
            raise UserError(f"{name} images are of type {images.dtype}; allowed are bytes (uint8) 0..255")
        if images.ndim != 4 or 0 in images.shape:
            raise UserError(f"{name} images have shape {tuple(images.shape)}; expected (N, C, H, W), none of them 0")
    sizes = {name: tuple(images.shape[1:]) for name, images in sets.items()}
    if len(set(sizes.values())) > 1:
        described = ", ".join(f"{name} {' x '.join(map(str, size))}" for name, size in sizes.items())
        raise UserError(f"images differ in size (channels x height x width): {described}")
