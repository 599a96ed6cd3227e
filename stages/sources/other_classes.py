"""Classes that are learned from and never tested: who of their images plays a role, and what is said of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import OTHER
from stages.sources.listing import Listing


def with_others(
    roles: Sequence[NDArray[np.str_]],
    own: NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> list[NDArray[np.str_]]:
    """The role of every image (N,) in each replicate, from those of the images of the set's own classes (M,).

    A labelled image of another class is learned from in every replicate, unless it shares its group with one of the
    own: then it plays no role.

    own: (N,) which images are of the set's own classes; labels, groups: of all images (N,).
    """
    free = ~own & (labels >= 0) & ~np.isin(groups, groups[own])
    everyone = list[NDArray[np.str_]]()
    for of_own in roles:
        of_all = np.where(free, OTHER, "")
        of_all = of_all.astype(np.result_type(of_all, of_own))
        of_all[own] = of_own
        everyone.append(of_all)
    return everyone


def notes(roles: Sequence[NDArray[np.str_]], listing: Listing) -> list[str]:
    """How many images of other classes there are to learn from, where there are such classes."""
    if not listing.others:
        return []
    used = int((roles[0] == OTHER).sum())
    return [f"{used} images of {listing.others} other classes are learned from, and nothing is tested on them"]
