"""Pseudo-labels: which images of the unlabelled pool to trust, and with what label."""

import torch
from torch import Tensor


def select_balanced(probabilities: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The most confident images of every predicted class, equally many of each.

    A class is given `share` of its equal part of the pool: round(share * N / K) images, but no more than were predicted
    to be of it. Plain thresholds would let the easy classes crowd out the others (class-balanced self-training, Zou et
    al. 2018, arXiv:1810.07911).

    Args:
        probabilities: (N, K), a teacher's, on the pool.
        share: of the pool, above 0 and at most 1.

    Returns:
        Indices (M,) into the pool, ascending, and their labels (M,), both int64.
    """
    count, classes = probabilities.shape
    confidence, predicted = probabilities.max(dim=1)
    quota = max(1, round(share * count / classes))
    order = confidence.argsort(descending=True, stable=True)
    kept = [order[predicted[order] == label][:quota] for label in range(classes)]
    indices = torch.cat(kept).sort().values
    return indices, predicted[indices]
