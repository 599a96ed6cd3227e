"""Who plays which role: one test set for all, everything else drawn anew for each replicate."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import CALIBRATION, ROLES, TEST, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.errors import UserError
from stages.sources.allotment import Needs, Sizes, allot, counted, hold_out, stratified_order
from stages.sources.params import OTHERS, PoolCount, PoolShare, PrepareParams, of_class

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def all_roles(
    labels: Labels,
    given: NDArray[np.str_],
    groups: NDArray[np.int64],
    class_names: list[str],
    params: PrepareParams,
    target: Mask | None,
) -> list[NDArray[np.str_]]:
    """The role of every image (N,) in each replicate, with the arguments and errors of `replicate_roles`."""
    test = test_rows(labels, given, groups, class_names, params, target)
    return [
        replicate_roles(labels, test, given, groups, class_names, params, replicate, target)
        for replicate in range(params.replicates)
    ]


def test_rows(
    labels: Labels,
    given: NDArray[np.str_],
    groups: NDArray[np.int64],
    class_names: list[str],
    params: PrepareParams,
    target: Mask | None,
) -> Rows:
    """Rows of the test set, the same for all replicates, ascending.

    labels: (N,) class indices, -1 for unlabelled images, which are never test. given: (N,) the source's own split,
    'train', 'validation', 'test' or ''. groups: (N,) number of each image's group. target: (N,) which images are of the
    target domain, where another domain is trained on; only they are test. None: there is one domain.
    Where the source has a test set, that is it, whole. Else the share `test_share` of the labelled images that are
    not the source's validation set, stratified by class; with groups, whole groups that come as near as they can.
    Raises UserError when a class is too small for it, or lies in a single group.
    """
    from sklearn.model_selection import train_test_split

    official = (labels >= 0) & (given == TEST)
    if official.any():
        _check_official_test(labels[official], class_names)
        return np.flatnonzero(official)
    may = (labels >= 0) & ~_share_group(groups, _official_validation(labels, given))
    rows = np.flatnonzero(may if target is None else may & target)
    _check_test_sizes(labels[rows], class_names, params, "" if target is None else " in the second source")
    if _all_different(groups[rows]):
        _, test = train_test_split(rows, test_size=params.test_share, stratify=labels[rows], random_state=params.seed)
        return np.sort(test)
    _check_several_groups(labels[rows], groups[rows], class_names, ", which cannot be test and train at once")
    taken = hold_out(labels[rows], groups[rows], params.test_share, params.seed)
    if taken is None:
        raise UserError(
            f"the {len(np.unique(groups[rows]))} groups cannot be split so that every class is in the test set and "
            "beside it: use smaller groups (prepare.groups), or join the classes that lie in few groups, or name "
            "them in prepare.leave_out"
        )
    return rows[taken]


def replicate_roles(
    labels: Labels,
    test: Rows,
    given: NDArray[np.str_],
    groups: NDArray[np.int64],
    class_names: list[str],
    params: PrepareParams,
    replicate: int,
    target: Mask | None,
) -> NDArray[np.str_]:
    """Role of every image in one replicate, as an array (N,); images that play none have ''.

    labels, given, groups, target: as for `test_rows`, whose result is `test`. Where there is a target domain, train is
    drawn from the other images and all other roles from the target's. Per class `labels_per_class` become train and
    `validation_per_class` validation (from the source's own validation set, where it has one), but no more than the
    class has in train; of the others,
    stratified by class, with unlabelled images as a class of their own, `calibration` images set the memorization
    threshold, and of what then remains the share or count `unlabelled` is the pool. With `labels_per_class: all`,
    train is every labelled image that validation and calibration leave. `imbalance_factor` makes train a long tail.

    No group crosses a role: the other images of the groups of the test set and of the source's validation set play
    none; the rest of the groups `allot` shares out beforehand, and each role draws from its own, one image from
    each group first; train and validation then take a second from each (of every class), and so on.
    The roles depend on (seed, replicate) alone, so a further replicate changes no earlier one.
    Raises UserError when a class, its groups or the set are too small, or the parameters do not fit the classes.
    """
    check_regime(class_names, params)
    random = np.random.default_rng(np.random.SeedSequence((params.seed, replicate)))
    may = _candidates(labels, test, given, groups, target)
    available = _count_classes(labels[may[TRAIN]], len(class_names))
    validation = _validation_sizes(available, params, class_names)
    has_official, is_shifted = bool(_official_validation(labels, given).any()), target is not None
    needs = _needs(available, validation, has_official, is_shifted, class_names, params)
    _check_enough(labels, groups, may, class_names, needs, validation, is_shifted)
    own = may
    if not _all_different(groups[may[TRAIN] | may[UNLABELLED_POOL]]):
        own = _keep_groups_apart(may, labels, groups, class_names, needs, random)

    roles = np.full(len(labels), "", dtype="<U11")
    roles[test] = TEST
    _draw(roles, labels, groups, may, own, needs, validation, params, random)
    return roles


def check_regime(class_names: list[str], params: PrepareParams) -> None:
    """Raises UserError when numbers by class and the classes differ, or when these and `imbalance_factor` exclude."""
    if isinstance(params.labels_per_class, dict) and params.imbalance_factor > 1:
        raise UserError(
            "prepare.labels_per_class gives each class its own number and prepare.imbalance_factor is "
            f"{params.imbalance_factor:g}: state one of the two, with imbalance_factor 1 or one number for all classes"
        )
    for key in ("labels_per_class", "validation_per_class"):
        wanted = getattr(params, key)
        if not isinstance(wanted, dict):
            continue
        unknown = sorted(wanted.keys() - set(class_names) - {OTHERS})
        missing = [] if OTHERS in wanted else sorted(set(class_names) - wanted.keys())
        if unknown or missing:
            names = ", ".join(repr(each) for each in unknown or missing)
            raise UserError(
                f"prepare.{key} {'names' if unknown else 'lacks'} {names}: it needs a number for each class of the "
                f"source, which are {', '.join(repr(each) for each in class_names)}, or one for all {OTHERS}"
            )


def count(roles: NDArray[np.str_], labels: Labels, class_names: list[str]) -> dict[str, dict[str, int]]:
    """Number of images by role and class name, and under 'all' by role, with those that have no label."""
    counted = {}
    for role in ROLES:
        per_class = _count_classes(labels[roles == role], len(class_names)).tolist()
        counted[role] = {"all": int(np.sum(roles == role))} | dict(zip(class_names, per_class, strict=True))
    return counted


def _count_classes(labels: Labels, classes: int) -> Sizes:
    """Labelled images of each class, (K,)."""
    return np.bincount(labels[labels >= 0], minlength=classes)


def _official_validation(labels: Labels, given: NDArray[np.str_]) -> Mask:
    return (labels >= 0) & (given == VALIDATION)


def _share_group(groups: NDArray[np.int64], chosen: Mask | Rows) -> Mask:
    """Whether each image's group has a chosen image."""
    return np.isin(groups, groups[chosen])


def _all_different(groups: NDArray[np.int64]) -> bool:
    ordered = np.sort(groups)
    return not np.any(ordered[1:] == ordered[:-1])


def _candidates(
    labels: Labels, test: Rows, given: NDArray[np.str_], groups: NDArray[np.int64], target: Mask | None
) -> dict[str, Mask]:
    """The images (N,) that each role may be drawn from, but for groups, which later narrow that."""
    of_test, official = _share_group(groups, test), _official_validation(labels, given)
    free = ~of_test & ~_share_group(groups, official) & (given != TEST) & (given != VALIDATION)
    seen, trained = (free, free) if target is None else (free & target, free & ~target)
    return {
        TRAIN: trained & (labels >= 0),
        VALIDATION: official & ~of_test if official.any() else seen & (labels >= 0),
        CALIBRATION: seen,
        UNLABELLED_POOL: seen,
    }


def _train_sizes(everything: Sizes, params: PrepareParams, class_names: list[str]) -> Callable[[Sizes], Sizes]:
    """Number of train images of each class (K,), as a function of how many there are to choose from (K,).

    everything: (K,) images that could be train in some replicate; they rank the classes, alike in every replicate.
    Long tail: n_c = n f^(-rank / (K - 1)), at least 1, rank 0 being the class with the most images (Cui et al. 2019,
    "Class-Balanced Loss Based on Effective Number of Samples", section 5.1); n is `labels_per_class`, or with `all` the
    most that a class has to choose from, and no class gives more than it has.
    """
    wanted = params.labels_per_class
    if isinstance(wanted, dict):
        by_name = np.array([of_class(wanted, name) for name in class_names])
        return lambda _: by_name
    ranking = np.argsort(-everything, kind="stable")
    steps = np.empty(len(everything))
    steps[ranking] = np.arange(len(everything)) / max(len(everything) - 1, 1)
    tail = params.imbalance_factor**-steps
    if wanted != "all":
        fixed = _at_least_one(wanted * tail)
        return lambda _: fixed

    def of_all(available: Sizes) -> Sizes:
        if available.min() == 0:
            raise UserError(
                f"class {class_names[available.argmin()]!r} has no image left for train beside the test, validation "
                "and calibration images: lower prepare.calibration, test_share or validation_per_class"
            )
        return np.minimum(available, _at_least_one(available.max() * tail))

    return of_all


def _at_least_one(sizes: NDArray[np.float64]) -> Sizes:
    return np.maximum(np.rint(sizes), 1).astype(np.int64)


def _validation_sizes(everything: Sizes, params: PrepareParams, class_names: list[str]) -> Sizes:
    """Number of validation images of each class (K,): `validation_per_class`, at most as many as train has of it.

    everything: as for `_train_sizes`. Where train takes what is left, a class gives validation at most half of what it
    has; that calibration takes of it too is not foreseen.
    """
    most = _train_sizes(everything, params, class_names)(np.maximum(everything, 1))
    if params.labels_per_class == "all":
        most = np.minimum(most, np.maximum(everything // 2, 1))
    return np.minimum(most, [params.validation_of(name) for name in class_names])


def _needs(
    everything: Sizes,
    validation: Sizes,
    official_validation: bool,
    is_shifted: bool,
    class_names: list[str],
    params: PrepareParams,
) -> Needs:
    """What the roles need of the images beside the test set and the source's own validation set."""
    train_last = params.labels_per_class == "all"
    return Needs(
        train=_train_sizes(everything, params, class_names),
        train_last=train_last,
        validation=np.zeros_like(validation) if official_validation else validation,
        calibration=params.calibration,
        pool=params.unlabelled.count
        if isinstance(params.unlabelled, PoolCount)
        else int(params.unlabelled.share > 0 and (is_shifted or not train_last)),
    )


def _keep_groups_apart(
    may: dict[str, Mask],
    labels: Labels,
    groups: NDArray[np.int64],
    class_names: list[str],
    needs: Needs,
    random: np.random.Generator,
) -> dict[str, Mask]:
    """The images that each role may be drawn from when every group is kept for one role."""
    free = may[TRAIN] | may[UNLABELLED_POOL]
    kept = np.full(len(labels), "", dtype="<U11")
    if np.any(free & ~may[UNLABELLED_POOL]):  # two domains: a class has images for train, and others for validation
        labels = np.where(may[TRAIN] | (labels < 0), labels, labels + len(class_names))
        class_names = [*class_names, *(f"{name} (second source)" for name in class_names)]
        needs = needs.of_two_domains()
    kept[free] = allot(labels[free], groups[free], may[UNLABELLED_POOL][free], class_names, needs, random)
    return {role: mask & ((kept == role) | ~free) for role, mask in may.items()}


def _draw(
    roles: NDArray[np.str_],
    labels: Labels,
    groups: NDArray[np.int64],
    may: dict[str, Mask],
    own: dict[str, Mask],
    needs: Needs,
    validation: Sizes,
    params: PrepareParams,
    random: np.random.Generator,
) -> None:
    """Gives every role but test to as many images as it needs, in place.

    may: the images that each role may have. own: those of them whose groups are kept for it; groups that their role
    turns out not to use are free again for the role that comes last.
    """
    classes = len(validation)
    orders = _orders(labels, groups, may[TRAIN] | may[VALIDATION], classes, random)
    if not needs.train_last:
        _give_per_class(roles, orders, own[TRAIN], TRAIN, needs.train(_count_classes(labels[own[TRAIN]], classes)))
    _give_per_class(roles, orders, own[VALIDATION], VALIDATION, validation)
    rest = np.flatnonzero((roles == "") & may[UNLABELLED_POOL])
    rest = stratified_order(rest, labels + (classes + 1) * own[CALIBRATION], random)
    rest = rest[np.argsort(_occurrence(groups[rest]) > 0, kind="stable")]  # one image of each group comes first
    _give_calibration(roles, rest[own[CALIBRATION][rest]], params.calibration)
    if needs.train_last:
        unused = ~_share_group(groups, own[UNLABELLED_POOL]) & ~_share_group(groups, roles != "")
        left = may[TRAIN] & (own[TRAIN] | unused) & (roles == "")
        _give_per_class(roles, orders, left, TRAIN, needs.train(_count_classes(labels[left], classes)))
    _give_pool(roles, rest[~_share_group(groups, roles != "")[rest]], params.unlabelled)


def _orders(
    labels: Labels, groups: NDArray[np.int64], drawn: Mask, classes: int, random: np.random.Generator
) -> list[Rows]:
    """The drawn rows of each class in a random order in which every group's first comes before any group's second."""
    shuffled = (random.permutation(np.flatnonzero((labels == label) & drawn)) for label in range(classes))
    return [order[np.argsort(_occurrence(groups[order]), kind="stable")] for order in shuffled]


def _occurrence(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many times each value stood before it: 5, 7, 5, 5 gives 0, 0, 1, 2."""
    order = np.argsort(values, kind="stable")
    _, starts, repeats = np.unique(values[order], return_index=True, return_counts=True)
    before = np.empty(len(values), dtype=np.int64)
    before[order] = np.arange(len(values)) - np.repeat(starts, repeats)
    return before


def _give_per_class(roles: NDArray[np.str_], orders: list[Rows], candidates: Mask, role: str, sizes: Sizes) -> None:
    for order, size in zip(orders, sizes.tolist(), strict=True):
        roles[order[candidates[order] & (roles[order] == "")][:size]] = role


def _give_calibration(roles: NDArray[np.str_], candidates: Rows, size: int) -> None:
    if len(candidates) < size:
        raise UserError(
            f"prepare.calibration asks for {counted(size)}, but {len(candidates)} are left beside the "
            "test, train and validation images"
        )
    roles[candidates[:size]] = CALIBRATION


def _give_pool(roles: NDArray[np.str_], candidates: Rows, wanted: PoolShare | PoolCount) -> None:
    size = wanted.count if isinstance(wanted, PoolCount) else round(len(candidates) * wanted.share)
    if len(candidates) < size:
        raise UserError(
            f"prepare.unlabelled.count asks for {counted(size)}, but {len(candidates)} are left beside the images "
            "of the other roles: lower it, or state a share"
        )
    roles[candidates[:size]] = UNLABELLED_POOL


def _check_official_test(labels: Labels, class_names: list[str]) -> None:
    sizes = _count_classes(labels, len(class_names))
    if sizes.min() == 0:
        raise UserError(
            f"class {class_names[sizes.argmin()]!r} has no image in the source's test set: add some, or name the "
            "class in prepare.leave_out"
        )


def _check_test_sizes(labels: Labels, class_names: list[str], params: PrepareParams, place: str) -> None:
    small = [
        f"class {name!r} has {counted(size)}"
        for name, size in zip(class_names, _count_classes(labels, len(class_names)).tolist(), strict=True)
        if min(size * params.test_share, size * (1 - params.test_share)) < 1
    ]
    if small:
        raise UserError(
            f"{', '.join(small)}{place}: too few for a test set with prepare.test_share {params.test_share}. "
            "Add images, change the share, join classes, or name them in prepare.leave_out"
        )


def _check_enough(
    labels: Labels,
    groups: NDArray[np.int64],
    may: dict[str, Mask],
    class_names: list[str],
    needs: Needs,
    validation: Sizes,
    is_shifted: bool,
) -> None:
    """Raises UserError when a class has too few images beside the test set, or all of them in one group."""
    available = _count_classes(labels[may[TRAIN]], len(class_names))
    train = np.ones(len(class_names), dtype=np.int64) if needs.train_last else needs.train(available)
    drawn = np.zeros_like(validation) if is_shifted else needs.validation
    for label in np.flatnonzero(available < train + drawn).tolist():
        stated = f"prepare.labels_per_class ({'all' if needs.train_last else train[label]})"
        also = f" and validation_per_class ({drawn[label]})" if drawn.any() else ""
        raise UserError(
            f"class {class_names[label]!r} has {counted(available[label])} beside the test set, but {stated}{also} "
            f"need {train[label] + drawn[label]}: lower these, or name the class in prepare.leave_out"
        )
    there = _count_classes(labels[may[VALIDATION]], len(class_names))
    of_validation = "" if needs.validation.any() else "'s validation set"
    for label in np.flatnonzero(there < validation).tolist():
        place = ("the second source" if is_shifted else "the source") + of_validation
        raise UserError(
            f"class {class_names[label]!r} has {counted(there[label])} in {place} that share no group with the test "
            f"set, but prepare.validation_per_class asks for {validation[label]}: lower it, or name the "
            "class in prepare.leave_out"
        )
    if needs.validation.any():
        rows = np.flatnonzero(may[TRAIN] | may[VALIDATION])
        _check_several_groups(
            labels[rows],
            groups[rows],
            class_names,
            " beside the test set, which cannot be train and validation at once",
        )


def _check_several_groups(labels: Labels, groups: NDArray[np.int64], class_names: list[str], fault: str) -> None:
    """Raises UserError with the words `fault` when a class lies in a single group."""
    least, most = np.full(len(class_names), groups.max()), np.full(len(class_names), groups.min())
    np.minimum.at(least, labels, groups)
    np.maximum.at(most, labels, groups)
    single = np.flatnonzero(least == most)
    if len(single):
        raise UserError(
            f"class {class_names[single[0]]!r} lies in a single group{fault}: give its images several groups "
            "(prepare.groups), or name the class in prepare.leave_out"
        )
