"""How long a run may take, step by step, before any of it has run, and how much memory it needs at once. Pure.

Constants are CPU seconds on the two cores that this project was measured on, fitted to runs at 8 and 16 pixels (the
default one, red_cells, fashion_scarce, chest_xrays, scanner_shift): their sums come out within a third. A GPU is not
reckoned with, nor is `evaluate.backbone`.
"""

import math
from dataclasses import dataclass

from stages.downstream.params import ArmParams, FixMatch, PseudoLabels, TrainDownstreamParams
from stages.generators.params import (
    AdversarialParams,
    GeneratorParams,
    PrivateGanParams,
    ProjectedParams,
    RefiningParams,
    SteppedParams,
)
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.params import Params

START = 4.0  # seconds that each stage takes to begin
GRAPH = 12_000  # images of which label spreading holds the square in memory
GIB = 2**30
LOOK = 0.01  # seconds that a backbone takes for an image of 96 pixels
TEACHERS, LESSONS = 3, 1000  # the classifiers of a teacher, and the steps that each learns for
TEACHERS_WIDTH, TEACHERS_BATCH = 16, 64  # of each
LOOKS = 2500  # images whose features a head on a backbone learns from; a fifth of all is predicted on, perhaps


@dataclass(frozen=True)
class Sizes:
    """Of one replicate. seen: images that generators learn from. pool: those of them without a label. drawn: generated
    images. images: all real ones. side, channels: of each image.
    """

    seen: int
    pool: int
    drawn: int
    images: int
    side: int
    channels: int
    flips: bool

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        return self.side**2 * self.channels


def seconds(params: Params, sizes: Sizes, cores: int) -> dict[str, float]:
    """Step (`stage`, or `stage@item`) -> seconds, on so many cores."""
    replicates = params.prepare.replicates
    jobs = max(1, min(params.parallel.jobs, cores, replicates))
    work = {"prepare": 0.0}
    for name, section in params.train_gan.generators.items():
        work[f"train_gan@{name}"] = _generator(section, sizes)
        work[f"generate@{name}"] = 0.5 + params.generate.candidates * sizes.drawn * sizes.pixels * 1e-7
        work[f"filter_memorized@{name}"] = _filter(params.filter_memorized, sizes)
    downstream = params.train_downstream
    if asking := _first_that_asks_a_teacher(params):  # the others find what it has learned
        work[f"generate@{asking}"] += _teacher(sizes)
    work |= {f"train_downstream@{name}": _arm(arm, downstream, sizes) for name, arm in downstream.arms.items()}
    work["evaluate"] = 0.4 * sizes.side
    return {step: START + replicates / jobs * each for step, each in work.items()}


def memory(params: Params, sizes: Sizes) -> float:
    """Bytes that all processes need at once: the libraries once and for each process, the images for each, and for each
    the square of the images that labels spread over."""
    jobs = min(params.parallel.jobs, params.prepare.replicates)
    graph = sizes.seen**2 * 8 if sizes.pool and sizes.seen <= GRAPH else 0
    each = 0.4 * GIB + 10 * (sizes.seen + sizes.drawn) * sizes.pixels + graph
    published = sizes.drawn * params.prepare.replicates * sizes.pixels
    return 0.5 * GIB + jobs * each + 4 * (sizes.images * sizes.pixels + published)


def _generator(section: GeneratorParams, sizes: Sizes) -> float:
    """CPU seconds of one replicate's training: a dense step costs as its weights, a convolution as its pixels."""
    if not isinstance(section, SteppedParams):
        return 2.0
    if isinstance(section, PrivateGanParams):
        return section.steps * section.discriminator_steps * (0.005 + section.lot / 256 * 0.012) + 20.0
    batches = section.batch_size / 64
    if isinstance(section, AdversarialParams) and section.layers == "dense":
        weights = section.width * (sizes.pixels + 2 * section.width)
        return section.steps * (0.015 + batches * weights * 1.2e-8)
    pixel, looks, side = 0.023, 0.0, sizes.side
    if isinstance(section, RefiningParams):
        pixel, side = 0.016 * section.width / 16, min(side, section.drawn_size)
    if isinstance(section, ProjectedParams):
        pixel = 0.004 * section.width / 16
        # the discriminator sees real and fake ones, the generator's images pass there and back
        looks = 3 * section.batch_size * (section.backbone.size / 96) ** 2
    return section.steps * (0.01 + batches * pixel * side**2 / 64 + looks * LOOK)


def _first_that_asks_a_teacher(params: Params) -> str | None:
    sections, chosen = params.train_gan.generators, params.generate.candidates > 1
    return next((name for name, section in sections.items() if chosen or section.labels == "teacher"), None)


def _teacher(sizes: Sizes) -> float:
    """CPU seconds of one replicate's, and of that before it which sets the temperature on the validation images."""
    return 2 * TEACHERS * LESSONS * _cnn_step(TEACHERS_WIDTH, TEACHERS_BATCH, sizes)


def _filter(params: FilterMemorizedParams, sizes: Sizes) -> float:
    """CPU seconds of one replicate: all pairs, shifted, mirrored and blurred."""
    views = (2 * params.shift_pixels + 1) ** 2 * (1 + sizes.flips) * (1 + params.blurred_view)
    pairs = sizes.drawn * sizes.seen * views * sizes.pixels * 1.7e-10
    if params.backbone is None:
        return 1.0 + pairs
    return 1.0 + pairs + (sizes.seen + sizes.drawn) * (1 + sizes.flips) * LOOK * (params.backbone.size / 96) ** 2


def _arm(arm: ArmParams, params: TrainDownstreamParams, sizes: Sizes) -> float:
    """CPU seconds of one replicate: each setting is trained, and the best one again on all labels."""
    if arm.backbone is not None:
        shares = {getattr(each, "synthetic_share", None) for each in arm.settings}
        looks = LOOKS * (len(shares) * (len(arm.settings) > 1) + 1) + sizes.images / 5
        tuned = [getattr(each, "fine_tuning_rate", None) is not None for each in arm.settings]
        # the network's way there and back takes as long as five looks; any setting may be the one trained again
        learned = 5 * (sum(tuned) * (len(tuned) > 1) + any(tuned))
        looks += learned * params.classifier.steps * params.classifier.batch_size
        return 5.0 + looks * LOOK * (arm.backbone.size / 96) ** 2
    classifier, count = params.classifier, len(arm.settings)
    trainings = count + (count > 1)
    per_step = 1.6 if any(isinstance(each, FixMatch) for each in arm.settings) else 1.0
    rounds = max(_rounds(each) for each in arm.settings)
    ensemble = any(isinstance(each, PseudoLabels) and each.teacher == "ensemble" for each in arm.settings)
    backbone = 4.0 if classifier.kind != "cnn" else 1.0
    steps = trainings * rounds * per_step * backbone * classifier.steps
    return 0.8 + 0.1 * sizes.side * ensemble + steps * _cnn_step(classifier.width, classifier.batch_size, sizes)


def _cnn_step(width: int, batch_size: int, sizes: Sizes) -> float:
    return (0.003 + 0.012 * (sizes.side / 16) ** 2 * width / 16) * batch_size / 64


def _rounds(setting: object) -> int:
    """Trainings one after another, each taught by the last one."""
    if isinstance(setting, PseudoLabels):
        return setting.rounds + (setting.teacher == "classifier")
    return 1 + getattr(setting, "more_rounds", 0)


def told(total: float, memory_: float, cores: int) -> str:
    """Both in words, rounded as far as they can be trusted."""
    minutes = math.ceil(total / 60) if total < 600 else 5 * round(total / 300)
    time = f"{minutes} minute{'s' if minutes > 1 else ''}" if minutes < 90 else f"{total / 3600:.0f} hours"
    of_cores = f"{cores} core{'s' if cores > 1 else ''}"
    return f"the whole run may take about {time} on {of_cores} without a GPU, and {memory_ / GIB:.1f} GiB of memory"
