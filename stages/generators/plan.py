"""How many synthetic images each class gets, and in which shards they are drawn."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from stages.generators.params import BalancePlan, FactorPlan
from stages.plumbing.errors import UserError

BATCH = 128  # images of one class that a generator draws at a time
SHARD = 128  # batches that a process draws: 16,384 images, tens of times what it takes to load the generator


def class_plan(labelled: Sequence[int], plan: BalancePlan | FactorPlan) -> list[int]:
    """Return the number of images to generate for each class, given its number of labelled images.

    `balance` fills every class up to the same number of labelled and synthetic images together; `factor`
    rounds factor times the labelled count to the nearest whole image.

    Raises UserError when a class already has the number asked for, when there are more or fewer factors than
    classes, and when the plan comes to no image at all.
    """
    counts = _balance(labelled, plan) if isinstance(plan, BalancePlan) else _multiply(labelled, plan)
    if sum(counts) == 0:
        raise UserError("generate.plan comes to no image in any class; raise generate.plan.factor")
    return counts


def shards(counts: Sequence[int], batches: int = SHARD) -> list[list[range]]:
    """Split counts[c] images of each class c into shards of so many batches, each with the range of every class.

    Drawn one shard after the other they come class by class, and whole batches stay together.
    """
    starts = [(label, start) for label, count in enumerate(counts) for start in range(0, count, BATCH)]
    return [_ranges(starts[first : first + batches], counts) for first in range(0, len(starts), batches)]


def _ranges(starts: Sequence[tuple[int, int]], counts: Sequence[int]) -> list[range]:
    ranges = [range(0)] * len(counts)
    for label, group in groupby(starts, key=itemgetter(0)):
        of_class = [start for _, start in group]
        ranges[label] = range(of_class[0], min(of_class[-1] + BATCH, counts[label]))
    return ranges


def _balance(labelled: Sequence[int], plan: BalancePlan) -> list[int]:
    if plan.per_class <= max(labelled):
        raise UserError(
            f"generate.plan.per_class is {plan.per_class}, but a class has {max(labelled)} labelled images "
            f"already; it must be at least {max(labelled) + 1}"
        )
    return [plan.per_class - count for count in labelled]


def _multiply(labelled: Sequence[int], plan: FactorPlan) -> list[int]:
    factors = plan.factor if isinstance(plan.factor, list) else [plan.factor] * len(labelled)
    if len(factors) != len(labelled):
        raise UserError(
            f"generate.plan.factor lists {len(factors)} factors for {len(labelled)} classes; "
            "it must be one number, or one for each class"
        )
    return [round(factor * count) for factor, count in zip(factors, labelled, strict=True)]
