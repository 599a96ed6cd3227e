"""Train a class-conditional GAN on a few labelled images and a pool of unlabelled ones."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.gan.networks import Discriminator, Generator, NetworkConfig, build_generator, to_network_range
from stages.gan.objective import discriminator_loss, generator_loss
from stages.gan.params import TrainGanParams
from stages.gan.pseudo_labels import PseudoLabels, estimate_accuracy, guess_labels
from stages.gan.sampling import sample_grid
from stages.plumbing.errors import UserError

# No momentum, as the other player moves (Zhang et al., "Self-Attention GANs", 2019): 0.5 cost 5 points of accuracy.
ADAM_BETAS = (0.0, 0.9)
GRID_COLUMNS = 10
LEAST_SEPARATION = 0.1  # of logits, which the hinge loss drives 2 apart
TensorList = tuple[Tensor, ...] | list[Tensor]
_STATEFUL = ("generator", "discriminator", "average", "generator_optimizer", "discriminator_optimizer")
MEASURES = ("discriminator_loss", "generator_loss", "real_logit", "fake_logit")


@dataclass(frozen=True)
class GanData:
    """What a replicate's GAN may see; images uint8 (N, C, H, W), labels int64 (N,) in 0..classes-1.

    `unlabelled` may be empty. The validation images train nothing: measures of quality are taken on them.
    """

    images: Tensor
    labels: Tensor
    unlabelled: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    classes: int


@dataclass(frozen=True)
class Progress:
    """What a step reports: mean losses and logits since the last report, and sometimes a picture of samples.

    `samples` is uint8 (rows * H, columns * W, C), a row for each class. `images_per_second` counts the real images
    that the discriminator saw; it depends on the clock and belongs in no artifact.
    """

    step: int
    measures: dict[str, float]
    images_per_second: float
    samples: NDArray[np.uint8] | None


@dataclass(frozen=True)
class TrainedGan:
    """The averaged generator and the last discriminator as plain tensors, and numbers about the training.

    `samples`: by step, uint8 (rows * H, columns * W, C), a row for each class.
    """

    config: NetworkConfig
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    history: list[dict[str, float]]
    samples: dict[int, NDArray[np.uint8]]
    quality: dict[str, float]


class Checkpoint(Protocol):
    """Where a training keeps its state, so that a killed one goes on from there."""

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was."""

    def save(self, state: dict[str, Any]) -> None:
        """Keeps the state in place of the one before, whole or not at all."""


@dataclass(frozen=True)
class RealImages:
    """All real images the discriminator learns from, with how far each label is to be trusted, 0..1."""

    images: Tensor
    labels: Tensor
    trust: Tensor


@dataclass
class TrainingState:
    """Everything that changes from step to step."""

    generator: Generator
    discriminator: Discriminator
    average: AveragedModel
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    random: torch.Generator
    sums: Tensor  # of MEASURES since the last report
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    samples: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def snapshot(self) -> dict[str, Any]:
        """All of it as tensors, numbers, lists and dictionaries, which `torch.load` reads with `weights_only`."""
        return {
            **{name: getattr(self, name).state_dict() for name in _STATEFUL},
            "random": self.random.get_state(),
            "sums": self.sums,
            "step": self.step,
            "history": self.history,
            "samples": {step: torch.from_numpy(picture) for step, picture in self.samples.items()},
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to a snapshot; the steps that follow are those that followed it, to the last bit."""
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(snapshot[name])
        self.random.set_state(snapshot["random"])
        self.sums.copy_(snapshot["sums"])
        self.step = snapshot["step"]
        self.history = snapshot["history"]
        self.samples = {step: picture.numpy() for step, picture in snapshot["samples"].items()}

    @property
    def logged_step(self) -> int:
        return int(self.history[-1]["step"]) if self.history else 0


def train(
    data: GanData, params: TrainGanParams, seed: int, report: Callable[[Progress], None], checkpoint: Checkpoint
) -> TrainedGan:
    """Train for params.steps steps, reporting every params.log_every steps and after the last one.

    `seed` alone decides every random number of the training; callers derive it from params.seed and the replicate. The
    state is saved every params.checkpoint_every steps. A training that finds one saved goes on from there and ends in
    the same bytes as one that was never interrupted; the caller sees to it that it belongs to the same data,
    parameters and seed.

    Raises UserError when the labelled images cannot serve (see `guess_labels`, `build_generator`), and when the
    losses are no longer finite.
    """
    pseudo = guess_labels(data.images, data.labels, data.classes, data.unlabelled)
    real = _real_images(data, pseudo)
    state = _start(_network_config(data, params), params, seed)
    if saved := checkpoint.load():
        state.restore(saved)
    started = time.perf_counter()
    while state.step < params.steps:
        _set_learning_rates(state, params)
        state.sums += _train_step(state, real, params.batch_size)
        state.step += 1
        if state.step % params.log_every == 0 or state.step == params.steps:
            steps = state.step - state.logged_step
            measures = _log_measures(state)
            rate = steps * params.batch_size / (time.perf_counter() - started)
            report(Progress(state.step, measures, rate, _samples_if_due(state, params)))
            started = time.perf_counter()
        if state.step % params.checkpoint_every == 0:
            checkpoint.save(state.snapshot())
    state.discriminator.eval()
    return TrainedGan(
        config=state.generator.config,
        generator=_tensors(state.average.module),
        discriminator=_tensors(state.discriminator),
        history=state.history,
        samples=state.samples,
        quality=_quality(state, data, pseudo),
    )


def _train_step(state: TrainingState, real: RealImages, batch_size: int) -> Tensor:
    """Let the discriminator, then the generator, learn from one batch; return MEASURES as a tensor."""
    rows = torch.randint(len(real.images), (batch_size,), generator=state.random)
    labels, trust = real.labels[rows], real.trust[rows]
    latents = torch.randn(batch_size, state.generator.config.latent_dim, generator=state.random)
    # Fakes take the labels and the trust of the real images: neither must tell the two apart.
    fake = state.generator(latents, labels)

    # Real and fake go through the discriminator together: half the calls, and one power iteration.
    images = torch.cat([to_network_range(real.images[rows]), fake.detach()])
    logits = state.discriminator(images, labels.repeat(2), trust.repeat(2))
    real_logits, fake_logits = logits.split(batch_size)
    loss = discriminator_loss(real_logits, fake_logits)
    state.discriminator_optimizer.zero_grad()
    loss.backward()
    state.discriminator_optimizer.step()

    # The same fakes serve the generator; what the discriminator would learn from them is not computed.
    state.discriminator.eval().requires_grad_(False)
    adversarial = generator_loss(state.discriminator(fake, labels, trust))
    state.discriminator.train().requires_grad_(True)
    state.generator_optimizer.zero_grad()
    adversarial.backward()
    state.generator_optimizer.step()
    state.average.update_parameters(state.generator)
    measures = [loss, adversarial, real_logits.mean(), fake_logits.mean()]
    return torch.stack(measures).detach()


def _start(config: NetworkConfig, params: TrainGanParams, seed: int) -> TrainingState:
    first_weights, draws = np.random.SeedSequence(seed).generate_state(2).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first_weights)  # modules draw their first weights from the global generator alone
        generator, discriminator = build_generator(config), Discriminator(config)
    average = AveragedModel(generator, multi_avg_fn=ramped_average(params.ema_decay), use_buffers=True)
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        average=average.eval(),
        generator_optimizer=_adam(generator, params.generator_learning_rate),
        discriminator_optimizer=_adam(discriminator, params.discriminator_learning_rate),
        random=torch.Generator().manual_seed(draws),
        sums=torch.zeros(len(MEASURES)),
    )


def _adam(network: nn.Module, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=ADAM_BETAS, fused=True)


def _set_learning_rates(state: TrainingState, params: TrainGanParams) -> None:
    """Keep the learning rates for half the steps, then lower them to nothing in a straight line."""
    share = min(1.0, 2 * (1 - state.step / params.steps))
    for optimizer, rate in (
        (state.generator_optimizer, params.generator_learning_rate),
        (state.discriminator_optimizer, params.discriminator_learning_rate),
    ):
        optimizer.param_groups[0]["lr"] = rate * share


def ramped_average(decay: float) -> Callable[[TensorList, TensorList, Tensor | int], None]:
    """Return an exponential moving average whose decay grows to `decay` as (1 + n) / (10 + n).

    A constant decay near 1 would keep the untrained weights for thousands of steps (TensorFlow's
    ExponentialMovingAverage has the same ramp).
    """

    def update(average: TensorList, current: TensorList, updates: Tensor | int) -> None:
        n = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, n)

    return update


def _real_images(data: GanData, pseudo: PseudoLabels) -> RealImages:
    return RealImages(
        images=torch.cat([data.images, data.unlabelled]),
        labels=torch.cat([data.labels, pseudo.labels]),
        trust=torch.cat([torch.ones(len(data.labels)), pseudo.confidence]),
    )


def _network_config(data: GanData, params: TrainGanParams) -> NetworkConfig:
    _, channels, height, width_pixels = data.images.shape
    return NetworkConfig(data.classes, channels, height, width_pixels, params.latent_dim, params.width)


def _log_measures(state: TrainingState) -> dict[str, float]:
    """Move the mean measures since the last report into the history."""
    means = state.sums / (state.step - state.logged_step)
    if not means.isfinite().all():
        raise UserError(
            f"the GAN diverged by step {state.step}: a loss is not a finite number; lower "
            "train_gan.generator_learning_rate and train_gan.discriminator_learning_rate"
        )
    measures = dict(zip(MEASURES, means.tolist(), strict=True))
    state.history.append({"step": state.step, **measures})
    state.sums.zero_()
    return measures


def _samples_if_due(state: TrainingState, params: TrainGanParams) -> NDArray[np.uint8] | None:
    due = state.step % params.samples_every < params.log_every or state.step == params.steps
    if not due:
        return None
    state.samples[state.step] = sample_grid(cast(Generator, state.average.module), GRID_COLUMNS, params.seed)
    return state.samples[state.step]


@torch.no_grad()
def _quality(state: TrainingState, data: GanData, pseudo: PseudoLabels) -> dict[str, float]:
    """Return what can be said cheaply about a finished GAN; what needs images that are not there is left out.

    `overfitting` is r_v of Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020),
    eq. 1: near 0 where the discriminator takes fresh images for real, near 1 where it takes them for fakes. It is left
    out where the discriminator hardly tells seen images from fakes: there is no scale to measure on.
    """
    quality = {"pool_share": len(data.unlabelled) / (len(data.images) + len(data.unlabelled))}
    if len(data.unlabelled):
        quality["pseudo_label_confidence"] = float(pseudo.confidence.mean())
    if len(data.validation_images) == 0:
        return quality
    if len(data.unlabelled):
        quality["pseudo_label_accuracy"] = estimate_accuracy(
            data.images, data.labels, data.classes, data.unlabelled, data.validation_images, data.validation_labels
        )
    seen = _mean_logit(state.discriminator, data.images, data.labels)
    fresh = _mean_logit(state.discriminator, data.validation_images, data.validation_labels)
    told_apart = seen - state.history[-1]["fake_logit"]
    if told_apart > LEAST_SEPARATION:
        quality["overfitting"] = (seen - fresh) / told_apart
    return quality


def _mean_logit(discriminator: Discriminator, images: Tensor, labels: Tensor) -> float:
    return float(discriminator(to_network_range(images), labels, torch.ones(len(labels))).mean())


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
