"""Who plays which role: one test set for all, everything else drawn anew for each replicate."""

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import CALIBRATION, ROLES, TEST, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.errors import UserError
from stages.sources.params import PrepareParams


def test_rows(labels: NDArray[np.int64], class_names: list[str], params: PrepareParams) -> NDArray[np.int64]:
    """Rows of the test set: the share `test_share` of the images, stratified by class, the same for all replicates.

    labels: (N,) class indices. Raises UserError when a class is too small for it.
    """
    from sklearn.model_selection import train_test_split

    for label, name in enumerate(class_names):
        size = int(np.sum(labels == label))
        if min(size * params.test_share, size * (1 - params.test_share)) < 1:
            raise UserError(
                f"class {name!r} has {size} images: too few for a test set with prepare.test_share {params.test_share}"
            )
    rows = np.arange(len(labels))
    _, test = train_test_split(rows, test_size=params.test_share, stratify=labels, random_state=params.seed)
    return np.sort(test)


def replicate_roles(
    labels: NDArray[np.int64],
    test: NDArray[np.int64],
    class_names: list[str],
    params: PrepareParams,
    replicate: int,
) -> NDArray[np.str_]:
    """Role of every image in one replicate, as an array (N,); images that play none have ''.

    Per class `labels_per_class` become train and `validation_per_class` validation; of the others, stratified by class,
    `calibration` images set the memorization threshold, and `unlabelled_share` of what then remains is the pool.
    The roles depend on (seed, replicate) alone, so a further replicate changes no earlier one.
    Raises UserError when a class or the set is too small.
    """
    random = np.random.default_rng(np.random.SeedSequence((params.seed, replicate)))
    roles = np.full(len(labels), "", dtype="<U11")
    roles[test] = TEST
    for label, name in enumerate(class_names):
        free = random.permutation(np.flatnonzero((labels == label) & (roles == "")))
        needed = params.labels_per_class + params.validation_per_class
        if len(free) < needed:
            raise UserError(
                f"class {name!r} has {len(free)} images beside the test set, but prepare.labels_per_class "
                f"({params.labels_per_class}) and validation_per_class ({params.validation_per_class}) need {needed}"
            )
        roles[free[: params.labels_per_class]] = TRAIN
        roles[free[params.labels_per_class : needed]] = VALIDATION
    rest = _stratified_order(np.flatnonzero(roles == ""), labels, random)
    if len(rest) < params.calibration:
        raise UserError(
            f"prepare.calibration asks for {params.calibration} images, but {len(rest)} are left beside the "
            "test, train and validation images"
        )
    roles[rest[: params.calibration]] = CALIBRATION
    pool = rest[params.calibration :]
    roles[pool[: round(len(pool) * params.unlabelled_share)]] = UNLABELLED_POOL
    return roles


def count(roles: NDArray[np.str_], labels: NDArray[np.int64], class_names: list[str]) -> dict[str, dict[str, int]]:
    """Number of images by role and class name, and under 'all' by role."""
    counted = {}
    for role in ROLES:
        per_class = np.bincount(labels[roles == role], minlength=len(class_names)).tolist()
        counted[role] = {"all": sum(per_class)} | dict(zip(class_names, per_class, strict=True))
    return counted


def _stratified_order(
    rows: NDArray[np.int64], labels: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """The rows in a random order of which every leading part holds the classes in proportion."""
    position = np.empty(len(rows))
    for label in np.unique(labels[rows]):
        members = np.flatnonzero(labels[rows] == label)
        position[random.permutation(members)] = (np.arange(len(members)) + random.random()) / len(members)
    return rows[np.argsort(position, kind="stable")]
