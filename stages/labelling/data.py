"""What teachers and generators may see of a replicate."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from stages.sources.params import ImageParams


@dataclass(frozen=True)
class Form:
    """What every image of the set is. class_names: in the order of the labels."""

    class_names: list[str]
    image: ImageParams


NO_IMAGES, NO_LABELS = torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class ReplicateData:
    """A replicate's images as teachers and generators see them.

    Images uint8 (N, C, H, W), square, and labels int64 (N,) in 0..classes-1.

    `unlabelled` may be empty. The validation images, which may be none, train nothing: choices are made on them.
    `flip_ok`: whether a mirrored image keeps its class. `form`: for generators that read images themselves.
    `from_source`: under domain shift, how many of the first labelled images are of the source domain; all others,
    labelled or not, are of the target domain. None where there is one domain alone.
    `masks`: the region of each labelled image and, after these, of each validation image, bool (N, 1, H, W), empty
    where an image has none; None where regions are not known of. `other_images`, `other_labels`: of other classes,
    numbered from `classes` on, which are never tested; none where there are no such classes. `groups`: a number for the
    group (patient, speaker) of each labelled image and, after these, of each validation image, int64; None where images
    come in none.
    """

    images: Tensor
    labels: Tensor
    unlabelled: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    classes: int
    flip_ok: bool
    form: Form | None = None
    from_source: int | None = None
    masks: Tensor | None = None
    groups: Tensor | None = None
    other_images: Tensor = NO_IMAGES
    other_labels: Tensor = NO_LABELS

    @property
    def of_target(self) -> Tensor:
        """Which of the labelled images are of the target domain, bool (N,); with one domain alone, all."""
        return torch.arange(len(self.labels), device=self.labels.device) >= (self.from_source or 0)

    def to(self, device: torch.device | str) -> "ReplicateData":
        """The same data on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: each.to(device) for name, each in values.items() if isinstance(each, Tensor)}
        return replace(self, **moved)

    def with_all_labels(self) -> "ReplicateData":
        """The same data once no choice is to be made any more: validation images are labelled images like others."""
        return replace(
            self,
            images=torch.cat([self.images, self.validation_images]),
            labels=torch.cat([self.labels, self.validation_labels]),
            validation_images=self.validation_images[:0],
            validation_labels=self.validation_labels[:0],
        )


@dataclass(frozen=True)
class TrustedImages:
    """All real images that generators and teachers learn from: uint8 (N, C, H, W), labels int64 (N,), and trust.

    `trust`, float32 (N,) in 0..1, is how far a label is to be believed: 1 for a given one.
    """

    images: Tensor
    labels: Tensor
    trust: Tensor

    def __getitem__(self, rows: slice) -> "TrustedImages":
        return TrustedImages(self.images[rows], self.labels[rows], self.trust[rows])

    def beside(self, images: Tensor, labels: Tensor) -> "TrustedImages":
        """These and, behind them, images with given labels, if any."""
        if not len(labels):
            return self
        given = torch.ones(len(labels), device=labels.device)
        pairs = zip(vars(self).values(), (images, labels, given), strict=True)
        return TrustedImages(*(torch.cat(pair) for pair in pairs))
