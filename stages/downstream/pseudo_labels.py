"""Pseudo-labels: which images of the unlabelled pool to trust, and with what label."""

import torch
from torch import Tensor


def select_balanced(guess: Tensor, confidence: Tensor, classes: int, share: float) -> Tensor:
    """The most confident images of every guessed class, equally many of each.

    A class is given `share` of its equal part of the pool: round(share * N / K) images, but no more than were guessed
    to be of it. Plain thresholds would let the easy classes crowd out the others (class-balanced self-training, Zou et
    al. 2018, arXiv:1810.07911).

    Args:
        guess: int64 (N,), a teacher's labels of the pool, 0..classes-1.
        confidence: (N,), how sure it is of each.
        classes: K, the number of classes.
        share: of the pool, above 0 and at most 1.

    Returns:
        Indices (M,) into the pool, int64, ascending.
    """
    quota = max(1, round(share * len(guess) / classes))
    order = confidence.argsort(descending=True, stable=True)
    kept = [order[guess[order] == label][:quota] for label in range(classes)]
    return torch.cat(kept).sort().values
