"""What goes wrong in a GAN's training, and how it shows."""

from math import isfinite

import torch
from torch import Tensor, nn

LEAST_DIVERSITY = 0.1  # of the real images' ...
COLLAPSE = 0.5  # ... and of the most that the samples have had


class FailedTrainingError(Exception):
    """The training cannot go on from here; the text says what was seen."""


def check_finite(measures: dict[str, float]) -> None:
    """Raises FailedTrainingError when a mean loss or logit is not a finite number."""
    if bad := [name for name, value in measures.items() if not isfinite(value)]:
        raise FailedTrainingError(f"{bad[0]} is {measures[bad[0]]}")


def check_weights(*networks: nn.Module) -> None:
    """Raises FailedTrainingError when a weight is not a finite number."""
    for network in networks:
        if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
            raise FailedTrainingError(f"a weight of {type(network).__name__} is not a finite number")


def check_collapse(diversity: float, before: float) -> None:
    """Raises FailedTrainingError when samples that once differed have become nearly alike.

    diversity, before: see `diversity`, now and the highest so far; NaN where it is not known. A generator starts
    with samples that are alike, and that is no collapse.
    """
    if diversity < LEAST_DIVERSITY and diversity < COLLAPSE * before:
        raise FailedTrainingError(
            f"mode collapse: samples of a class vary {diversity:.3f} times as much as real images"
        )


def diversity(samples: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor) -> float:
    """How much samples of a class differ from one another, as a ratio to how much its real images do; NaN if they
    don't.

    samples, real: uint8 (N, C, H, W) and (M, C, H, W); labels (N,), real_labels (M,). The measure is the root of the
    mean variance of a pixel within a class.
    """
    spread = _spread_within(real, real_labels)
    return _spread_within(samples, labels) / spread if spread > 0 else float("nan")


def _spread_within(images: Tensor, labels: Tensor) -> float:
    """Root of the mean over classes and pixels of the variance within a class; NaN where no class has two images."""
    classes = [images[labels == label].float() for label in labels.unique()]
    variances = [members.var(dim=0).mean() for members in classes if len(members) > 1]
    return float(torch.stack(variances).mean().sqrt()) if variances else float("nan")
