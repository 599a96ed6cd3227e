"""In which order training visits images, and how its classes are balanced."""

import torch
from torch import Generator, Tensor


def draw_order(labels: Tensor, count: int, shares: Tensor | None, generator: Generator) -> Tensor:
    """Indices (count,) into a set with these labels (N,), in the order in which training visits its images.

    Without `shares` all images are visited before any comes again. With shares (K,), of which those classes that are
    there take their part, the same holds within every class, and each class comes as often as its share says (to within
    one), evenly spread. Where none that has a share is there, all that are there come alike often.
    """
    if shares is None:
        return _cycle(torch.arange(len(labels)), count, generator)
    present = torch.zeros_like(shares)
    present[labels.unique()] = 1
    taken = shares * present
    turns = _turns(_apportion(taken if taken.any() else present, count), generator)
    order = torch.empty(count, dtype=torch.int64)
    for label in turns.unique():
        places = (turns == label).nonzero().squeeze(1)
        order[places] = _cycle((labels == label).nonzero().squeeze(1), len(places), generator)
    return order


def top_up_shares(real: Tensor, real_share: float) -> Tensor:
    """Shares (K,) of the synthetic images' classes that make all classes equally common, as far as they can.

    Args:
        real: (K,), how often each class comes among the real images.
        real_share: share of the images that are real, 0..1, so that the rest is synthetic.
    """
    lacking = (1 / len(real) - real_share * real / real.sum()).clamp_min(0)
    return lacking / lacking.sum()


def class_weights(frequencies: Tensor) -> Tensor:
    """Weights (K,) of the loss that make all classes count alike; their mean over the images drawn is 1.

    The inverse of each class's frequency (scikit-learn's `class_weight="balanced"`); 0 for a class that is not there.

    Args:
        frequencies: (K,), not negative, how often each class is drawn.
    """
    present = frequencies > 0
    shares = frequencies / frequencies.sum()
    return torch.where(present, 1 / (present.sum() * shares.where(present, torch.ones_like(shares))), 0)


def _cycle(members: Tensor, length: int, generator: Generator) -> Tensor:
    """All members in random order, then all again in another, until there are `length`."""
    rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(0, length, len(members))]
    return torch.cat(rounds)[:length] if rounds else members[:0]


def _apportion(shares: Tensor, count: int) -> Tensor:
    """Whole numbers (K,) that sum to `count`, within one of the shares of it (the method of largest remainders)."""
    exact = shares.double() / shares.double().sum() * count
    quotas = exact.floor().long()
    order = (exact - quotas).argsort(descending=True, stable=True)
    quotas[order[: count - int(quotas.sum())]] += 1
    return quotas


def _turns(quotas: Tensor, generator: Generator) -> Tensor:
    """Classes (sum of the quotas,), each as often as its quota and evenly spread, from a random start."""
    labels = torch.arange(len(quotas)).repeat_interleave(quotas)
    ranks = torch.cat([torch.arange(quota) for quota in quotas.tolist()])
    jitter = torch.rand(len(labels), generator=generator)
    return labels[((ranks + jitter) / quotas[labels]).argsort(stable=True)]
