"""Arms: each way of training a classifier, one replicate and one setting at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.downstream.arm_data import ArmData, Labelled, check_data, labelled_images
from stages.downstream.augment import build_policy
from stages.downstream.batches import Advice, Guess, Part, Source, Teacher, batch_parts, compose
from stages.downstream.classifiers import to_input
from stages.downstream.fixmatch import train_fixmatch
from stages.downstream.mixing import build_mixing
from stages.downstream.params import ArmParams, FixMatch, OtherSeeds, Setting, TrainDownstreamParams
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, Seeds, Trained, derive_seeds, predict, train_classifier
from stages.labelling import pool
from stages.labelling.data import ReplicateData


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
        return balanced_accuracy(predict(model, self.data.validation_images), self.data.validation_labels)


def run_arm(arm: ArmParams, data: ArmData, params: TrainDownstreamParams, replicate: int) -> list[ArmResult]:
    """Trains the classifier once for each setting of the arm, on one replicate.

    Raises:
        UserError: what `check_data` and `labelled_images` find wrong, a training that diverges.
    """
    check_data(arm, data)
    bench = Bench(arm, data, params, replicate)
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
            seen, seed = _pool_data(bench), bench.seeds.initialisation
            taught = pool.teach(seen, seed)
            return Guess(taught.labels.cpu(), taught.trust.cpu())
        confidence, labels = predict(classifier(), bench.data.unlabelled_images).max(dim=1)
        return Guess(labels, confidence)

    @cache
    def own_confidence() -> Tensor:
        synthetic = bench.data.synthetic
        assert synthetic is not None  # by check_data
        return predict(classifier(), synthetic.images).gather(1, synthetic.labels.cpu().unsqueeze(1)).squeeze(1)

    return Advice(guess_pool, own_confidence)


def _all_real(bench: Bench) -> Part:
    """Whole batches of labelled real images."""
    return Part("real", bench.labelled.images, bench.labelled.labels, bench.params.classifier.batch_size)


def _pool_data(bench: Bench) -> ReplicateData:
    """What the ensemble sees; validation images that the arm trains on can't choose among its members too."""
    data, real = bench.data, bench.labelled
    held_out = slice(0 if real.from_validation else None)
    return ReplicateData(
        real.images,
        real.labels,
        data.unlabelled_images,
        data.validation_images[held_out],
        data.validation_labels[held_out],
        data.classes,
        data.flip_ok,
    )


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
    params, data, seeds = bench.params, bench.data, bench.seeds
    examples, order = compose(parts, bench.arm, params.classifier.steps, data.classes, seeds.order)
    rows = order.flatten()[: params.scikit_learn.images].to(examples.images.device)
    augment = build_policy(bench.arm.augment, params, data.flip_ok)
    generator = torch.Generator(examples.images.device).manual_seed(seeds.augmentation)
    images = augment(to_input(examples.images[rows]), generator).add(1).mul(127.5).round().to(torch.uint8)
    return Examples(images, examples.labels[rows], examples.weights[rows])


def fit(parts: Sequence[Part], bench: Bench, seeds: Seeds) -> Trained:
    """Trains on batches with a fixed number of images of each part."""
    arm, params, data = bench.arm, bench.params, bench.data
    examples, order = compose(parts, arm, params.classifier.steps, data.classes, seeds.order)
    return train_classifier(
        examples,
        order,
        data.classes,
        build_policy(arm.augment, params, data.flip_ok),
        build_mixing(arm.augment),
        params.classifier,
        seeds,
        _validator(bench),
    )


def _fit_fixmatch(setting: FixMatch, bench: Bench) -> Trained:
    arm, params, data, seeds = bench.arm, bench.params, bench.data, bench.seeds
    real, steps = _all_real(bench), params.classifier.steps
    drawn = round(setting.unlabelled_share * real.places)
    labelled = Part("real", real.images, real.labels, real.places - drawn)
    examples, order = compose([labelled], arm, steps, data.classes, seeds.order)
    pool_labels = torch.zeros(len(data.unlabelled_images), dtype=torch.int64)  # unknown: all are drawn alike
    generator = torch.Generator().manual_seed(seeds.order)
    unlabelled_order = draw_order(pool_labels, steps * drawn, None, generator).view(steps, drawn)
    return train_fixmatch(
        examples,
        order,
        data.unlabelled_images,
        unlabelled_order,
        data.classes,
        build_policy("classic", params, data.flip_ok),
        build_policy(arm.augment, params, data.flip_ok),
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
    right = (probabilities.argmax(dim=1) == labels.cpu()).double()
    return float(torch.stack([right[labels.cpu() == label].mean() for label in labels.cpu().unique()]).mean())
