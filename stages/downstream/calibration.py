"""Distribution calibration: a shot's features vary as those of the classes with many images that lie nearest to it.

Yang, Liu and Xu, "Free Lunch for Few-shot Learning: Distribution Calibration" (ICLR 2021), equations 4 to 6.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

NEAREST = 2  # classes that a shot borrows from


def draw_calibrated(shots: Tensor, classes: Sequence[Tensor], spread: float, random: Generator) -> Tensor:
    """A draw for each shot from the Gaussian that is calibrated for it, float32 (N, F).

    Its mean is that of the shot and of the nearest classes' means, its covariance the mean of theirs plus `spread` in
    every entry. A draw from a class's covariance is a random mixture of its centred features, so that no matrix is
    factorised.

    Args:
        shots: float32 (N, F).
        classes: of each class with many images the features, float32 (n, F) of two images or more; one class at least.
        spread: alpha of the paper, at least 0, in squared units of the features.
        random: on the features' device.
    """
    means = torch.stack([each.mean(dim=0) for each in classes])
    count = min(NEAREST, len(classes))
    near = torch.cdist(shots, means).topk(count, largest=False).indices

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=shots.device)

    drawn = (shots + means[near].sum(dim=1)) / (count + 1) + spread**0.5 * normal(len(shots), 1)
    for number in near.unique().tolist():
        own = classes[number]
        rows = (near == number).any(dim=1).nonzero().squeeze(1)
        mixed = normal(len(rows), len(own)) @ (own - means[number])
        drawn[rows] += mixed / (count * (len(own) - 1)) ** 0.5
    return drawn
