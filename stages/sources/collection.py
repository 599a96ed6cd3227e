"""All images of a run in one listing: those of the source, under domain shift those of a second one, and those of other
classes."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.dataset import OTHER_PREFIX, SHIFTED, TEST, TRAIN, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources import registry
from stages.sources.groups import find_groups
from stages.sources.listing import Listing
from stages.sources.params import AnySource, NoGroups, PrepareParams
from stages.sources.tree import composed


def find(params: PrepareParams) -> Listing:
    """Lists all images with their groups; `locators` are pairs of the source's number, 0, 1 or 2, and its own locator.

    Where a second source may be seen (`shift.pool`), its splits are those of the run, and the first source has none: of
    that, everything but a test set is there to train on. Else the second source is the test set alone: the part that it
    calls so, or else all its labelled images, and the first source's test set is left out too. Without any given test
    set there is no given training set either: everything but a given validation set is there to be split.

    Images of `prepare.other_classes` come last, and so do their classes.

    Raises:
        UserError: a source is spoilt as a whole, the classes of the two differ, other classes are those of the source,
            or `leave_out` names what is no class, or leaves fewer than two.
    """
    both = [_with_groups(source, params) for source in (params.source, params.shift.source)]
    left_out = [composed(each) for each in params.leave_out]
    _refuse_unknown(left_out, {name for each in both for name in each.class_names}, "prepare.leave_out")
    listing, second = (_without(each, left_out, "prepare.leave_out") for each in both)
    _refuse_test_alone(listing, Path(params.source.path))
    if len(second):
        second = _with_classes_of(listing.class_names, second)
        if isinstance(params.groups, NoGroups) and not getattr(params.shift.source, "group_column", None):
            # numbered by the source itself: its stack 1 is not the other's
            second = replace(second, groups=second.groups and [each and f"{SHIFTED}{each}" for each in second.groups])
        if params.shift.pool:
            listing = _joined(listing, second)
            listing = replace(listing, splits=np.where(of_second(listing), listing.splits, ""))
        else:
            listing = _joined(listing, _as_test(second))
    else:
        listing = replace(listing, locators=[(0, each) for each in listing.locators])
    if TEST not in listing.splits:
        listing = replace(listing, splits=np.where(listing.splits == TRAIN, "", listing.splits))
    others = _others(params)
    return _with_others(listing, others) if len(others) else listing


def _others(params: PrepareParams) -> Listing:
    """The labelled images of `prepare.other_classes`, whatever its splits: nothing of them is tested."""
    given, key = params.other_classes, "prepare.other_classes.leave_out"
    listing = _with_groups(given.source, params)
    left_out = [composed(each) for each in given.leave_out]
    _refuse_unknown(left_out, listing.class_names, key)
    listing = _without(listing, left_out, key)
    listing = listing.take(np.flatnonzero(listing.labels != UNLABELLED))
    return replace(listing, splits=np.full(len(listing), ""))


def _with_others(own: Listing, others: Listing) -> Listing:
    """One listing of the set's own classes and, numbered behind them, others; ids of these cannot be those of the own.

    Raises UserError where the two share a class.
    """
    shared = sorted(set(own.class_names) & set(others.class_names))
    if shared:
        raise UserError(
            f"prepare.other_classes has {', '.join(map(repr, shared))}, which prepare.source has too: what is learned "
            "from these classes would be tested on them. Name them in prepare.other_classes.leave_out, or in "
            "prepare.leave_out"
        )
    groups = None
    if own.groups is not None or others.groups is not None:
        groups = [*(own.groups or [None] * len(own)), *(others.groups or [None] * len(others))]
    return Listing(
        class_names=[*own.class_names, *others.class_names],
        ids=np.concatenate([own.ids, np.char.add(OTHER_PREFIX, others.ids)]),
        labels=np.concatenate([own.labels, others.labels + len(own.class_names)]),
        splits=np.concatenate([own.splits, others.splits]),
        groups=groups,
        locators=[*own.locators, *((2, each) for each in others.locators)],
        ignored=dict(Counter(own.ignored) + Counter(others.ignored)),
        others=len(others.class_names),
    )


def _refuse_test_alone(listing: Listing, path: Path) -> None:
    """Raises UserError where every labelled image is of a given test or validation set."""
    labelled = listing.splits[listing.labels != UNLABELLED]
    if TEST in labelled and np.isin(labelled, (TEST, VALIDATION)).all():
        raise UserError(
            f"{path} has a test set, but no images to train on: put these into train/, with a folder for each class, "
            "or, to have all images split here, put the classes' folders directly into the root"
        )


def name(params: PrepareParams) -> str:
    """What the data set is called: by the source's file or folder."""
    own, shift = Path(params.source.path).name, params.shift
    if shift.simulate != "none":
        return f"{own}, tested on a simulated shift ({shift.simulate.replace('_', ' ')})"
    return own if shift.source.kind == "none" else f"{own}, tested on {Path(shift.source.path).name}"


def of_others(listing: Listing) -> NDArray[np.bool_]:
    """Which images of a listing that `find` made are of `prepare.other_classes`, (N,)."""
    return np.array([number == 2 for number, _ in listing.locators], dtype=bool)


def of_second(listing: Listing) -> NDArray[np.bool_]:
    """Which images of a listing that `find` made are the second source's, (N,)."""
    return np.array([number == 1 for number, _ in listing.locators], dtype=bool)


def read(params: PrepareParams, locators: Sequence[tuple[int, Any]]) -> Iterator[Image.Image | BadItem]:
    """The image, or what is wrong with it, for each of these locators, in order."""
    sources = (params.source, params.shift.source, params.other_classes.source)
    for number, part in groupby(locators, key=itemgetter(0)):
        yield from registry.read(sources[number], [locator for _, locator in part])


def _with_groups(source: AnySource, params: PrepareParams) -> Listing:
    listing = registry.find(source)
    return replace(listing, groups=find_groups(params.groups, Path(source.path), listing)) if len(listing) else listing


def _refuse_unknown(left_out: Sequence[str], known: Collection[str], key: str) -> None:
    for each in left_out:
        if not _named(each, known):
            near = " or ".join(map(repr, get_close_matches(each, known)))
            names = f"did you mean {near}?" if near else f"the classes are {', '.join(map(repr, sorted(known)))}"
            raise UserError(f"{key} names {each!r}, which is no class of the source; {names}")


def _named(each: str, known: Collection[str]) -> set[str]:
    """The classes that a name stands for: one, or with `Greek/*` all whose names begin with `Greek/`."""
    if each.endswith("/*"):
        return {name for name in known if name.startswith(each[:-1])}
    return {each} & set(known)


def _without(listing: Listing, left_out: Sequence[str], key: str) -> Listing:
    """The listing without the images of some classes; those of the other ones are numbered anew."""
    gone = set[str]().union(*(_named(each, listing.class_names) for each in left_out))
    names = [name for name in listing.class_names if name not in gone]
    if len(names) == len(listing.class_names):
        return listing
    if len(names) < 2:
        raise UserError(f"{key} leaves {len(names)} of {len(listing.class_names)} classes: a classifier needs two")
    number = np.array([names.index(name) if name in names else -1 for name in listing.class_names])
    labels = np.where(listing.labels == UNLABELLED, UNLABELLED, number[listing.labels])
    kept = np.flatnonzero((labels >= 0) | (listing.labels == UNLABELLED))
    ignored = {**listing.ignored, f"of a class in {key}": len(listing) - len(kept)}
    return replace(listing, class_names=names, labels=labels, ignored=ignored).take(kept)


def _with_classes_of(class_names: list[str], second: Listing) -> Listing:
    """The second source with the first's classes, and ids that cannot be those of the first."""
    missing, unknown = set(class_names) - set(second.class_names), set(second.class_names) - set(class_names)
    if missing or unknown:
        raise UserError(
            "prepare.shift.source must have the same classes as prepare.source, but it lacks "
            f"{', '.join(sorted(missing)) or 'none'}, and has beside them {', '.join(sorted(unknown)) or 'none'}; "
            "prepare.leave_out leaves classes out of both"
        )
    number = np.array([class_names.index(name) for name in second.class_names])
    labels = np.where(second.labels == UNLABELLED, UNLABELLED, number[second.labels])
    return replace(second, class_names=class_names, ids=np.char.add(SHIFTED, second.ids), labels=labels)


def _as_test(second: Listing) -> Listing:
    """The part of the second source that is the test set."""
    test = second.splits == TEST if TEST in second.splits else second.labels != UNLABELLED
    return replace(second, splits=np.where(test, TEST, "")).take(np.flatnonzero(test))


def _joined(first: Listing, second: Listing) -> Listing:
    """One listing of the first source, without a test set of its own, and the second."""
    kept = np.flatnonzero(first.splits != TEST)
    replaced = len(first) - len(kept)
    first = first.take(kept)
    groups = None
    if first.groups is not None or second.groups is not None:
        groups = [*(first.groups or [None] * len(first)), *(second.groups or [None] * len(second))]
    ignored = Counter(first.ignored) + Counter(second.ignored) + Counter({"test set replaced by the second": replaced})
    return Listing(
        class_names=first.class_names,
        ids=np.concatenate([first.ids, second.ids]),
        labels=np.concatenate([first.labels, second.labels]),
        splits=np.concatenate([first.splits, second.splits]),
        groups=groups,
        locators=[*((0, each) for each in first.locators), *((1, each) for each in second.locators)],
        ignored=dict(ignored),
    )
