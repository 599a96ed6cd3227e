"""Train a class-conditional GAN on a few labelled images and a pool of unlabelled ones."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import isnan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.generators import health, snapshots
from stages.generators.interface import MEASURES, Family, Feed
from stages.generators.moments import Moments, measure, plain
from stages.generators.network_config import NetworkConfig
from stages.generators.objective import Objective, build_objective
from stages.generators.params import TrainGanParams
from stages.generators.registry import FAMILIES
from stages.generators.sampling import sample_all_classes, sample_grid
from stages.generators.state import Checkpoint, TrainingState, start, tensors
from stages.imaging.augmentation import adapt, allowed, augment
from stages.labelling import pool
from stages.labelling.data import GanData, RealImages
from stages.plumbing.errors import UserError

GRID_COLUMNS = 10
ADAPT_EVERY = 16  # steps between two looks at the signal of overfitting
ADAPT_OVER = 16_000  # real images over which the strength may rise from 0 to 1
TARGET_SIGN = 0.6  # of r_t (Karras et al. 2020, section 3.1)
SURENESS = MEASURES.index("sureness")
DIVERSITY_SAMPLES = 16  # of each class
LOWER = 0.5  # learning rates after a rollback, as a share of those before


@dataclass(frozen=True)
class Progress:
    """What a step reports: mean MEASURES since the last report, and sometimes a picture of samples.

    `samples` is uint8 (rows * H, columns * W, C), a row for each class. `images_per_second` counts the real images
    that the discriminator saw; it depends on the clock and belongs in no artifact.
    """

    step: int
    measures: dict[str, float]
    images_per_second: float
    samples: NDArray[np.uint8] | None


@dataclass(frozen=True)
class TrainedGan:
    """The generator that was kept and the last discriminator as plain tensors, and numbers about the training.

    `samples`: by step, uint8 (rows * H, columns * W, C), a row for each class. `curve`: the scores of each snapshot.
    """

    config: NetworkConfig
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    history: list[dict[str, float]]
    curve: list[dict[str, float]]
    samples: dict[int, NDArray[np.uint8]]
    quality: dict[str, float]


@dataclass(frozen=True)
class Setting:
    """What stays the same from step to step."""

    data: GanData
    params: TrainGanParams
    seed: int
    real: RealImages
    moments: Moments
    family: Family
    objective: Objective
    judge: snapshots.Judge
    report: Callable[[Progress], None]


def train(
    data: GanData, params: TrainGanParams, seed: int, report: Callable[[Progress], None], checkpoint: Checkpoint
) -> TrainedGan:
    """Train for params.steps steps, reporting every params.log_every steps and after the last one.

    `seed` alone decides every random number of the training; callers derive it from params.seed and the replicate. The
    state is saved every params.checkpoint_every steps. A training that finds one saved goes on from there and ends in
    the same bytes as one that was never interrupted; the caller sees to it that it belongs to the same data,
    parameters and seed. A training that fails goes back to what was saved last, with half the learning rates, at most
    params.rollbacks times.

    Raises UserError when the labelled images cannot serve, when the device is not there or too small, and when the
    training fails once too often.
    """
    _check(data, params)
    with _words_for_memory(params):
        return _train(data.to(params.device), params, seed, report, checkpoint)


def _train(
    data: GanData, params: TrainGanParams, seed: int, report: Callable[[Progress], None], checkpoint: Checkpoint
) -> TrainedGan:
    classifier = pool.learn(data, seed)
    labelled = pool.label(data, classifier, seed)
    config, moments = starting_point(data, labelled.real, params)
    setting = Setting(
        data,
        params,
        seed,
        real=labelled.real,
        moments=moments,
        family=FAMILIES[params.family],
        objective=build_objective(params.objective),
        judge=snapshots.Judge(data, classifier, seed),
        report=report,
    )
    state = start(config, moments, params, seed)
    if saved := checkpoint.load():
        state.unpack(saved)
    while state.step < params.steps:
        try:
            _run(state, setting, checkpoint)
        except health.FailedTrainingError as failure:
            state = _roll_back(state, setting, checkpoint, failure)
    return _finished(state, labelled.quality)


@contextmanager
def _words_for_memory(params: TrainGanParams) -> Iterator[None]:
    """Turns what PyTorch says when memory runs out, which on a CPU is a plain RuntimeError, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise UserError(
            f"there is too little memory to train the GAN: lower train_gan.batch_size ({params.batch_size}) or "
            f"train_gan.width ({params.width})"
        ) from error


def _check(data: GanData, params: TrainGanParams) -> None:
    """Raises UserError when there is no such device, or no image of some class."""
    if params.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train_gan.device is cuda, but there is no GPU here that PyTorch can use; set it to cpu")
    images = data.labels.bincount(minlength=data.classes)
    if images.min() == 0:
        raise UserError(f"class {int(images.argmin())} has no labelled image; every class needs at least one")


def _run(state: TrainingState, setting: Setting, checkpoint: Checkpoint) -> None:
    """Train to the last step, or raise FailedTrainingError."""
    params = setting.params
    due = {round(params.steps * part / params.snapshots) for part in range(1, params.snapshots + 1)}
    started, first = time.perf_counter(), state.step
    while state.step < params.steps:
        _set_learning_rates(state, params)
        with _precision(params):
            measures = setting.family.step(state.players, _feed(state, setting), setting.objective)
        state.sums += measures
        state.signs += measures[SURENESS]
        state.average.update_parameters(state.players.generator)
        state.step += 1
        if state.step % ADAPT_EVERY == 0:
            _adapt(state, params)
        if state.step % params.log_every == 0 or state.step == params.steps:
            means = _log_measures(state)
            rate = (state.step - first) * params.batch_size / (time.perf_counter() - started)
            setting.report(Progress(state.step, means, rate, _samples_if_due(state, params)))
            started, first = time.perf_counter(), state.step
        at_checkpoint = state.step % params.checkpoint_every == 0
        if at_checkpoint or state.step in due:
            _check_sound(state)
        if state.step in due:
            state.snapshots.append(setting.judge.take(state))
        if at_checkpoint:
            state.diversity = _diversity(state, setting.data)
            checkpoint.save(state.pack())


def _finished(state: TrainingState, pool_quality: dict[str, float]) -> TrainedGan:
    kept = snapshots.choose(state.snapshots)
    course = {
        "kept_step": kept.step,
        "overfitting": state.history[-1]["sureness"],  # r_t of Karras et al. 2020
        "strength": state.strength,
        "rollbacks": state.rollbacks,
    }
    return TrainedGan(
        config=state.config,
        generator=kept.generator,
        discriminator=tensors(state.players.discriminator),
        history=state.history,
        curve=[{"step": each.step, **each.scores} for each in state.snapshots],
        samples=state.samples,
        quality=pool_quality | course | kept.scores,
    )


def _adapt(state: TrainingState, params: TrainGanParams) -> None:
    """Raise the augmentation's strength where the discriminator is too sure of the real images, else lower it."""
    step = ADAPT_EVERY * params.batch_size / ADAPT_OVER
    signal = float(state.signs / ADAPT_EVERY)
    state.strength = min(adapt(state.strength, signal, TARGET_SIGN, step), params.augment.limit)
    state.signs.zero_()


def _feed(state: TrainingState, setting: Setting) -> Feed:
    params, strength = setting.params, state.strength
    policies = allowed(params.augment.policies, setting.data.flip_ok) if strength > 0 else ()
    return Feed(
        real=setting.real,
        batch_size=params.batch_size,
        latent_dim=params.latent_dim,
        augment=lambda images: augment(images, policies, strength, state.random) if policies else images,
        random=state.random,
    )


def _precision(params: TrainGanParams) -> AbstractContextManager[object]:
    half = params.precision == "bfloat16"
    return torch.autocast(params.device, torch.bfloat16) if half else nullcontext()


def _set_learning_rates(state: TrainingState, params: TrainGanParams) -> None:
    """Keep the learning rates for half the steps, then lower them to nothing in a straight line."""
    share = min(1.0, 2 * (1 - state.step / params.steps)) * LOWER**state.rollbacks
    for optimizer, rate in (
        (state.players.generator_optimizer, params.generator_learning_rate),
        (state.players.discriminator_optimizer, params.discriminator_learning_rate),
    ):
        optimizer.param_groups[0]["lr"] = rate * share


def _log_measures(state: TrainingState) -> dict[str, float]:
    """Move the mean measures since the last report into the history."""
    means = state.sums / (state.step - state.logged_step)
    measures = dict(zip(MEASURES, means.tolist(), strict=True)) | {"strength": state.strength}
    health.check_finite(measures)
    state.history.append({"step": state.step, **measures})
    state.sums.zero_()
    return measures


def _check_sound(state: TrainingState) -> None:
    """Raises FailedTrainingError when what is about to be kept is spoiled: nobody could go back to it.

    The measures of a step are taken before its update, and may not show what that did.
    """
    health.check_finite(dict(zip(MEASURES, state.sums.tolist(), strict=True)))
    health.check_weights(state.average.module, state.players.discriminator)


def _samples_if_due(state: TrainingState, params: TrainGanParams) -> NDArray[np.uint8] | None:
    due = state.step % params.samples_every < params.log_every or state.step == params.steps
    if not due:
        return None
    state.samples[state.step] = sample_grid(state.average.module, state.config, GRID_COLUMNS, params.seed)
    return state.samples[state.step]


def _diversity(state: TrainingState, data: GanData) -> float:
    """The most that `health.diversity` has said of samples; FailedTrainingError when they have become nearly alike."""
    drawn = sample_all_classes(state.average.module, state.config, DIVERSITY_SAMPLES, seed=0)
    images, labels = (torch.from_numpy(each).to(data.images.device) for each in drawn)
    now = health.diversity(images, labels, data.images, data.labels)
    health.check_collapse(now, state.diversity)
    return now if isnan(state.diversity) else max(now, state.diversity)


def _roll_back(
    state: TrainingState, setting: Setting, checkpoint: Checkpoint, failure: health.FailedTrainingError
) -> TrainingState:
    """The state that was saved last, or that of the start, with one rollback more; UserError when that is too many."""
    params, rollbacks = setting.params, state.rollbacks + 1
    if rollbacks > params.rollbacks:
        raise UserError(
            f"the GAN's training failed by step {state.step}: {failure}. It went back {state.rollbacks} times and "
            "halved its learning rates, to no avail: lower train_gan.generator_learning_rate and "
            "train_gan.discriminator_learning_rate"
        ) from failure
    state = start(state.config, setting.moments, params, setting.seed)
    if saved := checkpoint.load():
        state.unpack(saved)
    state.rollbacks = rollbacks
    return state


def starting_point(data: GanData, real: RealImages, params: TrainGanParams) -> tuple[NetworkConfig, Moments]:
    """What the networks are built of, and where they start from."""
    _, channels, size, _ = data.images.shape
    config = NetworkConfig(
        params.family,
        params.layers,
        data.classes,
        channels,
        size,
        params.latent_dim,
        params.width,
        components=0,
        spectral=build_objective(params.objective).spectral,
    )
    if params.layers == "convolutional":
        return config, plain(config)
    moments = measure(real, data.classes, params.latent_dim)
    return replace(config, components=moments.means.shape[1]), moments
