"""Labels for images that have none, guessed from a few labelled ones and from how the images lie together.

Label spreading (Zhou et al., "Learning with Local and Global Consistency", 2003) on a Gaussian graph over labelled
and unlabelled images, then class mass normalisation (Zhu et al., "Semi-Supervised Learning Using Gaussian Fields
and Harmonic Functions", 2003), iterated until the guessed classes are as frequent as among the labelled images.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.plumbing.errors import UserError

NEIGHBOUR = 5  # the graph's scale: median squared distance to this neighbour ...
SHARPNESS = 8.0  # ... divided by this; at 8 the confidence is about the share that is right
PULL_OF_NEIGHBOURS = 0.95  # alpha of Zhou et al.: the rest of the pull comes from the given labels
BALANCING_ROUNDS = 20
LARGEST_GRAPH = 12_000  # images; its square is held in memory


def spread_labels(images: Tensor, labels: Tensor, classes: int, unlabelled: Tensor) -> Tensor:
    """Class probabilities, float32 (N, classes), of every unlabelled image.

    `images` (L, C, H, W) uint8 with `labels` (L,) in 0..classes-1, every class at least once; `unlabelled`
    (N, C, H, W) uint8; all on the CPU. The guess assumes that the classes are as frequent among the unlabelled images
    as among the labelled ones.

    Raises UserError when a class has no labelled image, and for more images than the graph can hold.
    """
    frequency = np.bincount(labels.numpy(), minlength=classes) / len(labels)
    if frequency.min() == 0:
        raise UserError(f"class {int(frequency.argmin())} has no labelled image; every class needs at least one")
    if len(images) + len(unlabelled) > LARGEST_GRAPH:
        raise UserError(
            f"{len(images) + len(unlabelled)} labelled and unlabelled images are too many to guess labels for; "
            f"at most {LARGEST_GRAPH} are allowed: make the unlabelled pool smaller"
        )
    if len(unlabelled) == 0:
        return torch.empty(0, classes)
    mass = _spread(_flat(images), labels.numpy(), _flat(unlabelled))
    return torch.from_numpy(_balance(mass, frequency)).float()


def _flat(images: Tensor) -> NDArray[np.float32]:
    return (images.flatten(1).float() / 255).numpy()


def _spread(
    images: NDArray[np.float32], labels: NDArray[np.int64], unlabelled: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the class distribution of each unlabelled image, (N, classes)."""
    from sklearn.semi_supervised import LabelSpreading

    points = np.concatenate([images, unlabelled])
    targets = np.concatenate([labels, np.full(len(unlabelled), -1)])
    spreading = LabelSpreading(kernel="rbf", gamma=_inverse_scale(points), alpha=PULL_OF_NEIGHBOURS, max_iter=1000)
    spreading.fit(points, targets)
    return np.nan_to_num(spreading.label_distributions_[len(images) :])


def _inverse_scale(points: NDArray[np.float32]) -> float:
    """Return gamma of exp(-gamma d^2), set by the data: the same images scaled by any factor give the same graph."""
    tensor = torch.from_numpy(points)
    neighbour = min(NEIGHBOUR + 1, len(points))  # the nearest one is the point itself
    squared = torch.cdist(tensor, tensor).kthvalue(neighbour, dim=1).values.square().median()
    return SHARPNESS / max(float(squared), 1e-6)


def _balance(mass: NDArray[np.float64], frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale classes and rows in turn until rows sum to 1 and the mean row is near `frequency`."""
    mass = mass + 1e-9
    for _ in range(BALANCING_ROUNDS):
        mass = mass * (frequency / mass.mean(axis=0))
        mass = mass / mass.sum(axis=1, keepdims=True)
    return mass
