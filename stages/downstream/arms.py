"""Arms: each way of training a classifier, one replicate at a time.

First the settings are tried: trained on the labels of `train`, scored on those of `validation`. The one that served
best is then trained once more, on all labels. An arm that has nothing to choose is trained once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.downstream.arm_data import ArmData, Labelled, check_data, labelled_images
from stages.downstream.augment import build_policy
from stages.downstream.batches import Advice, Guess, Part, Source, Teacher, batch_parts, compose, real_parts
from stages.downstream.domains import Domains
from stages.downstream.fixmatch import train_fixmatch
from stages.downstream.mixing import build_mixing
from stages.downstream.params import ArmParams, FixMatch, OtherSeeds, Setting, TrainDownstreamParams
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, Seeds, Trained, Validate, derive_seeds, predict, train_classifier
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool
from stages.labelling.pool import Guesses, PoolLabels

GuessPool = Callable[[], Guesses]  # the ensemble's labels of the pool


@dataclass(frozen=True)
class Trial:
    """What a setting came to in the choice.

    validation_score: balanced accuracy on `validation`. step: the one after which its weights were kept, from 1.
    """

    validation_score: float
    step: int


@dataclass(frozen=True)
class ArmResult:
    """What the arm's training came to.

    test_probabilities: float32 (test images, classes).
    state: the classifier's tensors, contiguous, on the CPU.
    history: mean losses, {step, loss}, up to the step that was kept.
    images: how many images the training had of each source: with real labels, synthetic, with pseudo-labels.
    steps: optimiser steps of a whole training, the same for all arms.
    shown: what scikit-learn's classifiers are to learn from, to be held against this one.
    """

    test_probabilities: NDArray[np.float32]
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    images: dict[Source, int]
    steps: int
    shown: Examples


@dataclass(frozen=True)
class Bench:
    """One arm on one replicate, to choose by or in its final run: what all its settings share."""

    arm: ArmParams
    data: ArmData
    params: TrainDownstreamParams
    replicate: int
    guess_pool: GuessPool
    final: bool

    @cached_property
    def labelled(self) -> Labelled:
        """The real images with labels, which exist even where the arm itself trains on synthetic ones alone."""
        return labelled_images(self.arm, self.data, self.final, self.seeds.order)

    @property
    def real(self) -> Labelled | None:
        """Those of them that the arm trains on."""
        return self.labelled if self.arm.real else None

    @cached_property
    def seeds(self) -> Seeds:
        """Shared by all arms of a replicate, so that these are paired."""
        return derive_seeds(self.params.seed, self.replicate)

    def validate(self, model: nn.Module) -> float:
        """Balanced accuracy on `validation`, by which an arm chooses."""
        return balanced_accuracy(predict(model, self.data.seen.validation_images), self.data.seen.validation_labels)


def try_settings(
    arm: ArmParams, data: ArmData, params: TrainDownstreamParams, replicate: int, guess_pool: GuessPool
) -> list[Trial]:
    """Trains the classifier once for each setting of the arm, on the labels of `train`, and scores it on `validation`.

    Raises:
        UserError: what `check_data` finds wrong, a training that diverges.
    """
    check_data(arm, data)
    bench = Bench(arm, data, params, replicate, guess_pool, final=False)
    advice = advise(bench)
    fitted = (_fit_setting(setting, _parts(setting, bench, advice), bench) for setting in arm.settings)
    return [Trial(bench.validate(trained.model), trained.step) for trained in fitted]


def train_arm(
    arm: ArmParams,
    data: ArmData,
    params: TrainDownstreamParams,
    replicate: int,
    guess_pool: GuessPool,
    chosen: int,
    stop: int | None,
) -> ArmResult:
    """Trains the classifier on all labels of the arm: nothing is left to choose, and nothing is looked at.

    chosen: the number of its setting. stop: the step after which the replicate's trial kept its weights, None for the
    end of the training.

    Raises:
        UserError: what `check_data` and `labelled_images` find wrong, a training that diverges.
    """
    check_data(arm, data)
    bench = Bench(arm, data, params, replicate, guess_pool, final=True)
    setting = arm.settings[chosen]
    parts = _parts(setting, bench, advise(bench))
    trained = _fit_setting(setting, parts, bench, stop)
    return ArmResult(
        test_probabilities=predict(trained.model, data.test_images).numpy(),
        state={name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()},
        history=trained.history,
        images=_counted(parts, bench),
        steps=params.classifier.steps,
        shown=_shown(parts, bench),
    )


def _counted(parts: Sequence[Part], bench: Bench) -> dict[Source, int]:
    """Images of each source; a real one counts once, in however many parts it is."""
    counts = {source: sum(len(part.labels) for part in parts if part.source == source) for source in get_args(Source)}
    return counts | {"real": len(bench.labelled.labels) if counts["real"] else 0}


def advise(bench: Bench) -> Advice:
    """What teachers that learn from the arm's own labelled images make of pool and synthetic images.

    A classifier that teaches is the end of its training, whatever checkpoints there are.
    """

    @cache
    def classifier() -> nn.Module:
        return fit(_all_real(bench), bench, bench.seeds).model

    @cache
    def guess_pool(teacher: Teacher) -> Guess:
        if teacher == "ensemble":
            taught = _guess_of_ensemble(bench)
            return Guess(taught.labels.cpu(), taught.trust.cpu())
        confidence, labels = predict(classifier(), bench.data.seen.unlabelled).max(dim=1)
        return Guess(labels, confidence)

    @cache
    def own_confidence() -> Tensor:
        synthetic = bench.data.synthetic
        assert synthetic is not None  # by check_data
        return predict(classifier(), synthetic.images).gather(1, synthetic.labels.unsqueeze(1)).squeeze(1)

    return Advice(guess_pool, own_confidence)


def _all_real(bench: Bench, beside: int = 0) -> list[Part]:
    """Batches of labelled real images, but for the places of so many others."""
    return real_parts(bench.labelled, bench.params.classifier.batch_size - beside)


def _domains(parts: Sequence[Part], bench: Bench) -> Domains | None:
    """How batches of these parts go through batch norm."""
    if bench.arm.batch_norm == "joint":
        return None
    return Domains(sum(part.places for part in parts if not part.of_target), bench.data.seen.unlabelled)


def _guess_of_ensemble(bench: Bench) -> PoolLabels:
    """The ensemble's labels of the pool. With a budget, there are no other labels to choose its members by."""
    seen, real = bench.data.seen, bench.labelled
    if bench.arm.labels == "all":
        guesses = bench.guess_pool()
        return guesses.final if bench.final else guesses.choosing
    budget = replace(
        seen,
        images=real.images,
        labels=real.labels.to(seen.labels.device),
        validation_images=seen.validation_images[:0],
        validation_labels=seen.validation_labels[:0],
    )
    return pool.teach(budget, bench.seeds.initialisation).final


def _parts(setting: Setting, bench: Bench, advice: Advice) -> list[Part]:
    places, seed = bench.params.classifier.batch_size, bench.seeds.order
    return batch_parts(setting, bench.data, bench.real, places, advice, seed)


def _fit_setting(setting: Setting, parts: Sequence[Part], bench: Bench, stop: int | None = None) -> Trained:
    """Checkpoints are looked at to choose by; the final run ends where they say."""
    validate = None if bench.final else bench.validate
    if isinstance(setting, FixMatch):
        return _fit_fixmatch(setting, bench, validate, stop)
    seeds = bench.seeds
    if isinstance(setting, OtherSeeds):
        seeds = derive_seeds(bench.params.seed + setting.other_seeds, bench.replicate)
    return fit(parts, bench, seeds, validate, stop)


def _shown(parts: Sequence[Part], bench: Bench) -> Examples:
    """The first `scikit_learn.images` images that the network is shown, augmented as there, but never mixed.

    FixMatch's guesses are the network's own: of the pool, others see nothing.
    """
    params, seeds = bench.params, bench.seeds
    examples, order = _compose(parts, bench, seeds)
    rows, device = order.flatten()[: params.scikit_learn.images], examples.images.device
    augment = build_policy(bench.arm.augment, params, bench.data.seen.flip_ok)
    generator = torch.Generator(device).manual_seed(seeds.augmentation)
    images = to_bytes(augment(to_network_range(examples.images[rows]), generator))
    return Examples(*(each.cpu() for each in (images, examples.probabilities[rows], examples.weights[rows])))


def _compose(parts: Sequence[Part], bench: Bench, seeds: Seeds) -> tuple[Examples, Tensor]:
    return compose(parts, bench.arm, bench.params.classifier.steps, bench.data.seen.classes, seeds.order)


def fit(
    parts: Sequence[Part], bench: Bench, seeds: Seeds, validate: Validate | None = None, stop: int | None = None
) -> Trained:
    """Trains on batches with a fixed number of images of each part; validate, stop: see `train_classifier`."""
    augment = bench.arm.augment
    return train_classifier(
        *_compose(parts, bench, seeds),
        build_policy(augment, bench.params, bench.data.seen.flip_ok),
        build_mixing(augment),
        bench.params.classifier,
        seeds,
        validate,
        stop,
        _domains(parts, bench),
    )


def _fit_fixmatch(setting: FixMatch, bench: Bench, validate: Validate | None, stop: int | None) -> Trained:
    params, seen, seeds = bench.params, bench.data.seen, bench.seeds
    steps = params.classifier.steps
    drawn = round(setting.unlabelled_share * params.classifier.batch_size)
    real = _all_real(bench, beside=drawn)
    pool_labels = torch.zeros(len(seen.unlabelled), dtype=torch.int64)  # unknown: all are drawn alike
    generator = torch.Generator().manual_seed(seeds.order)
    return train_fixmatch(
        *_compose(real, bench, seeds),
        seen.unlabelled,
        draw_order(pool_labels, steps * drawn, None, generator).view(steps, drawn),
        build_policy("classic", params, seen.flip_ok),
        build_policy(bench.arm.augment, params, seen.flip_ok),
        params.classifier,
        setting.fixmatch_threshold,
        seeds,
        validate,
        stop,
        _domains(real, bench),
    )


def balanced_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean over the classes that are there of the share predicted right (sklearn's `balanced_accuracy_score`)."""
    labels = labels.cpu()
    right = (probabilities.argmax(dim=1) == labels).double()
    return float(torch.stack([right[labels == label].mean() for label in labels.unique()]).mean())
