"""Classes with few labels, classes that are learned from and never tested, and who of both plays which role."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import OTHER
from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.params import FewShotParams, PrepareParams

Mask = NDArray[np.bool_]


def few_shot_classes(class_names: Sequence[str], params: PrepareParams) -> Mask:
    """Which classes (K,) have few labels: those named, or so many at random by `prepare.seed`; none without a regime.

    Raises:
        UserError: a name is no class; no class with many labels would be left, and there are no other classes either.
    """
    regime, few = params.few_shot, np.zeros(len(class_names), dtype=bool)
    if regime is None:
        return few
    if isinstance(regime.classes, int):
        few[np.random.default_rng(params.seed).permutation(len(class_names))[: regime.classes]] = True
    else:
        _refuse_unknown(regime.classes, class_names)
        few = np.isin(class_names, regime.classes)
    _refuse_few_alone(few, regime, params)
    return few


def _refuse_unknown(named: Sequence[str], class_names: Sequence[str]) -> None:
    unknown = sorted(set(named) - set(class_names))
    if unknown:
        raise UserError(
            f"prepare.few_shot.classes names {', '.join(map(repr, unknown))}, which the source does not have; its "
            f"classes are {', '.join(map(repr, class_names))}"
        )


def _refuse_few_alone(few: Mask, regime: FewShotParams, params: PrepareParams) -> None:
    asked = regime.classes if isinstance(regime.classes, int) else len(regime.classes)
    if asked >= len(few) and params.other_classes.source.kind == "none":
        raise UserError(
            f"prepare.few_shot.classes ({asked}) leaves no class with many labels of the source's {len(few)}: name "
            "fewer classes, or let prepare.other_classes bring classes to learn from"
        )


def with_other_classes(
    roles: Sequence[NDArray[np.str_]], own: Mask, labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[NDArray[np.str_]]:
    """The role of every image (N,) in each replicate, from those of the images of the set's own classes (M,).

    A labelled image of another class is learned from in every replicate, unless it shares its group with one of the
    own: then it plays no role.

    own: (N,) which images are of the set's own classes; labels, groups: of all images (N,).
    """
    free = ~own & (labels >= 0) & ~np.isin(groups, groups[own])
    everyone = list[NDArray[np.str_]]()
    for of_own in roles:
        of_all = np.where(free, OTHER, "").astype("<U11")
        of_all[own] = of_own
        everyone.append(of_all)
    return everyone


def facts(listing: Listing, params: PrepareParams) -> dict[str, Any]:
    """What the data set's description says of both; nothing where there is neither."""
    few = few_shot_classes(listing.own_classes, params)
    told = {
        "few_shot": [name for name, is_few in zip(listing.own_classes, few.tolist(), strict=True) if is_few],
        "other_classes": listing.class_names[len(listing.own_classes) :],
    }
    return {key: names for key, names in told.items() if names}


def notes_of_roles(roles: Sequence[NDArray[np.str_]], listing: Listing, params: PrepareParams) -> list[str]:
    """Which classes have few labels, and how many images of other classes there are to learn from."""
    told = facts(listing, params)
    lines = []
    if params.few_shot is not None:
        lines.append(f"{params.few_shot.labels} training labels in each of {', '.join(told['few_shot'])}")
    if listing.others:
        used = int((roles[0] == OTHER).sum())
        lines.append(f"{used} images of {listing.others} other classes are learned from, and nothing is tested on them")
    return lines
