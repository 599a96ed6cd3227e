"""Whole groups (patients, speakers, slides) for each role, so that none crosses a role."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import CALIBRATION, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.errors import UserError

_BUNDLES = 500  # units that scikit-learn deals into folds: a millisecond or so for each and fold
_FOLDS = 20  # at most, unless the test share is below one in so many
_ORDERS = 40  # random orders of the groups that are tried before giving up
_SPREAD_GROUPS = 10  # that a role takes although fewer would do,
_SPREAD_PART = 6  # unless that is more than one in so many of all

Sizes = NDArray[np.int64]


@dataclass(frozen=True)
class Needs:
    """What the roles of one replicate need.

    train: number of train images of each class (K,), given how many there are to choose from (K,).
    train_last: whether train takes what validation and calibration left, instead of going first.
    validation: images of each class (K,). calibration: images in all. pool: the fewest images the pool should have.
    """

    train: Callable[[Sizes], Sizes]
    train_last: bool
    validation: Sizes
    calibration: int
    pool: int

    def of_two_domains(self) -> "Needs":
        """The needs by twice the classes, (2K,): train's of the first K, and validation's of the others."""
        classes = len(self.validation)

        def train(available: Sizes) -> Sizes:
            return np.concatenate([self.train(available[:classes]), np.zeros(classes, dtype=np.int64)])

        return replace(self, train=train, validation=np.concatenate([np.zeros(classes, np.int64), self.validation]))


def counted(images: int) -> str:
    """So many images, in words."""
    return "1 image" if images == 1 else f"{images} images"


def hold_out(labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_] | None:
    """Whole groups with about `share` of the images of every class, and every class on both sides; None if impossible.

    labels, groups: (N,) class index and group of each labelled image. `StratifiedGroupKFold` deals the groups into k
    folds and m of them are taken, m/k being the fraction nearest to `share` that the number of groups allows; of the k
    runs of m neighbouring folds, the one that comes nearest to `share` over all classes.
    """
    bundles = _bundles(labels, groups)
    most = max(_FOLDS, math.ceil(1 / min(share, 1 - share)))
    most = min(most, len(np.unique(bundles)), int(np.bincount(labels).max()))
    fractions = [Fraction(share).limit_denominator(folds) for folds in range(most, 1, -1)]
    inside = [min(max(each, Fraction(1, most)), Fraction(most - 1, most)) for each in fractions]
    for fraction in dict.fromkeys(inside):
        fold = _deal(labels, bundles, fraction.denominator, seed)
        taken = _nearest_run(labels, fold, fraction, share)
        if taken is not None:
            return taken
    return None


def allot(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    unlabelled: NDArray[np.bool_],
    class_names: list[str],
    needs: Needs,
    random: np.random.Generator,
) -> NDArray[np.str_]:
    """The role that each image's group is kept for, (N,): train, validation, calibration or the unlabelled pool.

    labels, groups: (N,), label -1 for unlabelled images. unlabelled: (N,) which images may be for calibration or the
    pool. The classes are served in turn, the one that lies in the
    fewest groups first: groups of it, in random order, are kept for train, then for validation, until the role has its
    images of that class; next, groups in a random order stratified by class are kept for calibration; what is left is
    the pool's. So a role never takes more groups than its need and its spread demand: for the sake of spread, where
    there are many groups, a role takes up to 10 groups although fewer would do, but no more than it needs images and no
    more than a sixth of the groups, which leaves half of them to the pool. With four groups that are alike, each role
    has one. Where an order of the groups leaves a role short or the pool empty, others are tried, the second half
    of them without spread. Raises UserError when none suffices.
    """
    held = _Holdings.of(labels, groups, unlabelled, class_names)
    shortage = UserError("no order of the groups was tried")
    fallback = None
    for attempt in range(_ORDERS):
        try:
            kept = _keep(held, needs, _SPREAD_GROUPS if attempt < _ORDERS // 2 else 1, random)
        except UserError as error:
            shortage = error
            continue
        if held.sizes[kept == UNLABELLED_POOL].sum() >= needs.pool:
            return kept[held.group]
        fallback = kept if fallback is None else fallback
    if fallback is None:
        raise shortage
    return fallback[held.group]


def stratified_order(
    rows: NDArray[np.int64], strata: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """The rows in a random order of which every leading part holds the strata in proportion; strata: of every row."""
    position = np.empty(len(rows))
    for stratum in np.unique(strata[rows]):
        members = np.flatnonzero(strata[rows] == stratum)
        position[random.permutation(members)] = (np.arange(len(members)) + random.random()) / len(members)
    return rows[np.argsort(position, kind="stable")]


@dataclass(frozen=True)
class _Holdings:
    """Who holds what. group: (N,) of each image, 0..G-1. sizes: (G,) images that need no label. holders: by class, the
    groups that have images of it and how many. rarest: (G,) the class of the group that lies in the fewest groups, -1
    for a group without labels. order: the classes, those that lie in few groups first.
    """

    class_names: list[str]
    group: NDArray[np.int64]
    sizes: Sizes
    holders: list[tuple[NDArray[np.int64], Sizes]]
    rarest: NDArray[np.int64]
    order: list[int]

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int64],
        groups: NDArray[np.int64],
        unlabelled: NDArray[np.bool_],
        class_names: list[str],
    ) -> "_Holdings":
        names, group = np.unique(groups, return_inverse=True)
        sizes = np.bincount(group[unlabelled], minlength=len(names))
        labelled = labels >= 0
        pairs, counts = np.unique(labels[labelled] * len(sizes) + group[labelled], return_counts=True)
        ends = np.searchsorted(pairs, np.arange(len(class_names) + 1) * len(sizes))
        holders = [(pairs[a:b] % len(sizes), counts[a:b]) for a, b in itertools.pairwise(ends)]
        order = np.argsort([len(members) for members, _ in holders], kind="stable").tolist()
        rarest = np.full(len(sizes), -1)
        for label in reversed(order):
            rarest[holders[label][0]] = label
        return cls(class_names, group, sizes, holders, rarest, order)

    def left(self, kept: NDArray[np.str_]) -> Sizes:
        """Images of each class (K,) in groups that are kept for no role yet."""
        return np.array([counts[kept[members] == ""].sum() for members, counts in self.holders], dtype=np.int64)


def _keep(held: _Holdings, needs: Needs, spread: int, random: np.random.Generator) -> NDArray[np.str_]:
    """The role of each group (G,). Raises UserError when this order of the groups does not suffice."""
    kept = np.full(len(held.sizes), "", dtype="<U11")
    first = {} if needs.train_last else {TRAIN: needs.train(held.left(kept))}
    _keep_by_class(held, kept, first | {VALIDATION: needs.validation}, spread, random)
    _keep_for_calibration(held, kept, needs.calibration, spread, random)
    if needs.train_last:
        _keep_by_class(held, kept, {TRAIN: needs.train(held.left(kept))}, spread, random)
    kept[kept == ""] = UNLABELLED_POOL
    return kept


def _keep_by_class(
    held: _Holdings, kept: NDArray[np.str_], needs: dict[str, Sizes], spread: int, random: np.random.Generator
) -> None:
    """Keeps free groups for the roles, in place, until each has its images of every class."""
    for label in held.order:
        shuffled = random.permutation(len(held.holders[label][0]))
        members, counts = (each[shuffled] for each in held.holders[label])
        for role, need in needs.items():
            own = kept[members] == role
            free = np.flatnonzero(kept[members] == "")
            by_need = _leading(counts[free], need[label] - counts[own].sum())
            if by_need > len(free):
                raise UserError(
                    f"class {held.class_names[label]!r} has {len(members)} groups beside the test set, which are "
                    f"too few to give {role} {counted(need[label])} and share no group with another role: lower "
                    "prepare.labels_per_class, validation_per_class, calibration or test_share"
                )
            by_spread = min(need[label], spread, len(members) // _SPREAD_PART) - own.sum()
            kept[members[free[: max(by_need, by_spread)]]] = role


def _keep_for_calibration(
    held: _Holdings, kept: NDArray[np.str_], need: int, spread: int, random: np.random.Generator
) -> None:
    """Keeps free groups for calibration, in place, until it has its images."""
    free = stratified_order(np.flatnonzero((kept == "") & (held.sizes > 0)), held.rarest, random)
    by_need = _leading(held.sizes[free], need)
    if by_need > len(free):
        raise UserError(
            f"prepare.calibration asks for {counted(need)}, but the groups that are left hold "
            f"{held.sizes[free].sum()}: lower it, or prepare.test_share, labels_per_class or validation_per_class"
        )
    by_spread = min(need, spread, len(kept) // _SPREAD_PART)
    kept[free[: max(by_need, by_spread)]] = CALIBRATION


def _leading(sizes: Sizes, need: int) -> int:
    """How many leading sizes add up to `need`; one more than there are when all do not."""
    return int(np.searchsorted(np.cumsum(sizes), need)) + 1 if need > 0 else 0


def _bundles(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bundle of each image: the groups dealt out, class by class and rare classes first, to at most `_BUNDLES`."""
    everything = np.ones(len(labels), dtype=bool)
    held = _Holdings.of(labels, groups, everything, [""] * (int(labels.max()) + 1))
    place = np.empty(len(held.sizes), dtype=np.int64)
    place[np.argsort(held.rarest, kind="stable")] = np.arange(len(held.sizes))
    return place[held.group] % _BUNDLES


def _deal(labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each image, 0..folds-1."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # the caller looks at every class
        deal = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        for index, (_, rows) in enumerate(deal):
            fold[rows] = index
    return fold


def _nearest_run(
    labels: NDArray[np.int64], fold: NDArray[np.int64], fraction: Fraction, share: float
) -> NDArray[np.bool_] | None:
    """The images of the neighbouring folds that together come nearest to `share` of every class."""
    folds, classes = fraction.denominator, int(labels.max()) + 1
    counts = np.bincount(fold * classes + labels, minlength=folds * classes).reshape(folds, classes)

    def runs() -> Iterator[tuple[float, int, NDArray[np.int64]]]:
        for start in range(folds):
            taken = (start + np.arange(fraction.numerator)) % folds
            part = counts[taken].sum(axis=0) / counts.sum(axis=0)
            if np.all((part > 0) & (part < 1)):
                yield float(np.abs(part - share).sum()), start, taken

    best = min(runs(), default=None, key=lambda run: run[:2])
    return None if best is None else np.isin(fold, best[2])
