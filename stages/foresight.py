"""Everything that can be foreseen fails first: what would stop a later stage, told before any generator is trained.

It changes no result, so that no stage reruns for it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.downstream.params import ArmParams, FixMatch, LabelBudget, PseudoLabels, Synthetic
from stages.generators.params import AdversarialParams, GeneratorParams
from stages.generators.requests import class_plan
from stages.memorization.conformal import calibration_needed, check_calibration
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.dataset import CALIBRATION, SEEN, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.params import Params


def check(params: Params, dataset: Dataset) -> None:
    """Holds all sections of params.yaml against the prepared images, by their labels and numbers; decodes none.

    Raises:
        UserError: one message that names everything that would stop a later stage, and which keys to change.
    """
    found = list(_of_generators(params))
    for replicate in range(dataset.replicates):
        found += _of_classes(dataset, replicate)
        found += _of_plan(params, dataset, replicate)
        found += _of_filter(params.filter_memorized, dataset, replicate)
        found += _of_sources(params, dataset, replicate)
        for name, arm in params.train_downstream.arms.items():
            found += (f"train_downstream.arms.{name}: {problem}" for problem in _of_arm(arm, dataset, replicate))
    if found:  # replicates have much in common
        lines = (f"  - {problem}" for problem in dict.fromkeys(found))
        raise UserError("\n".join(["these would stop later stages, so none is begun:", *lines]))


def _of_generators(params: Params) -> Iterator[str]:
    sections = params.train_gan.generators
    for name, section in sections.items():
        if section.kind == "external" and _is_nothing(Path(section.path)):
            yield (
                f"train_gan.generators.{name}.path: {section.path} is missing or empty: put the images there, a folder "
                "for each class, or take the generator and its arms out"
            )
    for name, arm in params.train_downstream.arms.items():
        if arm.generator is not None:
            for problem in _of_scores(arm, sections[arm.generator], params.generate.scores):
                yield f"train_downstream.arms.{name}: {problem}"


def _is_nothing(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(each.is_file() for each in path.rglob("*")))


def _of_scores(arm: ArmParams, section: GeneratorParams, scores: bool) -> Iterator[str]:
    """What an arm's filters go by, which `generate` has to note."""
    for by in {each.filter.by for each in arm.settings if isinstance(each, Synthetic) and each.filter}:
        if by != "confidence" and not scores:
            yield f"filter: by: {by} needs generate.scores: true"
        if by == "discriminator" and not isinstance(section, AdversarialParams):
            yield f"filter: by: discriminator needs a generator that has one, not kind: {section.kind}"


def _of_classes(dataset: Dataset, replicate: int) -> Iterator[str]:
    for role in (TRAIN, VALIDATION):
        for label in np.flatnonzero(_counts(dataset, replicate, role) == 0):
            yield f"class {dataset.classes[label]!r} has no labelled image in {role}: every class needs one"


def _of_plan(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    if any(section.kind != "external" for section in params.train_gan.generators.values()):
        labelled = _counts(dataset, replicate, TRAIN).tolist()
        yield from _words_of(lambda: class_plan(labelled, params.generate.plan))


def _of_filter(params: FilterMemorizedParams, dataset: Dataset, replicate: int) -> Iterator[str]:
    side = dataset.image.size
    if 2 * params.shift_pixels >= side:
        yield (
            f"filter_memorized.shift_pixels is {params.shift_pixels}, but images are {side} x {side} pixels: at most "
            f"{(side - 1) // 2} is allowed"
        )
    seen = len(dataset.ids(replicate, *SEEN))  # `prepare` leaves no two of them alike
    if seen <= params.neighbours:
        yield (
            f"filter_memorized.neighbours is {params.neighbours}, which needs {params.neighbours + 1} images that "
            f"generators may see, but there are {seen}: lower it, or set fewer images aside in prepare"
        )
    largest = _group_sizes(params, dataset, replicate)[0]
    if params.neighbours < seen < largest + params.neighbours - 1:
        yield (
            f"filter_memorized.neighbours is {params.neighbours}, all but the first from other groups, but one group "
            f"holds {largest} of the {seen} images that generators may see: lower it, or set by_group: false"
        )
    calibration = dataset.groups(replicate, CALIBRATION)
    apart = _groups_apart(calibration) if params.by_group else len(calibration)
    if _is_full_conformal(params, apart):
        needed = _seen_for_full_conformal(params)
        if seen < needed:
            yield (
                f"filter_memorized.alpha is {params.alpha:g}, for which full conformal prediction needs {needed} "
                f"images that generators may see, but there are {seen}: raise alpha or prepare.calibration"
            )
        if largest > 1:
            yield (
                "filter_memorized.too_few: full_conformal promises nothing where images that generators may see come "
                f"in groups: raise prepare.calibration, of which there are {apart} groups, or set by_group: false"
            )
        return
    for problem in _words_of(lambda: check_calibration(apart, params.alpha, params.confidence)):
        yield problem + (
            f" (of {len(calibration)} images, one of each group counts; filter_memorized.by_group: false counts all)"
            if apart < len(calibration)
            else ""
        )


def _of_sources(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    """What the filter needs beside the real image that another one was drawn from, and that image's group."""
    section, seen = params.filter_memorized, len(dataset.ids(replicate, *SEEN))
    source, largest = _group_sizes(section, dataset, replicate)[:2]
    calibration = dataset.groups(replicate, CALIBRATION)
    apart = _groups_apart(calibration) if section.by_group else len(calibration)
    too_few_neighbours = seen > section.neighbours and seen - source - largest < section.neighbours - 1
    no_spare = _is_full_conformal(section, apart) and seen == _seen_for_full_conformal(section)
    if too_few_neighbours or no_spare:
        from stages.generators.registry import kind

        for name, generator in params.train_gan.generators.items():
            if kind(generator.kind).from_sources:
                yield (
                    f"train_gan.generators.{name} draws from real images, and the filter compares what it drew with "
                    f"the others: of the {seen} that it may see too few are left without one and its group (the "
                    f"largest have {source} and {largest}): lower filter_memorized.neighbours, or set fewer aside"
                )


def _group_sizes(params: FilterMemorizedParams, dataset: Dataset, replicate: int) -> list[int]:
    """Images of each group among those that generators may see, the largest group first; at least two numbers."""
    groups = dataset.groups(replicate, *SEEN) if params.by_group else []
    return sorted([*Counter(filter(None, groups)).values(), 1, 1], reverse=True)


def _is_full_conformal(params: FilterMemorizedParams, calibrating: int) -> bool:
    return params.too_few == "full_conformal" and calibrating < calibration_needed(params.alpha, params.confidence)


def _seen_for_full_conformal(params: FilterMemorizedParams) -> int:
    """How many different seen images it needs: a copy shares its rank with what it copies."""
    return calibration_needed(params.alpha / 2)


def _groups_apart(groups: list[str | None]) -> int:
    """How many groups there are, images without one being groups of their own."""
    return len(set(groups) - {None}) + groups.count(None)


def _of_arm(arm: ArmParams, dataset: Dataset, replicate: int) -> Iterator[str]:
    if any(isinstance(each, PseudoLabels | FixMatch) for each in arm.settings) and not len(
        dataset.ids(replicate, UNLABELLED_POOL)
    ):
        yield (
            "pool_share and fixmatch_threshold need unlabelled images, but the pool is empty: raise "
            "prepare.unlabelled, set fewer images aside for other roles, or take the arm out"
        )
    if isinstance(arm.labels, LabelBudget):
        least = (_counts(dataset, replicate, TRAIN) + _counts(dataset, replicate, VALIDATION)).min()
        if least < arm.labels.per_class:
            yield (
                f"labels: per_class: {arm.labels.per_class} is more than the {least} labelled images that train and "
                "validation have of the rarest class: lower it, or raise prepare.labels_per_class"
            )


def _counts(dataset: Dataset, replicate: int, role: str) -> NDArray[np.int64]:
    """Labelled images of each class, (K,)."""
    return np.bincount(dataset.labels(replicate, role), minlength=len(dataset.classes))


def _words_of(later: Callable[[], object]) -> Iterator[str]:
    """What a later stage's own check has to say."""
    try:
        later()
    except UserError as error:
        yield str(error)
