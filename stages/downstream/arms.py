"""Arms: each way of training a classifier, one replicate at a time.

First the settings are tried: trained on the labels of `train`, scored on those of `validation`. The one that served
best is then trained once more, on all labels. An arm that has nothing to choose is trained once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.downstream.arm_data import ArmData, check_data
from stages.downstream.batches import Advice, Guess, Part, Source, batch_parts, real_parts
from stages.downstream.fitting import Bench, GuessPool, fit, fit_setting, shown
from stages.downstream.params import ArmParams, FixMatch, PseudoLabels, Setting, Synthetic, TrainDownstreamParams
from stages.downstream.training import Examples
from stages.imaging.networks import predict
from stages.labelling import pool
from stages.labelling.pool import PoolLabels


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
    steps: optimiser steps of a whole training, the same for all arms but those whose head on a backbone is solved for.
    shown: what scikit-learn's classifiers are to learn from, to be held against this one.
    """

    test_probabilities: NDArray[np.float32]
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    images: dict[Source, int]
    steps: int
    shown: Examples


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
    fitted = (fit_setting(each, _parts(each, bench, advice), bench, bench.validate) for each in arm.settings)
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
    trained = fit_setting(setting, parts, bench, stop=stop)
    looks = shown(parts, bench, params.scikit_learn.images)
    return ArmResult(
        test_probabilities=predict(trained.model, data.test_images).numpy(),
        state={name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()},
        history=trained.history,
        images=_counted(parts, bench),
        steps=params.classifier.steps if arm.backbone is None else trained.step,
        shown=Examples(*(each.cpu() for each in (looks.images, looks.probabilities, looks.weights))),
    )


def _counted(parts: Sequence[Part], bench: Bench) -> dict[Source, int]:
    """Images of each source; a real one counts once, in however many parts it is."""
    counts = {source: sum(len(part.labels) for part in parts if part.source == source) for source in get_args(Source)}
    return counts | {"real": len(bench.labelled.labels) if counts["real"] else 0}


def advise(bench: Bench) -> Advice:
    """What teachers that learn from the arm's own labelled images make of pool and synthetic images.

    A classifier that teaches is the end of its training, whatever checkpoints there are; settings that differ in their
    rounds share the earlier ones.
    """

    @cache
    def classifier() -> nn.Module:
        return fit(real_parts(bench.labelled, bench.params.classifier.batch_size), bench, bench.seeds).model

    def trained(earlier: PseudoLabels | FixMatch | Synthetic) -> nn.Module:
        return fit_setting(earlier, _parts(earlier, bench, advice), bench).model

    @cache
    def guess_pool(setting: PseudoLabels | FixMatch | Synthetic) -> Guess:
        match setting:
            case PseudoLabels(rounds=1, teacher="ensemble"):
                taught = _guess_of_ensemble(bench)
                return Guess(taught.labels.cpu(), taught.trust.cpu())
            case PseudoLabels(rounds=1):
                teacher = classifier()
            case PseudoLabels():
                teacher = trained(setting.model_copy(update={"rounds": setting.rounds - 1}))
            case FixMatch() | Synthetic():
                teacher = trained(setting.model_copy(update={"more_rounds": setting.more_rounds - 1}))
        confidence, labels = predict(teacher, seen.unlabelled).max(dim=1)
        return Guess(labels, confidence)

    @cache
    def own_confidence() -> Tensor:
        synthetic = bench.data.synthetic
        assert synthetic is not None  # by check_data
        return predict(classifier(), synthetic.images).gather(1, synthetic.labels.unsqueeze(1)).squeeze(1)

    seen, advice = bench.data.seen, Advice(guess_pool, own_confidence)
    return advice


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
        from_source=None,  # not in the order of their domains, for which the teachers don't ask
    )
    return pool.teach(budget, bench.seeds.initialisation).final


def _parts(setting: Setting, bench: Bench, advice: Advice) -> list[Part]:
    places, seed = bench.params.classifier.batch_size, bench.seeds.order
    return batch_parts(setting, bench.data, bench.real, places, advice, seed)
