"""Arms: each way of training a classifier, one replicate and one setting at a time."""

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
from stages.downstream.batches import Advice, Guess, Part, Source, Teacher, batch_parts, compose
from stages.downstream.fixmatch import train_fixmatch
from stages.downstream.mixing import build_mixing
from stages.downstream.params import ArmParams, FixMatch, OtherSeeds, Setting, TrainDownstreamParams
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, Seeds, Trained, derive_seeds, predict, train_classifier
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.labelling.pool import PoolLabels


@dataclass(frozen=True)
class ArmResult:
    """What one training run came to.

    validation_score: balanced accuracy on `validation`, None where its labels were trained on.
    test_probabilities: float32 (test images, classes).
    state: the classifier's tensors, contiguous, on the CPU.
    history: mean losses, {step, loss}.
    images: how many images the training had of each source: with real labels, synthetic, with pseudo-labels.
    from_validation: how many of the real labels are those of validation images.
    steps: optimiser steps taken.
    shown: what scikit-learn's classifiers are to learn from, to be held against this one.
    """

    validation_score: float | None
    test_probabilities: NDArray[np.float32]
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    images: dict[Source, int]
    from_validation: int
    steps: int
    shown: Examples


@dataclass(frozen=True)
class Bench:
    """One arm on one replicate: what all its settings share."""

    arm: ArmParams
    data: ArmData
    params: TrainDownstreamParams
    replicate: int
    guess_pool: Callable[[ReplicateData], PoolLabels]

    @cached_property
    def labelled(self) -> Labelled:
        """The real images with labels, which exist even where the arm itself trains on synthetic ones alone."""
        return labelled_images(self.arm, self.data, self.seeds.order)

    @property
    def real(self) -> Labelled | None:
        """Those of them that the arm trains on."""
        return self.labelled if self.arm.real else None

    @cached_property
    def seeds(self) -> Seeds:
        """Shared by all arms of a replicate, so that these are paired."""
        return derive_seeds(self.params.seed, self.replicate)

    def validate(self, model: nn.Module) -> float:
        """Balanced accuracy on `validation`, on which an arm chooses."""
        return balanced_accuracy(predict(model, self.data.seen.validation_images), self.data.seen.validation_labels)


def run_arm(
    arm: ArmParams,
    data: ArmData,
    params: TrainDownstreamParams,
    replicate: int,
    guess_pool: Callable[[ReplicateData], PoolLabels],
) -> list[ArmResult]:
    """Trains the classifier once for each setting of the arm, on one replicate.

    guess_pool: the ensemble's labels of the pool, which others have asked for too where the arm's labels are `train`'s.

    Raises:
        UserError: what `check_data` and `labelled_images` find wrong, a training that diverges.
    """
    check_data(arm, data)
    bench = Bench(arm, data, params, replicate, guess_pool)
    advice = advise(bench)
    return [_run_setting(setting, bench, advice) for setting in arm.settings]


def advise(bench: Bench) -> Advice:
    """What teachers that learn from the arm's own labelled images make of pool and synthetic images."""

    @cache
    def classifier() -> nn.Module:
        return fit([_all_real(bench)], bench, bench.seeds).model

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


def _all_real(bench: Bench) -> Part:
    """Whole batches of labelled real images."""
    return Part("real", bench.labelled.images, bench.labelled.labels, bench.params.classifier.batch_size)


def _guess_of_ensemble(bench: Bench) -> PoolLabels:
    """The ensemble's labels of the pool; validation images that the arm trains on can't choose its members too."""
    seen, real = bench.data.seen, bench.labelled
    if bench.arm.labels == "train":
        return bench.guess_pool(seen)
    held_out = slice(0 if real.from_validation else None)
    budget = replace(
        seen,
        images=real.images,
        labels=real.labels.to(seen.labels.device),
        validation_images=seen.validation_images[held_out],
        validation_labels=seen.validation_labels[held_out],
    )
    return pool.teach(budget, bench.seeds.initialisation)


def _parts(setting: Setting, bench: Bench, advice: Advice) -> list[Part]:
    places, seed = bench.params.classifier.batch_size, bench.seeds.order
    return batch_parts(setting, bench.data, bench.real, places, advice, seed)


def _run_setting(setting: Setting, bench: Bench, advice: Advice) -> ArmResult:
    seeds = bench.seeds
    if isinstance(setting, OtherSeeds):
        seeds = derive_seeds(bench.params.seed + setting.other_seeds, bench.replicate)
    parts = _parts(setting, bench, advice)
    trained = _fit_fixmatch(setting, bench) if isinstance(setting, FixMatch) else fit(parts, bench, seeds)
    from_validation = bench.real.from_validation if bench.real else 0
    images: dict[Source, int] = dict.fromkeys(get_args(Source), 0)
    return ArmResult(
        validation_score=None if from_validation else bench.validate(trained.model),
        test_probabilities=predict(trained.model, bench.data.test_images).numpy(),
        state={name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()},
        history=trained.history,
        images=images | {part.source: len(part.labels) for part in parts},
        from_validation=from_validation,
        steps=bench.params.classifier.steps,
        shown=_shown(parts, bench),
    )


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


def fit(parts: Sequence[Part], bench: Bench, seeds: Seeds) -> Trained:
    """Trains on batches with a fixed number of images of each part."""
    augment = bench.arm.augment
    return train_classifier(
        *_compose(parts, bench, seeds),
        build_policy(augment, bench.params, bench.data.seen.flip_ok),
        build_mixing(augment),
        bench.params.classifier,
        seeds,
        _validator(bench),
    )


def _fit_fixmatch(setting: FixMatch, bench: Bench) -> Trained:
    params, seen, seeds = bench.params, bench.data.seen, bench.seeds
    real, steps = _all_real(bench), params.classifier.steps
    drawn = round(setting.unlabelled_share * real.places)
    pool_labels = torch.zeros(len(seen.unlabelled), dtype=torch.int64)  # unknown: all are drawn alike
    generator = torch.Generator().manual_seed(seeds.order)
    return train_fixmatch(
        *_compose([replace(real, places=real.places - drawn)], bench, seeds),
        seen.unlabelled,
        draw_order(pool_labels, steps * drawn, None, generator).view(steps, drawn),
        build_policy("classic", params, seen.flip_ok),
        build_policy(bench.arm.augment, params, seen.flip_ok),
        params.classifier,
        setting.fixmatch_threshold,
        seeds,
        _validator(bench),
    )


def _validator(bench: Bench) -> Callable[[nn.Module], float] | None:
    """Scores a checkpoint; None where validation labels are trained on, so that nothing can choose."""
    return None if bench.real is not None and bench.real.from_validation else bench.validate


def balanced_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean over the classes that are there of the share predicted right (sklearn's `balanced_accuracy_score`)."""
    labels = labels.cpu()
    right = (probabilities.argmax(dim=1) == labels).double()
    return float(torch.stack([right[labels == label].mean() for label in labels.unique()]).mean())
