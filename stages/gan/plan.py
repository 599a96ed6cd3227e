"""How many synthetic images each class gets."""

from collections.abc import Sequence

from stages.gan.params import BalancePlan, FactorPlan
from stages.plumbing.errors import UserError


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
