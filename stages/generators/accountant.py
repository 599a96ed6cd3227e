"""What releases of noised sums spend of a privacy budget, and how much noise a budget asks for.

Every release is a Gaussian mechanism: a sum to which each image, or each group, adds a vector of length 1 at most, and
Gaussian noise. Its privacy loss, and that of many releases together, is computed by Opacus: Gopi et al., "Numerical
Composition of Differential Privacy" (2021), for images that are added to or removed from the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np

from stages.plumbing.errors import UserError

EXACT = 1.002  # of the noise that is found, as a share of the least that would do


@dataclass(frozen=True)
class Release:
    """Sums that are released one after another.

    noise: standard deviation of what is added to each number, in lengths of what one image adds at most. rate: the
    share of the images that each sum is made of, drawn anew each time, every image by itself (Poisson). steps: sums.
    """

    noise: float
    rate: float = 1.0
    steps: int = 1


def spent(releases: Sequence[Release], delta: float) -> float:
    """The epsilon that all these releases together spend at this delta; an upper limit, by 0.01 at most."""
    # Each import of Opacus costs seconds, and most runs need none.
    accountant = _opacus().accountants.PRVAccountant()
    accountant.history = [(each.noise, each.rate, each.steps) for each in releases]
    with np.errstate(divide="ignore"):  # of logarithms that it then leaves out
        return float(accountant.get_epsilon(delta))


@lru_cache  # the replicates of a generator ask the same, and it takes seconds
def least_noise(
    epsilon: float, delta: float, rate: float = 1.0, steps: int = 1, beside: tuple[Release, ...] = ()
) -> Release:
    """The release with the least noise that, beside others, spends no more than epsilon at this delta.

    Raises UserError where the others spend it all, or no noise would do.
    """
    low, high = 0.0, 1.0
    while _spends(Release(high, rate, steps), beside, delta) > epsilon:
        low, high = high, 2 * high
        if high > 1e6:
            raise UserError(f"epsilon: {epsilon:g} cannot be kept at delta {delta:g}: raise one of them")
    while high > EXACT * low:
        middle = (low + high) / 2
        if _spends(Release(middle, rate, steps), beside, delta) > epsilon:
            low = middle
        else:
            high = middle
    return Release(high, rate, steps)


def _spends(release: Release, beside: Sequence[Release], delta: float) -> float:
    return spent([*beside, release], delta) if release.noise > 0 else inf


def advantage(epsilon: float, delta: float) -> float:
    """The most by which an attacker's hits may exceed his false alarms when he guesses who was there, 0..1.

    Kairouz et al., "The Composition Theorem for Differential Privacy" (2015), theorem 2.1: total variation distance.
    """
    from math import expm1

    return (expm1(epsilon) + 2 * delta) / (expm1(epsilon) + 2)


def _opacus():  # type: ignore[no-untyped-def]
    try:
        import opacus.accountants
    except ModuleNotFoundError as error:
        raise UserError("a privacy budget is accounted for by Opacus, which is missing: `make extras`") from error
    return opacus
