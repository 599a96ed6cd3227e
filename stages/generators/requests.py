"""Which images to draw: how many of each class, in which shards, and row by row what each is drawn from.

An image is a function of (seed, replicate, class, index) alone. A generator's pixels depend on the size of the batch
and on the place in it, in the last bit. So every batch has one size and one class, image i of a class always lies at
place i modulo that size, and one random stream gives the latents of a batch.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.generators.params import BalancePlan, FactorPlan
from stages.plumbing.errors import UserError, reading

BATCH = 128  # images of one class that a generator draws at a time
SHARD = 128  # batches that a process draws: 16,384 images, tens of times what it takes to load the generator
PLAN = "plan.json"


@dataclass(frozen=True)
class Sources:
    """The real images that may be sources, all that others are drawn from.

    labels: int64 (M,), their classes. masked: bool (M,), which of them have a region, for kinds that draw one anew in
    an image of any class; None for kinds that start from an image of the class wanted.
    """

    labels: NDArray[np.int64]
    masked: NDArray[np.bool_] | None = None

    def of_class(
        self, label: int, index: NDArray[np.int64], seed: tuple[int, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """For images `index` (N,) of a class, rows of their sources, and of the images whose regions these get.

        Each that may be a source takes its turn: those of the class, or all, in an order that `seed` decides. A source
        without a region is lent that of an image of the class that has one, or of any where the class has none.
        """
        own = self.labels == label
        if self.masked is None:
            (rows,) = np.nonzero(own)
            return rows[index % len(rows)], None
        random = np.random.default_rng((*seed, label))
        chosen = random.permutation(len(self.labels))[index % len(self.labels)]
        lenders = np.flatnonzero(self.masked & own if (self.masked & own).any() else self.masked)
        lent = random.permutation(lenders)[index % len(lenders)]
        return chosen, np.where(self.masked[chosen], chosen, lent)


@dataclass(frozen=True)
class Requests:
    """A batch of images to draw, row by row.

    labels, index: int64 (N,), class and number within it. seed: of the batch's latents. sources: int64 (N,), rows of
    the real images that kinds which start from images start from, or None. wanted: how many of the first rows are
    asked for; the others fill up the batch. masks: int64 (N,), rows of the real images whose regions are drawn anew in
    those sources, or None.
    """

    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    seed: int
    sources: NDArray[np.int64] | None
    wanted: int
    masks: NDArray[np.int64] | None = None

    def latents(self, latent_dim: int) -> NDArray[np.float32]:
        """Standard normal latents (N, latent_dim)."""
        return np.random.default_rng(self.seed).standard_normal((len(self.labels), latent_dim), dtype=np.float32)


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


def read_plan(folder: Path) -> dict[str, Any]:
    """`kind` and `plan` of the generator that was saved there. Raises UserError when it is missing or damaged."""
    with reading(folder / PLAN):
        plan: dict[str, Any] = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    return plan


def shards(counts: Sequence[int], batches: int = SHARD) -> list[list[range]]:
    """Split counts[c] images of each class c into shards of so many batches, each with the range of every class.

    Drawn one shard after the other they come class by class, and whole batches stay together.
    """
    starts = [(label, start) for label, count in enumerate(counts) for start in range(0, count, BATCH)]
    return [_ranges(starts[first : first + batches], counts) for first in range(0, len(starts), batches)]


def requests(wanted: Sequence[range], seed: int, replicate: int, sources: Sources | None = None) -> Iterator[Requests]:
    """Batches of the images wanted[c] of each class c, class by class; each range begins at a multiple of BATCH."""
    for label, of_class in enumerate(wanted):
        for start in of_class[::BATCH]:
            index = np.arange(start, start + BATCH)
            chosen = (None, None) if sources is None else sources.of_class(label, index, (seed, replicate))
            key = np.random.SeedSequence((seed, replicate, label, start // BATCH)).generate_state(1, np.uint64)
            yield Requests(
                labels=np.full(BATCH, label),
                index=index,
                seed=int(key[0] >> np.uint64(1)),
                sources=chosen[0],
                wanted=min(BATCH, of_class.stop - start),
                masks=chosen[1],
            )


def few_of_each_class(classes: int, per_class: int, seed: int, sources: Sources | None = None) -> Requests:
    """One batch of the first images of all classes, class by class, from latents fixed by `seed`; to be looked at."""
    labels, index = np.arange(classes).repeat(per_class), np.tile(np.arange(per_class), classes)
    if sources is None:
        return Requests(labels, index, seed, None, len(labels))
    rows, masks = zip(
        *(sources.of_class(label, np.arange(per_class), (seed,)) for label in range(classes)), strict=True
    )
    regions = None if sources.masked is None else np.concatenate(masks)
    return Requests(labels, index, seed, np.concatenate(rows), len(labels), regions)


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
