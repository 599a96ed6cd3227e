"""Which images to train on: the most trusted of a class, be they pseudo-labelled or synthetic."""

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


def best_of_every_class(labels: Tensor, scores: Tensor, keep: float) -> Tensor:
    """Indices (M,), ascending, of the share `keep` of each class's images with the highest scores, at least one.

    So the classes stay as common as they were.

    Args:
        labels: int64 (N,).
        scores: (N,), higher is better.
        keep: above 0 and at most 1.
    """
    order = scores.argsort(descending=True, stable=True)
    ranked = [order[labels[order] == label] for label in labels.unique()]
    return torch.cat([each[: max(1, round(keep * len(each)))] for each in ranked]).sort().values
