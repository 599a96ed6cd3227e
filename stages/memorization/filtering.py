"""Which generated images of a replicate are dropped as copies of what its generator saw, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from stages.imaging.devices import choose
from stages.imaging.distance import alignments
from stages.memorization.conformal import calibration_needed, check_calibration, dropped, p_values, p_values_by_class
from stages.memorization.full_conformal import AmongSeen, p_values_apart
from stages.memorization.likeness import Groups, Likeness, one_of_each
from stages.memorization.params import FilterMemorizedParams
from stages.memorization.twins import TwinGroups, group_twins
from stages.plumbing.errors import UserError


@dataclass(frozen=True)
class Originals:
    """The real images that a replicate's filter knows.

    seen: uint8 (M, C, H, W), all that the generator saw. calibration: uint8 (m, C, H, W), which nothing saw; none for
    full conformal prediction. Their groups, or None where no image has one. calibration_labels: int64 (m,), which
    nothing reads unless there is a threshold for each class. flip_ok: whether a mirrored image keeps its class.
    of_source: bool (M,), which of the seen ones are of another domain than all others, or None where there is one.
    """

    seen: torch.Tensor
    calibration: torch.Tensor
    flip_ok: bool
    seen_groups: Groups | None = None
    calibration_groups: Groups | None = None
    calibration_labels: NDArray[np.int64] | None = None
    of_source: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Decisions:
    """What becomes of N generated images, and why.

    p: share, 0..1, of fresh real images that are at least as suspicious. score, distance, nearest: see `Likenesses`.
    own_source: whether the image would be dropped for its likeness to what it was drawn from, were that not known.
    """

    p: NDArray[np.float64]
    score: NDArray[np.float64]
    distance: NDArray[np.float64]
    nearest: NDArray[np.int64]
    dropped: NDArray[np.bool_]
    own_source: NDArray[np.bool_]

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Those of all blocks as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class MemorizationFilter:
    """Drops what lies nearer to one seen image than all but a share alpha of fresh real images do.

    The threshold is set before the first generated image is looked at, so that these may come in blocks of any size.
    Where there are too few calibration images and the parameters allow it, it is full conformal prediction over the
    seen images. Of each group one image calibrates. Near-twins count as a group where there are many: see `twins`.

    Raises:
        UserError: images of the wrong type or of different sizes; too few calibration images for alpha, or seen ones
            in their place, or seen ones in groups; fewer than neighbours + 1 different seen images; a shift of half an
            image.
    """

    def __init__(self, originals: Originals, params: FilterMemorizedParams) -> None:
        check_images(seen=originals.seen)
        self.originals, self.params = originals, params
        self.calibrating = one_of_each(originals.calibration_groups, len(originals.calibration))
        self.full_conformal = params.too_few == "full_conformal" and len(self.calibrating) < calibration_needed(
            params.alpha, params.confidence
        )
        if not self.full_conformal:
            _check_calibration(self.calibrating, len(originals.calibration), params)
            check_images(seen=originals.seen, calibration=originals.calibration)
        self.twins = None if self.full_conformal else self._twins()
        groups = originals.seen_groups if self.twins is None else self.twins.seen
        self.likeness = Likeness(originals.seen, groups, originals.flip_ok, params)
        if self.twins is None:
            _check_no_groups(self.likeness, params)
            _check_seen(len(self.likeness.kept), params)
            found = self.likeness.among_seen(params.neighbours + 1)
            self._among_seen = AmongSeen(found.distances.numpy(), found.indices.numpy())
            return
        self.calibration_scores = self.calibration_likeness(self.calibration)

    def calibration_likeness(self, variants: torch.Tensor) -> NDArray[np.float64]:
        """Scores (m,) of the calibration images, or variants of them, beside the seen images but their near-twins."""
        assert self.twins is not None
        groups = self.twins.calibration
        return (self.likeness.of(variants) if groups is None else self.likeness.of_group(variants, groups)).score

    def _twins(self) -> TwinGroups:
        originals, groups = self.originals, self.originals.calibration_groups
        return group_twins(
            originals.seen,
            self.calibration,
            originals.seen_groups,
            None if groups is None else [groups[row] for row in self.calibrating],
            alignments(self.params.shift_pixels, originals.flip_ok, *originals.seen.shape[-2:]),
            self.params.alpha,
            choose(self.params.device, "filter_memorized"),
        )

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

    def decide(
        self,
        images: torch.Tensor,
        labels: NDArray[np.int64] | None = None,
        sources: NDArray[np.int64] | None = None,
    ) -> Decisions:
        """About generated images uint8 (N, C, H, W); what becomes of one does not depend on the others.

        An image that was drawn from a seen one is compared with all others: with neither its source, nor what equals
        that, nor the rest of its group. A copy of another seen image is dropped as ever. What resembles the own source
        alone is kept, and noted in `own_source`. The promise stays that of all seen images but for the few left out: a
        fresh image has a few references less, which can only lie farther, and calibration images have all of them.

        Args:
            images: generated.
            labels: (N,), their classes, which matter only for a threshold of each class; without them the threshold is
                that of all classes together.
            sources: (N,), the row in `Originals.seen` of what each was drawn from, -1 for none; None for none at all.

        Raises:
            UserError: images unlike the real ones in type or size; too few seen images beside a source.
        """
        check_images(generated=images, seen=self.originals.seen)
        decisions = self._decide(images, labels)
        drawn = np.zeros(len(images), dtype=bool) if sources is None else sources >= 0
        if sources is None or not drawn.any():
            return decisions
        resembling = decisions.dropped[drawn] & self.likeness.are_relatives(decisions.nearest[drawn], sources[drawn])
        apart = self._decide(images[torch.from_numpy(drawn)], None if labels is None else labels[drawn], sources[drawn])
        for name, values in vars(replace(apart, own_source=resembling)).items():
            getattr(decisions, name)[drawn] = values
        return decisions

    def _decide(
        self, images: torch.Tensor, labels: NDArray[np.int64] | None, sources: NDArray[np.int64] | None = None
    ) -> Decisions:
        """Without a word on `own_source`; `sources`: of all images or of none."""
        found = self.likeness.of(images, sources)
        alpha, confidence, score = self.params.alpha, self.params.confidence, found.score
        if self.full_conformal:
            if sources is not None:
                _check_seen(len(self.likeness.kept) - 1, self.params, " beside an image's source")
            rows = np.full(len(images), -1) if sources is None else self.likeness.rows(sources)
            p = p_values_apart(self._among_seen, self.likeness.all_distances(images), rows)
            out = p <= alpha
        elif self.calibration_labels is not None and labels is not None:
            verdicts = p_values_by_class(
                score, labels, self.calibration_scores, self.calibration_labels, alpha, confidence
            )
            p, out = verdicts.p, verdicts.dropped
        else:
            p = p_values(score, self.calibration_scores)
            out = dropped(score, self.calibration_scores, alpha, confidence)
        return Decisions(p, score, found.distance, found.nearest, out, np.zeros(len(images), dtype=bool))


def _check_seen(count: int, params: FilterMemorizedParams, beside: str = "") -> None:
    """Raises UserError when full conformal prediction over `count` images could not even drop an exact copy.

    A copy ranks with the image that it copies: its p-value is 2 / (count + 1), not 1 / (count + 1).
    """
    needed = max(calibration_needed(params.alpha / 2), params.neighbours + 2)
    if count < needed:
        raise UserError(
            f"filter_memorized.alpha is {params.alpha:g}, for which full conformal prediction needs at least {needed} "
            f"different images that the generator saw{beside}, but there are {count}: set aside at least "
            f"{calibration_needed(params.alpha, params.confidence)} calibration images in `prepare`, or raise alpha"
        )


def _check_no_groups(likeness: Likeness, params: FilterMemorizedParams) -> None:
    """Raises UserError where full conformal prediction cannot keep its promise: see `full_conformal`."""
    if likeness.grouped:
        raise UserError(
            "filter_memorized.too_few is full_conformal, which cannot promise anything where the images that the "
            "generator saw come in groups: a new image would be without its group. Set aside calibration images of at "
            f"least {calibration_needed(params.alpha, params.confidence)} groups in `prepare`, or, if a group's images "
            "don't show the same thing again, set filter_memorized.by_group to false"
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


def check_some_kept(dropped: NDArray[np.bool_], generator: str, replicate: int) -> None:
    """Raises UserError, with advice, when every one of a generator's images (N,) of a replicate was dropped."""
    if dropped.all():
        raise UserError(
            f"all {len(dropped)} images that the generator {generator} drew in replicate {replicate} were dropped as "
            "copies of real images: it has memorised what it saw. Train it for fewer steps or on more images"
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
