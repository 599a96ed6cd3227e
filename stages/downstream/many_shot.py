"""What classes with many images teach for those with few: features, how classes vary, and differences between images.

The many-shot classes are those of the set that have more than half of the labels of the one with the most, and those of
`prepare.other_classes`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.downstream.arm_data import Labelled
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError

LEAST_IMAGES = 2  # of a class, to know how it varies
LEAST_CLASSES = 2  # to tell apart


@dataclass(frozen=True)
class ManyShot:
    """Images uint8 (N, C, H, W) of the many-shot classes, and their labels int64 (N,) in 0..classes-1, on the CPU."""

    images: Tensor
    labels: Tensor

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1

    def by_class(self, values: Tensor) -> list[Tensor]:
        """The values (N, ...) of each class's images."""
        return [values[(self.labels == label).to(values.device)] for label in range(self.classes)]


def many_shot(seen: ReplicateData, labelled: Labelled) -> ManyShot:
    """The labelled images of the many-shot classes that have two images or more, with classes numbered anew.

    Raises:
        UserError: there are fewer than two such classes, or no class is few-shot.
    """
    few = seen.few_shot.cpu()
    own = ~torch.isin(labelled.labels, few)
    images = torch.cat([labelled.images[own.to(labelled.images.device)], seen.other_images]) if len(few) else None
    if images is not None:
        labels = torch.cat([labelled.labels[own], seen.other_labels.cpu()])
        several = labels.bincount()[labels] >= LEAST_IMAGES
        kept, numbered = labels[several].unique(return_inverse=True)
        if len(kept) >= LEAST_CLASSES:
            return ManyShot(images[several.to(images.device)], numbered)
    raise UserError(
        "the arm learns from classes with many images for those with few, but there are not both: let "
        "prepare.labels_per_class give two classes or more at least twice the labels of others ({cat: 1, others: 20}), "
        "or let prepare.other_classes bring classes to learn from; or take the arm out"
    )


class SquareRoot(nn.Module):
    """The root of each feature, with its sign: Tukey's ladder at 1/2, which makes skewed features less skewed."""

    def forward(self, features: Tensor) -> Tensor:
        return features.sign() * features.abs().sqrt()


def body_of(classifier: nn.Sequential) -> nn.Sequential:
    """What a classifier sees before its last layer, as features (N, F)."""
    return nn.Sequential(*classifier[:-1], SquareRoot())
