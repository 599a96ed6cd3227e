"""Training a classifier on a set that lives on the device as tensors, and asking it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from stages.downstream.augment import Policy
from stages.downstream.classifiers import build_classifier
from stages.downstream.domains import Domains, in_passes
from stages.downstream.mixing import Mixing
from stages.downstream.params import ClassifierParams
from stages.imaging.networks import in_batches, moving_average
from stages.imaging.pixels import to_network_range
from stages.plumbing.errors import UserError

HISTORY_POINTS = 20
Validate = Callable[[nn.Module], float]  # scores a classifier in evaluation mode, the higher the better
WARM_UP = 0.2  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class Examples:
    """What a classifier learns from, all on one device.

    Images uint8 (N, C, H, W), the probability of each class float32 (N, K), which is 1 or 0 where a label is given, and
    weights float32 (N,), at least 0, of each one's loss.
    """

    images: Tensor
    probabilities: Tensor
    weights: Tensor

    @property
    def labels(self) -> Tensor:
        """The likeliest class of each, int64 (N,)."""
        return self.probabilities.argmax(dim=1)


@dataclass(frozen=True)
class Seeds:
    """Independent streams of one training run, so that arms of a replicate share what they can."""

    initialisation: int
    order: int
    augmentation: int


@dataclass(frozen=True)
class Learned:
    """The loss of a step, a tensor (), and what else its history is to have of it, tensors () by name."""

    loss: Tensor
    measures: Mapping[str, Tensor] = field(default_factory=dict)

    def detached(self) -> "Learned":
        """The figures alone, without what led to them."""
        return Learned(self.loss.detach(), {name: each.detach() for name, each in self.measures.items()})


@dataclass(frozen=True)
class Trained:
    """A trained classifier, in evaluation mode, its history (see `summarise`), and the step after which it was kept."""

    model: nn.Sequential
    history: list[dict[str, float]]
    step: int


def derive_seeds(seed: int, replicate: int) -> Seeds:
    """The streams of replicate `replicate`."""
    state = np.random.SeedSequence((seed, replicate)).generate_state(3, dtype=np.uint32)
    return Seeds(*(int(value) for value in state))


def train_classifier(
    examples: Examples,
    order: Tensor,
    augment: Policy,
    mixing: Mixing | None,
    params: ClassifierParams,
    seeds: Seeds,
    validate: Validate | None = None,
    stop: int | None = None,
    domains: Domains | None = None,
    start: nn.Sequential | None = None,
) -> Trained:
    """Trains on the examples in the order given, on their device; returns the last weights, unless `params` say else.

    With `weight_averaging`, it is their moving average that is validated and returned. With several `checkpoints`, it
    is the one that `validate` scores highest, of equal ones the last; without `validate` nothing can choose.
    With `stop` the training ends early, at what a whole one has after so many steps.

    Args:
        examples: the set.
        order: int64 (steps, batch), indices into the examples; its rows are the batches.
        augment: policy applied to every batch.
        mixing: applied after it, to images and targets; None leaves both as they are.
        params: the classifier and its training.
        seeds: streams for initial weights and augmentation.
        validate: looks at checkpoints.
        stop: the step to end after, counted from 1; None for all of them.
        domains: which images of a batch pass apart; batch norm then has the target's statistics wherever the classifier
            is validated, and in the end. None for one pass.
        start: the classifier that learns; None for one with random weights.

    Raises:
        UserError: the training diverged, or the images are too small for the classifier.
    """
    model = start or untrained(examples, params, seeds)
    average = moving_average(model, params.weight_averaging) if params.weight_averaging else None
    batches = _batches(examples, order, augment, mixing, params.label_smoothing, seeds.augmentation)

    def learn(_step: int) -> Learned:
        images, targets = next(batches)
        return Learned(functional.cross_entropy(in_passes(model, images, domains), targets))

    return descend(model, average, learn, params, len(order), validate, stop, domains)


def descend(
    model: nn.Sequential,
    average: AveragedModel | None,
    learn: Callable[[int], Learned],
    params: ClassifierParams,
    steps: int,
    validate: Validate | None,
    stop: int | None,
    domains: Domains | None,
    beside: Sequence[nn.Module] = (),
) -> Trained:
    """The loop of all trainings: descends the loss that `learn` has for each step, counted from 0.

    average: updated after each step, and what is validated and returned instead of the model. validate, stop, domains:
    as in `train_classifier`. beside: networks that learn with the model and are then forgotten.

    Raises:
        UserError: the training diverged.
    """
    optimizer, schedule = make_optimizer(nn.ModuleList([model, *beside]), params, steps)
    adapt = None if domains is None else domains.adapt
    choice = Choice(model if average is None else average.module, validate, steps, params.checkpoints, adapt)
    taken = list[Learned]()
    for step in range(steps if stop is None else min(stop, steps)):
        learned = learn(step)
        optimizer.zero_grad()
        learned.loss.backward()
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update_parameters(model)
        choice.look(step + 1)
        taken.append(learned.detached())
    losses = torch.stack([each.loss for each in taken])
    check_converged(losses, params)
    model.load_state_dict(choice.weights)
    if adapt is not None:
        adapt(model)
    measures = {name: torch.stack([each.measures[name] for each in taken]) for name in taken[0].measures}
    return Trained(model.eval(), summarise(losses, choice.scores, measures), choice.kept or len(losses))


def _batches(
    examples: Examples,
    order: Tensor,
    augment: Policy,
    mixing: Mixing | None,
    label_smoothing: float,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """What each step learns: augmented images float32 (batch, C, H, W) and their targets float32 (batch, K)."""
    device = examples.images.device
    generator = Generator(device).manual_seed(seed)
    targets = targets_of(examples, label_smoothing)
    for rows in order.to(device):
        images = augment(to_network_range(examples.images[rows]), generator)
        yield (images, targets[rows]) if mixing is None else mixing(images, targets[rows], generator)


def untrained(examples: Examples, params: ClassifierParams, seeds: Seeds) -> nn.Sequential:
    """A classifier for such examples, on their device."""
    (channels, size), classes = examples.images.shape[1:3], examples.probabilities.shape[1]
    model = build_classifier(params.kind, channels, size, classes, params.width, seeds.initialisation)
    return model.to(examples.images.device)


def targets_of(examples: Examples, label_smoothing: float) -> Tensor:
    """Targets float32 (N, K) whose cross-entropy is that of the smoothed probabilities, times each image's weight.

    Each row sums to its weight: 1 - `label_smoothing` of it lies where the probabilities have it, the rest is spread
    over all classes (Szegedy et al. 2016, section 7).
    """
    given = examples.probabilities
    smoothed = given.mul(1 - label_smoothing).add_(label_smoothing / given.shape[1])
    return smoothed.mul_(examples.weights.unsqueeze(1))


def make_optimizer(model: nn.Module, params: ClassifierParams, steps: int) -> tuple[torch.optim.AdamW, OneCycleLR]:
    """AdamW with a one-cycle learning rate (Smith & Topin 2018, arXiv:1708.07120), to be stepped `steps` times."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
    )
    return optimizer, OneCycleLR(optimizer, params.learning_rate, total_steps=steps + 1, pct_start=WARM_UP)


class Choice:
    """Validates a model at evenly spaced steps, the last one among them, and keeps its best weights.

    model: what is validated, trained elsewhere. checkpoints: how many; none is looked at where there is but one, or
    no `validate`, so that the last weights are kept. adapt: what the model goes through before it is validated.
    kept: the step of the best weights, None where none was looked at.
    """

    def __init__(
        self,
        model: nn.Module,
        validate: Validate | None,
        steps: int,
        checkpoints: int,
        adapt: Callable[[nn.Module], None] | None = None,
    ) -> None:
        self._model, self._validate, self._adapt = model, validate, adapt
        self._steps = {-(-steps * i // checkpoints) for i in range(1, checkpoints + 1)} if checkpoints > 1 else set()
        self.scores: dict[int, float] = {}
        self.kept: int | None = None
        self.weights = model.state_dict()  # the model's own tensors, which change with it until a copy is kept

    def look(self, step: int) -> None:
        """Validates where this is due after step `step`, counted from 1; of equal scores the later one is kept."""
        if self._validate is None or step not in self._steps:
            return
        training = self._model.training
        if self._adapt is not None:
            self._adapt(self._model)
        self.scores[step] = self._validate(self._model.eval())
        self._model.train(training)
        if self.scores[step] == max(self.scores.values()):
            self.kept = step
            self.weights = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}


def check_converged(losses: Tensor, params: ClassifierParams) -> None:
    """Whether all losses (steps,) are finite; else a UserError says what to do."""
    lost = (~losses.isfinite()).nonzero()
    if len(lost):
        raise UserError(
            f"the classifier's training diverged: its loss is no number from step {int(lost[0]) + 1} of {len(losses)} "
            f"on; lower train_downstream.classifier.learning_rate, which is {params.learning_rate:g}"
        )


def summarise(
    losses: Tensor, scores: Mapping[int, float], measures: Mapping[str, Tensor] | None = None
) -> list[dict[str, float]]:
    """The history of a training, in the order of its steps: {step, loss} and {step, validation_score}, or both in one.

    losses: (steps,), of which there is the mean over each of at most HISTORY_POINTS equal stretches, at the step at
    which the stretch ends. scores: by the step after which they were measured, counted from 1. measures: likewise of
    (steps,) each, which stand beside the loss.
    """
    stretch = -(-len(losses) // HISTORY_POINTS)
    curves = {"loss": losses, **(measures or {})}
    records: dict[int, dict[str, float]] = {}
    for part in torch.arange(len(losses)).split(stretch):
        step = int(part[-1]) + 1
        records[step] = {"step": step} | {name: float(curve[part].mean()) for name, curve in curves.items()}
    for step, score in scores.items():
        records.setdefault(step, {"step": step})["validation_score"] = score
    return [records[step] for step in sorted(records)]


def features(model: nn.Sequential, images: Tensor) -> Tensor:
    """What the last layer of a classifier reads, float32 (N, F) on the CPU, of uint8 images (N, C, H, W)."""
    return in_batches(model.eval()[:-1], images).cpu()
