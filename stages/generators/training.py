"""Make a generator of any kind: plan it from the data, build it, let it learn where it learns, judge what it draws."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.generators import alignment, flips, health, quality
from stages.generators.batches import DomainFeed, PoissonFeed, RandomFeed, RegionFeed
from stages.generators.drawing import TrainedGenerator, picture, sources_of
from stages.generators.interface import Feed, Generator, Learner, LearningGenerator, Plan
from stages.generators.params import (
    AlignableParams,
    BatchParams,
    ConditionalParams,
    GeneratorParams,
    LearningParams,
    PrivateGanParams,
    SteppedParams,
)
from stages.generators.registry import kind
from stages.generators.requests import few_of_each_class
from stages.generators.state import Checkpoint, TrainingState, start
from stages.imaging.augmentation import adapt, allowed, augment
from stages.labelling import pool
from stages.labelling.data import ReplicateData, TrustedImages
from stages.plumbing.errors import UserError

GRID_COLUMNS = 10
ADAPT_EVERY = 16  # steps between two looks at the signal of overfitting
ADAPT_OVER = 16_000  # real images over which the strength may rise from 0 to 1
TARGET_SIGN = 0.6  # of r_t (Karras et al. 2020, section 3.1)
DIVERSITY_SAMPLES = 16  # of each class
LOWER = 0.5  # learning rates after a rollback, as a share of those before


@dataclass(frozen=True)
class Progress:
    """What a step reports: mean measures since the last report, by name, and sometimes a picture of samples.

    `samples` is uint8 (rows * H, columns * W, C), a row for each class. `images_per_second` counts the real images
    that the discriminator saw; it depends on the clock and belongs in no artifact.
    """

    step: int
    measures: dict[str, float]
    images_per_second: float
    samples: NDArray[np.uint8] | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Setting:
    """What stays the same from step to step."""

    data: ReplicateData
    params: SteppedParams
    seed: int
    real: TrustedImages
    begin: Callable[[], TrainingState]
    judge: quality.Judge
    examiner: flips.Examiner | None
    report: Report


def train(
    data: ReplicateData,
    guessed: pool.PoolLabels,
    params: GeneratorParams,
    seed: int,
    report: Report,
    checkpoint: Checkpoint,
) -> TrainedGenerator:
    """A generator as its section asks for, made from the data, on the data's device.

    guessed: labels of the pool, as `pool.teach` guesses them. `seed` alone decides every random number of the training.
    A kind that learns reports every params.log_every steps and after the last one, and saves its state every
    params.checkpoint_every steps. A training that finds one saved goes on from there and ends in the same bytes as one
    that was never interrupted; the caller sees to it that it belongs to the same data, parameters and seed. A training
    that fails goes back to what was saved last, with half the learning rates, at most params.rollbacks times.

    Raises UserError when the labelled images cannot serve, when memory is too small, and when the training fails once
    too often.
    """
    images = data.labels.bincount(minlength=data.classes)
    if images.min() == 0:
        raise UserError(f"class {int(images.argmin())} has no labelled image; every class needs at least one")
    chosen = kind(params.kind)
    data = chosen.seen(data, params)
    labelled = pool.label(data, guessed if chosen.needs_guesses else pool.unguessed(data))
    if chosen.starts_from == "domain":
        _check_domains(data, params.kind)
    if chosen.starts_from == "region":
        _check_regions(data, params.kind)
    poses, real = None, labelled.real
    if isinstance(params, AlignableParams) and params.align:
        poses, data, real = alignment.aligned(data, real)
    everything = chosen.learned_from(data, real, params)
    plan, begin = chosen.study(data, everything, params, seed)
    likened = real.images[_first_to_resemble(chosen, data) :]
    judge = quality.Judge(data, likened, pool.learn(data, seed), seed)
    if not issubclass(chosen, LearningGenerator):
        generator = chosen(plan).to(data.images.device).eval()
        generator.initialise(begin)
        measures = judge.measure(generator.network, generator)
        curve, told = [{"step": 0, **measures}], labelled.quality | measures
        return TrainedGenerator(params.kind, generator, curve=curve, quality=told, poses=poses)
    learning = cast(SteppedParams, params)
    setting = Setting(
        data,
        learning,
        seed,
        everything,
        partial(start, chosen, plan, begin, learning, seed, data.images.device),
        judge,
        _examiner(chosen, data, seed),
        report,
    )
    with _words_for_memory(learning):
        state = _learn(setting, checkpoint)
    return replace(_finished(state, chosen, plan, setting, labelled.quality), poses=poses)


def _check_domains(data: ReplicateData, name: str) -> None:
    """Raises UserError unless there are labelled images of a source domain, of every class, and images of a target."""
    first = data.from_source
    if first is None or first == len(data.labels) + len(data.unlabelled):
        raise UserError(
            f"kind: {name} needs images of a target domain beside the labelled ones of the source domain: set "
            "prepare.shift with pool: true, or take the generator out of train_gan.generators"
        )
    images = data.labels[:first].bincount(minlength=data.classes)
    if images.min() == 0:
        raise UserError(
            f"class {int(images.argmin())} has no labelled image in the source domain, which kind: {name} starts from"
        )


def _check_regions(data: ReplicateData, name: str) -> None:
    """Raises UserError unless some labelled image has a region."""
    if data.masks is None or not data.masks[: len(data.labels)].any():
        raise UserError(
            f"kind: {name} draws regions anew, and no labelled image has one: say in prepare.masks where they lie, or "
            "take the generator out of train_gan.generators"
        )


def _examiner(chosen: type[Generator], data: ReplicateData, seed: int) -> flips.Examiner | None:
    """Where images inherit the labels of the other domain, and labelled target images can tell what becomes of them."""
    examined = chosen.starts_from == "domain" and bool(data.of_target.any())
    return flips.Examiner(data, seed) if examined else None


def _learn(setting: Setting, checkpoint: Checkpoint) -> TrainingState:
    """The state after the last step."""
    state = _resumed(setting, checkpoint)
    while state.step < setting.params.steps:
        try:
            _run(state, setting, checkpoint)
        except health.FailedTrainingError as failure:
            state = _roll_back(state, setting, checkpoint, failure)
    return state


def _resumed(setting: Setting, checkpoint: Checkpoint) -> TrainingState:
    """The state that was saved last, or that of the start."""
    state = setting.begin()
    if saved := checkpoint.load():
        state.unpack(saved)
    return state


@contextmanager
def _words_for_memory(params: SteppedParams) -> Iterator[None]:
    """Turns what PyTorch says when memory runs out, which on a CPU is a plain RuntimeError, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise UserError(
            f"there is too little memory to train the GAN: lower its batch_size ({params.batch_size}) or width "
            f"({params.width}) in train_gan.generators"
        ) from error


def _run(state: TrainingState, setting: Setting, checkpoint: Checkpoint) -> None:
    """Train to the last step, or raise FailedTrainingError."""
    params, feed, learner = setting.params, _feed(state, setting), _learner(state, setting)
    started, first = time.perf_counter(), state.step
    while state.step < params.steps:
        _set_learning_rates(state, params)
        measures = state.generator.learn(feed, learner)
        state.sums = {name: state.sums.get(name, 0) + value.detach() for name, value in measures.items()}
        if "sureness" in measures:
            state.signs = state.signs + measures["sureness"].detach()
        state.average.update_parameters(state.generator.network)
        state.step += 1
        if isinstance(params, LearningParams) and state.step % ADAPT_EVERY == 0:
            _adapt(state, params)
        if state.step % params.log_every == 0 or state.step == params.steps:
            means = _log_measures(state)
            rate = (state.step - first) * params.batch_size / (time.perf_counter() - started)
            setting.report(Progress(state.step, means, rate, _look_if_due(state, setting)))
            started, first = time.perf_counter(), state.step
        at_checkpoint = state.step % params.checkpoint_every == 0
        if at_checkpoint or state.step == params.steps:
            _check_sound(state)
        if at_checkpoint:
            if isinstance(params, LearningParams):  # others may not go by what the real images say
                state.diversity = _diversity(state, setting.data)
            checkpoint.save(state.pack())


def _finished(
    state: TrainingState,
    chosen: type[LearningGenerator],
    plan: Plan,
    setting: Setting,
    pool_quality: dict[str, float],
) -> TrainedGenerator:
    """The averaged generator and the discriminator as one generator, built anew: uncompiled, on the CPU."""
    with torch.random.fork_rng(devices=[]):  # first weights, which the learned ones replace
        generator = chosen(plan)
    generator.load_state_dict(state.generator.state_dict())
    generator.network.load_state_dict(state.best or state.average.module.state_dict())
    course = {}
    if isinstance(setting.params, LearningParams):
        course = {
            "overfitting": state.history[-1]["sureness"],  # r_t of Karras et al. 2020
            "strength": state.strength,
            "rollbacks": state.rollbacks,
        }
    return TrainedGenerator(
        setting.params.kind,
        generator.eval(),
        history=state.history,
        curve=state.curve,
        quality=pool_quality | course | (state.best_told or _last_measures(state)),
        samples=state.samples,
    )


def _examine(state: TrainingState, setting: Setting) -> None:
    """Of the translators looked at and the one of the start, keeps that whose images teach most about the target.

    Judged by the labelled target images: early stopping, as far back as to no translation at all unless one is
    clearly better.
    """
    if (examiner := setting.examiner) is None:
        return
    if not state.best:
        start = setting.begin().average.module  # it leaves its sources as they are
        measures = setting.judge.measure(start, state.generator)
        _keep_if_best(state, start, {"kept_step": 0, **measures, **examiner.check(examiner.untranslated)})
    network = state.average.module
    taught = examiner.taught(*quality.draw_samples(network, state.generator, setting.data, setting.seed))
    _keep_if_best(state, network, {"kept_step": state.step, **_last_measures(state), **examiner.check(taught)})


def _keep_if_best(state: TrainingState, network: nn.Module, told: dict[str, float]) -> None:
    likeliest = state.best_told.get("target_likelihood")
    if likeliest is None or (told["teaches_more"] and told["target_likelihood"] > likeliest):
        state.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        state.best_told = told


def _last_measures(state: TrainingState) -> dict[str, float]:
    """What the last look measured."""
    return {name: value for name, value in state.curve[-1].items() if name != "step"}


def _first_to_resemble(chosen: type[Generator], data: ReplicateData) -> int:
    """The first of the real images that those drawn should be like: all of them, or those of the target domain."""
    return (data.from_source or 0) if chosen.starts_from == "domain" else 0


def _feed(state: TrainingState, setting: Setting) -> Feed:
    params, generator, data = setting.params, state.generator, setting.data
    first = _first_to_resemble(type(generator), data)
    fields: dict[str, Any] = {
        "real": setting.real[first:],
        "latent_dim": generator.latent_dim,
        "random": state.random,
    }
    if isinstance(params, PrivateGanParams):
        return PoissonFeed(**fields, lot=params.lot, classes=data.classes)
    fields["batch_size"] = params.batch_size
    if generator.starts_from == "domain":
        return DomainFeed(**fields, source=setting.real[:first])
    alike = BatchParams(labelled_share=None, balanced=False)
    fields["params"] = params.batches if isinstance(params, ConditionalParams) else alike
    fields["labelled"] = len(data.labels)
    if generator.starts_from == "region":
        assert data.masks is not None  # by _check_regions
        return RegionFeed(**fields, with_sources=True, masks=data.masks[: len(data.labels)])
    return RandomFeed(**fields, with_sources=generator.starts_from == "class")


def _learner(state: TrainingState, setting: Setting) -> Learner:
    """Updates the state's players; augmentation is as strong as the state says at the time."""
    params = setting.params
    policies = allowed(params.augment.policies, setting.data.flip_ok) if isinstance(params, LearningParams) else []

    def augmented(images: Tensor) -> Tensor:
        return augment(images, policies, state.strength, state.random) if policies and state.strength > 0 else images

    def autocast() -> AbstractContextManager[object]:
        half = isinstance(params, LearningParams) and params.precision == "bfloat16"
        return torch.autocast(setting.data.images.device.type, torch.bfloat16) if half else nullcontext()

    return Learner(state.optimisers, augmented, autocast)


def _adapt(state: TrainingState, params: LearningParams) -> None:
    """Raise the augmentation's strength where the discriminator is too sure of the real images, else lower it."""
    step = ADAPT_EVERY * params.batch_size / ADAPT_OVER
    signal = float(state.signs / ADAPT_EVERY)
    state.strength = min(adapt(state.strength, signal, TARGET_SIGN, step), params.augment.limit)
    state.signs = 0.0


def _set_learning_rates(state: TrainingState, params: SteppedParams) -> None:
    """Keep the learning rates for half the steps, then lower them to nothing in a straight line."""
    share = min(1.0, 2 * (1 - state.step / params.steps)) * LOWER**state.rollbacks
    for name, optimiser in state.optimisers.items():
        optimiser.param_groups[0]["lr"] = getattr(params, f"{name}_learning_rate") * share


def _log_measures(state: TrainingState) -> dict[str, float]:
    """Move the mean measures since the last report into the history."""
    steps = state.step - state.logged_step
    measures = {name: float(total / steps) for name, total in state.sums.items()}
    if "sureness" in measures:
        measures["strength"] = state.strength
    health.check_finite(measures)
    state.history.append({"step": state.step, **measures})
    state.sums = {}
    return measures


def _check_sound(state: TrainingState) -> None:
    """Raises FailedTrainingError when what is about to be kept is spoiled: nobody could go back to it.

    The measures of a step are taken before its update, and may not show what that did.
    """
    health.check_finite({name: float(total) for name, total in state.sums.items()})
    health.check_weights(state.average.module, *state.generator.players().values())


def _look_if_due(state: TrainingState, setting: Setting) -> NDArray[np.uint8] | None:
    """A picture of samples every params.samples_every steps and after the last one; the curve gets their measures."""
    params, data = setting.params, setting.data
    due = state.step % params.samples_every < params.log_every or state.step == params.steps
    if not due:
        return None
    generator = state.generator
    asked = few_of_each_class(data.classes, GRID_COLUMNS, setting.seed, sources_of(generator, data))
    state.samples[state.step] = picture(state.average.module, generator.latent_dim, asked, data.images, data.masks)
    state.curve.append({"step": state.step, **setting.judge.measure(state.average.module, generator)})
    _examine(state, setting)
    return state.samples[state.step]


def _diversity(state: TrainingState, data: ReplicateData) -> float:
    """The most that `health.diversity` has said of samples; FailedTrainingError when they have become nearly alike."""
    drawn = quality.draw_classes(state.average.module, state.generator, data, DIVERSITY_SAMPLES, seed=0)
    now = health.diversity(*drawn, data.images, data.labels)
    health.check_collapse(now, state.diversity)
    return now if isnan(state.diversity) else max(now, state.diversity)


def _roll_back(
    state: TrainingState, setting: Setting, checkpoint: Checkpoint, failure: health.FailedTrainingError
) -> TrainingState:
    """The state that was saved last, or that of the start, with one rollback more; UserError when that is too many."""
    rollbacks = state.rollbacks + 1
    if rollbacks > getattr(setting.params, "rollbacks", 0):
        rates = " and ".join(f"{player}_learning_rate" for player in state.optimisers)
        raise UserError(
            f"the GAN's training failed by step {state.step}: {failure}. It went back {state.rollbacks} times and "
            f"halved its learning rates, to no avail: lower {rates} in train_gan.generators"
        ) from failure
    state = _resumed(setting, checkpoint)
    state.rollbacks = rollbacks
    return state
