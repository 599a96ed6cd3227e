"""Everything that can be foreseen fails first: what would stop a later stage, told before any generator is trained.

It changes no result, so that no stage reruns for it. `python -m stages.foresight` looks at params.yaml alone and at
whether the data that it names are there: DVC does so before any stage, and has no words for what is wrong.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages import forecast
from stages.comparison.params import Measure, SensitivityParams
from stages.downstream.params import ArmParams, LabelBudget, Synthetic
from stages.generators.params import (
    AlignableParams,
    GeneratorParams,
    InfillingParams,
    LearningParams,
    PrivateParams,
    SingleImageParams,
)
from stages.generators.requests import class_plan
from stages.generators.scales import sides
from stages.imaging.params import BackboneParams
from stages.memorization.conformal import calibration_needed, check_calibration
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing import workdir
from stages.plumbing.dataset import (
    CALIBRATION,
    LABELLED,
    OTHER,
    ROLES,
    SEEN,
    TRAIN,
    UNLABELLED_POOL,
    VALIDATION,
    Dataset,
)
from stages.plumbing.errors import UserError
from stages.plumbing.params import PARAMS_FILE, Params, load

LARGEST_DENSE = 32  # pixels a side
MOST_COMPONENTS = 512  # of dense networks: `generators.moments`, which would import torch


def check(params: Params, dataset: Dataset) -> None:
    """Holds all sections of params.yaml against the prepared images, by their labels and numbers; decodes none.

    Raises:
        UserError: one message that names everything that would stop a later stage, and which keys to change.
    """
    found = [
        *_of_generators(params),
        *_of_filters(params),
        *_of_measure(params.evaluate.measure, dataset.classes),
        *_of_backbones(params),
    ]
    for replicate in range(dataset.replicates):
        found += _of_classes(params, dataset, replicate)
        found += _of_target(params, dataset, replicate)
        found += _of_plan(params, dataset, replicate)
        numbers = _Numbers.of(dataset, replicate, params.filter_memorized.by_group)
        found += _of_filter(params.filter_memorized, numbers, dataset.image.size)
        found += _of_sources(params, numbers)
        found += _of_pairs(params, dataset, replicate)
        found += _of_budgets(params, dataset, replicate)
        found += _of_regions(params, dataset, replicate)
        for name, arm in params.train_downstream.arms.items():
            found += (f"train_downstream.arms.{name}: {problem}" for problem in _of_arm(arm, dataset, replicate))
    if found:  # replicates have much in common
        lines = (f"  - {problem}" for problem in dict.fromkeys(found))
        raise UserError("\n".join(["these would stop later stages, so none is begun:", *lines]))


def notes(params: Params, dataset: Dataset) -> list[str]:
    """What a user should know before the long work begins, a line each: what cannot come out, time and memory."""
    return [*_undecidable(params), *_alone(params, dataset), _cost(params, dataset)]


def _alone(params: Params, dataset: Dataset) -> Iterator[str]:
    """Classes of one image, which alignment leaves as they are."""
    few = np.flatnonzero(_counts(dataset, 0, *LABELLED) == 1)
    for name, section in params.train_gan.generators.items():
        if (
            isinstance(section, AlignableParams)
            and section.align
            and len(few)
            and not len(dataset.ids(0, UNLABELLED_POOL))
        ):
            classes = ", ".join(repr(dataset.classes[label]) for label in few)
            yield (
                f"train_gan.generators.{name}.align: a class of one image has nothing to be brought into line with, "
                f"and stays as it is: {classes}"
            )


def _undecidable(params: Params) -> Iterator[str]:
    """Where no result at all could be beyond chance."""
    from stages.comparison.statistics import least_p

    evaluate, replicates = params.evaluate, params.prepare.replicates
    for name, question in evaluate.questions.items():
        contrasts = len(question.arms) * len(question.rivals)
        if least_p(replicates, contrasts) > 1 - evaluate.confidence:
            needed = next(each for each in count(replicates) if least_p(each, contrasts) <= 1 - evaluate.confidence)
            repeated = f"{replicates} replicate{'s' if replicates > 1 else ''}"
            pairs = f"{contrasts} pair{'s' if contrasts > 1 else ''}"
            yield (
                f"{repeated} cannot show any difference in {name}, which compares {pairs}: from prepare.replicates: "
                f"{needed} on they can"
            )


def _cost(params: Params, dataset: Dataset) -> str:
    """Time and memory of the run in words; the seconds of each step are kept for estimates on the way."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    labelled = _counts(dataset, 0, *LABELLED)
    sizes = forecast.Sizes(
        seen=len(dataset.ids(0, *SEEN)),
        pool=len(dataset.ids(0, UNLABELLED_POOL)),
        drawn=sum(class_plan(labelled.tolist(), params.generate.plan)),
        images=len(dataset.ids(0, *ROLES)),
        side=dataset.image.size,
        channels=dataset.image.channel_count,
        flips=dataset.flip_ok,
    )
    seconds = forecast.seconds(params, sizes, cores)
    workdir.write_json(workdir.FORECAST, seconds)
    return forecast.told(sum(seconds.values()), forecast.memory(params, sizes), min(cores, params.parallel.jobs))


def _of_generators(params: Params) -> Iterator[str]:
    for name, section in params.train_gan.generators.items():
        if section.kind == "external" and _is_nothing(Path(section.path)):
            yield (
                f"train_gan.generators.{name}.path: {section.path} is missing or empty: put the images there, a folder "
                "for each class, or take the generator and its arms out"
            )
        if params.prepare.image.size > LARGEST_DENSE and getattr(section, "layers", None) == "dense":
            yield (
                f"train_gan.generators.{name}.layers: dense networks see principal components, {MOST_COMPONENTS} at "
                f"most, which tell too little above {LARGEST_DENSE} pixels: take layers: convolutional, where the kind "
                "has them, or kind: refined_gaussian, or lower prepare.image.size"
            )
        if isinstance(section, SingleImageParams):
            try:
                sides(params.prepare.image.size, section.scales)
            except UserError as error:
                yield f"train_gan.generators.{name}.{error}"
        if getattr(section, "compile", False) and params.train_gan.device != "cpu" and _wants_triton():
            yield (
                f"train_gan.generators.{name}.compile is true, which needs Triton on a GPU: `make extras` installs it, "
                "or set it to false"
            )


def _of_filters(params: Params) -> Iterator[str]:
    for name, arm in params.train_downstream.arms.items():
        for each in arm.by_generator():
            for generator in each.generators:
                section = params.train_gan.generators[generator]
                for problem in _of_scores(each, section, params.generate.scores):
                    yield f"train_downstream.arms.{name}: {problem}"


def _wants_triton() -> bool:
    """Whether torch.compile would find a GPU here, and no compiler for it."""
    import torch

    return torch.cuda.is_available() and find_spec("triton") is None


def _of_measure(measure: Measure, classes: Sequence[str]) -> Iterator[str]:
    if isinstance(measure, SensitivityParams) and measure.of not in classes:
        yield f"evaluate.measure.of: {measure.of!r} is no class of the data set ({', '.join(classes)})"


def _of_backbones(params: Params) -> Iterator[str]:
    users = {f"train_downstream.arms.{name}": arm.backbone for name, arm in params.train_downstream.arms.items()}
    for name, section in params.train_gan.generators.items():
        users[f"train_gan.generators.{name}"] = getattr(section, "backbone", None)
    found: dict[BackboneParams, str] = {}
    users |= {"filter_memorized": params.filter_memorized.backbone, "evaluate": params.evaluate.backbone}
    for user, backbone in users.items():
        if backbone is not None:
            found.setdefault(backbone, user)
    for backbone, user in found.items():
        from stages.imaging.backbones import open_backbone

        try:
            open_backbone(backbone.name, backbone.size, backbone.weights)
        except UserError as error:
            yield f"{user}.{error}" if str(error).startswith("backbone.") else f"{user}: {error}"


def _is_nothing(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(each.is_file() for each in path.rglob("*")))


def _of_scores(arm: ArmParams, section: GeneratorParams, scores: bool) -> Iterator[str]:
    """What an arm's filters go by, which `generate` has to note."""
    for by in {each.filter.by for each in arm.settings if isinstance(each, Synthetic) and each.filter}:
        if by != "confidence" and not scores:
            yield f"filter: by: {by} needs generate.scores: true"
        if by == "discriminator" and not isinstance(section, LearningParams):
            yield f"filter: by: discriminator needs a generator that has one, not kind: {section.kind}"


def _of_classes(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    there = {role: _counts(dataset, replicate, role) for role in LABELLED}
    for role in LABELLED:
        for name in (name for name, images in zip(dataset.classes, there[role], strict=True) if not images):
            if role != VALIDATION or params.prepare.validation_of(name):
                yield f"class {name!r} has no labelled image in {role}: every class needs one"
    if not there[VALIDATION].any():
        yield "prepare.validation_per_class is 0 for every class, but choices need labels: raise it for some"


def _of_target(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    """What is wanting where the images of another domain may be seen, or where there are none."""
    pool = len(dataset.ids(replicate, UNLABELLED_POOL))
    if dataset.shifted and not pool:
        yield (
            "prepare.shift.pool is true, but the target has no image left for the pool: add unlabelled images to it, "
            "raise prepare.unlabelled, or lower prepare.calibration, validation_per_class, test_share or, where the "
            f"shift is simulated, labels_per_class (now {params.prepare.labels_per_class})"
        )
    target = pool + len(dataset.ids(replicate, VALIDATION))
    for name, batch_size in _from_domain(params):
        section = f"train_gan.generators.{name}"
        if not dataset.shifted:
            yield (
                f"{section} carries images of one domain to another, but there is one alone: set prepare.shift, with "
                "pool: true, or take the generator and its arms out"
            )
        elif target < batch_size:
            yield (
                f"{section}.batch_size is {batch_size}, but the target has {target} images in the pool and in "
                "validation: lower it, or add images of the target"
            )


def _from_domain(params: Params) -> Iterator[tuple[str, int]]:
    """Name and batch size of the generators that start from images of a source domain."""
    from stages.generators.registry import kind

    for name, section in params.train_gan.generators.items():
        if isinstance(section, LearningParams) and kind(section.kind).starts_from == "domain":
            yield name, section.batch_size


def _of_plan(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    drawing = {name for name, section in params.train_gan.generators.items() if section.kind != "external"}
    try:
        planned = class_plan(_counts(dataset, replicate, *LABELLED).tolist(), params.generate.plan) if drawing else []
    except UserError as error:
        yield str(error)
        return
    if any(drawing.intersection(arm.generators) for arm in params.train_downstream.arms.values()):
        for name in (name for name, count in zip(dataset.classes, planned, strict=True) if not count):
            yield (
                f"generate.plan comes to no image of class {name!r}, but arms with generated images need some of every "
                "class: raise generate.plan.factor"
            )


@dataclass(frozen=True)
class _Numbers:
    """What the filter has in one replicate. seen: images that generators may see, which `prepare` leaves all different.
    groups: how many of them each group has, the largest first, at least two. calibration: images; apart: its groups.
    """

    seen: int
    groups: list[int]
    calibration: int
    apart: int

    @classmethod
    def of(cls, dataset: Dataset, replicate: int, by_group: bool) -> "_Numbers":
        seen, calibration = dataset.groups(replicate, *SEEN), dataset.groups(replicate, CALIBRATION)
        sizes = Counter(filter(None, seen)).values() if by_group else ()
        apart = len(set(calibration) - {None}) + calibration.count(None) if by_group else len(calibration)
        return cls(len(seen), sorted([*sizes, 1, 1], reverse=True), len(calibration), apart)


def _of_filter(params: FilterMemorizedParams, numbers: _Numbers, side: int) -> Iterator[str]:
    if 2 * params.shift_pixels >= side:
        yield (
            f"filter_memorized.shift_pixels is {params.shift_pixels}, but images are {side} x {side} pixels: at most "
            f"{(side - 1) // 2} is allowed"
        )
    if numbers.seen <= params.neighbours:
        yield (
            f"filter_memorized.neighbours is {params.neighbours}, which needs {params.neighbours + 1} images that "
            f"generators may see, but there are {numbers.seen}: lower it, or set fewer images aside in prepare"
        )
    elif numbers.seen - numbers.groups[0] < params.neighbours - 1:
        yield (
            f"filter_memorized.neighbours is {params.neighbours}, all but the first from other groups, but one group "
            f"holds {numbers.groups[0]} of the {numbers.seen} images that generators may see: lower it, or set "
            "by_group: false"
        )
    of_way = _of_full_conformal if _is_full_conformal(params, numbers) else _of_threshold
    yield from of_way(params, numbers)


def _of_threshold(params: FilterMemorizedParams, numbers: _Numbers) -> Iterator[str]:
    try:
        check_calibration(numbers.apart, params.alpha, params.confidence)
    except UserError as error:
        of_groups = f" (of {numbers.calibration} images, one of each group counts; by_group: false counts all)"
        yield str(error) + (of_groups if numbers.apart < numbers.calibration else "")


def _is_full_conformal(params: FilterMemorizedParams, numbers: _Numbers) -> bool:
    needed = calibration_needed(params.alpha, params.confidence)
    return params.too_few == "full_conformal" and numbers.apart < needed


def _seen_for_full_conformal(params: FilterMemorizedParams) -> int:
    """How many images it needs: a copy shares its rank with what it copies."""
    return calibration_needed(params.alpha / 2)


def _of_full_conformal(params: FilterMemorizedParams, numbers: _Numbers) -> Iterator[str]:
    needed = _seen_for_full_conformal(params)
    if numbers.seen < needed:
        yield (
            f"filter_memorized.alpha is {params.alpha:g}, for which full conformal prediction needs {needed} images "
            f"that generators may see, but there are {numbers.seen}: raise alpha or prepare.calibration"
        )
    if numbers.groups[0] > 1:
        yield (
            "filter_memorized.too_few: full_conformal promises nothing where images that generators may see come in "
            f"groups: raise prepare.calibration, which has images of {numbers.apart} group(s), or set by_group: false"
        )


def _of_sources(params: Params, numbers: _Numbers) -> Iterator[str]:
    """What the filter needs beside the real image that another one was drawn from, and that image's group."""
    section, (source, largest, *_) = params.filter_memorized, numbers.groups
    too_few = section.neighbours < numbers.seen and numbers.seen - source - largest < section.neighbours - 1
    none_to_spare = _is_full_conformal(section, numbers) and numbers.seen == _seen_for_full_conformal(section)
    if too_few or none_to_spare:
        from stages.generators.registry import kind

        for name, generator in params.train_gan.generators.items():
            if kind(generator.kind).starts_from != "noise":
                yield (
                    f"train_gan.generators.{name} draws from real images, and the filter compares what it drew with "
                    f"the others: of the {numbers.seen} that it may see too few are left without one and its group "
                    f"(the largest have {source} and {largest}): lower filter_memorized.neighbours, or set fewer aside"
                )


def _of_regions(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    """Who draws or pastes regions where no image has one that choices can be made with."""
    masks = dataset.masks(replicate, TRAIN)
    if masks is not None and masks.any():
        return
    found = "no labelled image has one" if masks is None else "no labelled image of train has one"
    for name, section in params.train_gan.generators.items():
        if isinstance(section, InfillingParams):
            yield (
                f"train_gan.generators.{name} draws regions anew, but {found}: set prepare.masks (centre will do), or "
                "take the generator and its arms out"
            )
    for name, arm in params.train_downstream.arms.items():
        if arm.from_regions:
            yield (
                f"train_downstream.arms.{name}: {arm.from_regions[0]} needs regions, but {found}: set prepare.masks, "
                "or take the arm out"
            )


def _of_pairs(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    """What is wanting for those who learn from two images of a class."""
    if _counts(dataset, replicate, *LABELLED).max() > 1 or len(dataset.ids(replicate, UNLABELLED_POOL)):
        return
    others = bool((np.bincount(dataset.labels(replicate, OTHER)) > 1).any())
    for name, section in params.train_gan.generators.items():
        if section.kind == "image_conditioned" and not (others and getattr(section, "layers", "") == "convolutional"):
            yield (
                f"train_gan.generators.{name} learns from two images of a class, but every class has one: raise "
                "prepare.labels_per_class for some class, let prepare.other_classes bring some (for layers: "
                "convolutional), or take the generator and its arms out"
            )


def _of_budgets(params: Params, dataset: Dataset, replicate: int) -> Iterator[str]:
    """What is wanting for those who keep a privacy budget."""
    groups = dataset.groups(replicate, *LABELLED)
    for name, section in params.train_gan.generators.items():
        if not isinstance(section, PrivateParams):
            continue
        key, grouped = f"train_gan.generators.{name}", section.protects == "group"
        images = len(set(groups) - {None}) + groups.count(None) if grouped else len(groups)
        if grouped and not any(groups):
            yield f"{key}.protects: group needs images in groups, and these have none: set it to image"
        from stages.generators.private import problems

        yield from (f"{key}.{problem}" for problem in problems(section, images))
        if find_spec("opacus") is None:
            yield f"{key} keeps a privacy budget, which Opacus accounts for: `make extras` installs it"


def _of_arm(arm: ArmParams, dataset: Dataset, replicate: int) -> Iterator[str]:
    if arm.for_shift and not dataset.shifted:
        yield (
            f"{' and '.join(arm.for_shift)} needs a source and a target domain, but there is one alone: set "
            "prepare.shift, with pool: true, or take the arm out"
        )
    if arm.from_pool and not len(dataset.ids(replicate, UNLABELLED_POOL)):
        yield (
            f"{' and '.join(arm.from_pool)} needs unlabelled images, but the pool is empty: raise prepare.unlabelled, "
            "set fewer images aside for other roles, or take the arm out"
        )
    if arm.for_few_shot:
        from stages.downstream.few_shot import shortfall

        counts, others = _counts(dataset, replicate, *LABELLED).tolist(), np.bincount(dataset.labels(replicate, OTHER))
        problem = shortfall(counts, arm.for_few_shot, arm.least_many_shot, int((others > 1).sum()))
        if problem:
            yield problem
    if isinstance(arm.labels, LabelBudget):
        least = _counts(dataset, replicate, *LABELLED).min()
        if least < arm.labels.per_class:
            yield (
                f"labels: per_class: {arm.labels.per_class} is more than the {least} labelled images that train and "
                "validation have of the rarest class: lower it, or raise prepare.labels_per_class"
            )


def _counts(dataset: Dataset, replicate: int, *roles: str) -> NDArray[np.int64]:
    """Labelled images of each class, (K,)."""
    return np.bincount(dataset.labels(replicate, *roles), minlength=len(dataset.classes))


def check_paths(params: Params) -> None:
    """Raises UserError where DVC would find nothing in the place of a stage's data: it would only name the path.

    What `dvc add` keeps may be missing: DVC fetches it.
    """
    prepare, sections = params.prepare, params.train_gan.generators
    paths = {"prepare.source": prepare.source.path, "prepare.shift.source": prepare.shift.source.path}
    paths |= {f"train_gan.generators.{name}": each.path for name, each in sections.items() if each.kind == "external"}
    lost = [f"{key}.path: {path}" for key, path in paths.items() if not _is_there(Path(path))]
    if lost:
        raise UserError(
            f"{PARAMS_FILE} names what is not there: {', '.join(lost)}; put the data there, or name another place"
        )


def _is_there(path: Path) -> bool:
    return path.exists() or path.with_name(f"{path.name}.dvc").exists()


if __name__ == "__main__":
    try:
        check_paths(load())
    except UserError as error:
        sys.exit(str(error))
