"""What the GAN's training costs beside its bare passes: `python -m benchmarks.gan_speed`.

The bare loop takes the same networks through the same forward and backward passes and both optimisers' steps, on one
batch that stays. The training adds drawing batches, augmentation (kept at its limit), the moving average, logs, sample
grids and checkpoints, as often as by default. One process, of one thread, runs a round of the training, then as many
steps of the bare loop, and so on; a second time two such processes take every round together. Seconds are the process's
own, so that a busy machine changes little. What looking at samples takes of a default GAN's time is reported too, and
labelling the pool, which is done once for all generators. `benchmarks.gpu` is for GPUs.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from benchmarks import parameters
from stages.generators import quality, training
from stages.generators.adversarial import ConditionalDiscriminator
from stages.generators.interface import Batch, Draws, LearningGenerator
from stages.generators.objective import hinge
from stages.generators.params import KINDS, ConditionalParams
from stages.generators.registry import kind
from stages.generators.state import TrainingState, start
from stages.imaging.pixels import to_network_range
from stages.labelling import pool
from stages.labelling.data import ReplicateData, TrustedImages
from stages.plumbing import progress
from stages.plumbing.workdir import CheckpointFile

CLASSES = 10
LABELS = 50  # of train, and as many of validation; the other half of the digits is the pool
SEED = 0
PATIENCE = 600  # seconds that one process waits for the other


@dataclass(frozen=True)
class Setting:
    """Images, and a kind with fields of its section. `periods`: how often a checkpoint falls due while measuring."""

    size: int
    channels: int
    fields: dict[str, Any]
    kind: str = "projection"
    periods: int = 1

    def params(self, **changes: object) -> ConditionalParams:
        """The section of the default run's GAN but for the kind, its fields and `changes`."""
        default = parameters.load().train_gan.generators["gan"].model_dump()
        schema, _ = KINDS[self.kind]
        values = default | self.fields | changes | {"kind": self.kind}
        made = schema.model_validate({name: values[name] for name in schema.model_fields})
        assert isinstance(made, ConditionalParams)
        return made

    def state(self, params: ConditionalParams) -> TrainingState:
        """Untrained networks and their optimisers."""
        data, chosen = self.data(), cast(type[LearningGenerator], kind(self.kind))
        real = TrustedImages(data.images, data.labels, torch.ones(len(data.labels)))
        return start(chosen, *chosen.study(data, real, params, SEED), params, SEED, torch.device("cpu"))

    def data(self) -> ReplicateData:
        """The digits at this size: LABELS to train on, LABELS to choose by, and a pool."""
        return digits(self.size, self.channels)


def digits(size: int, channels: int) -> ReplicateData:
    """Half of scikit-learn's digits, enlarged: LABELS to train on, LABELS to choose by, and a pool."""
    found = load_digits()
    pixels = torch.from_numpy(found.images / 16 * 255).float()[:, None]
    pixels = interpolate(pixels, size, mode="bilinear").expand(-1, channels, -1, -1)
    images, labels = pixels.byte().contiguous(), torch.from_numpy(found.target).long()
    train, validation = slice(LABELS), slice(LABELS, 2 * LABELS)
    return ReplicateData(
        images=images[train],
        labels=labels[train],
        unlabelled=images[2 * LABELS : len(images) // 2],
        validation_images=images[validation],
        validation_labels=labels[validation],
        classes=CLASSES,
        flip_ok=False,
    )


_REFINING = {"width": 16, "latent_dim": 512, "batch_size": 32, "drawn_size": 32}
SETTINGS = {
    "dense 8x8x1": Setting(8, 1, {"layers": "dense", "width": 256}, periods=2),
    "dense 16x16x1": Setting(16, 1, {"layers": "dense", "width": 512}),
    "dense 32x32x3": Setting(32, 3, {"layers": "dense", "width": 512}),
    "convolutional 32x32x3": Setting(32, 3, {"layers": "convolutional", "width": 64}),
    "refined_gaussian 32x32x3": Setting(32, 3, _REFINING, "refined_gaussian"),
}
DEFAULT = "dense 8x8x1"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    options = arguments.parse_args()
    print(f"{'real images/s of CPU time':<32}{'training':>9}{'bare':>8}{'passes':>8}{'ratio':>7}{'of passes':>11}")
    ratios: dict[str, Any] = {}
    for name in options.settings:
        setting = SETTINGS[name]
        ratios[name] = _row(name, setting)
        ratios[f"{name}, not augmented"] = _row(f"{name}, not augmented", setting, limit=0.0)
        ratios[f"{name}, two at once"] = _row(f"{name}, two at once", setting, processes=2)
    if DEFAULT in options.settings:
        ratios["once"] = _print_once()
    print(json.dumps(ratios))


# --- On the CPU


def _row(name: str, setting: Setting, limit: float = 0.8, processes: int = 1) -> float:
    """Prints images per second of a process's time; returns the ratio of the training's to the bare loop's."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, context) as workers:
        barrier = manager.Barrier(processes, timeout=PATIENCE)
        jobs = [workers.submit(_measure, setting, limit, barrier) for _ in range(processes)]
        periods = np.concatenate([job.result() for job in jobs])
    train, bare, passes = np.median(periods, axis=0)
    of_bare, of_passes = np.median(periods[:, 1:] / periods[:, :1], axis=0)
    print(f"{name:<32}{1 / train:>9.0f}{1 / bare:>8.0f}{1 / passes:>8.0f}{of_bare:>7.2f}{of_passes:>11.2f}", flush=True)
    return round(float(of_bare), 3)


def _measure(setting: Setting, limit: float, barrier: Barrier) -> np.ndarray[Any, Any]:
    """Seconds per real image, (periods, 3), of the training, the bare loop, and the bare loop without optimisers."""
    torch.set_num_threads(1)
    default = setting.params()
    per_period = default.checkpoint_every // default.log_every
    # One round to warm up, and one to end with, for the last step looks at samples though none are due.
    steps = (2 + per_period * setting.periods) * default.log_every
    augment = {"policies": default.augment.policies, "limit": limit}
    params = setting.params(steps=steps, augment=augment)
    data = setting.data()
    states = [_idle_state(setting, params) for _ in range(2)]
    batch = batch_of(data, params.batch_size, states[0].generator.latent_dim)
    loops = [partial(_bare_step, state, batch, learn) for state, learn in zip(states, (True, False), strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        report = _Rounds(Path(folder), loops, params.log_every, barrier)
        _train(data, pool.teach(data, SEED).final, params, report)
    measured = np.array(report.seconds)[1:-1].reshape(setting.periods, per_period, -1)
    return cast(np.ndarray[Any, Any], measured.sum(axis=1) / (params.checkpoint_every * params.batch_size))


def _train(data: ReplicateData, guessed: pool.PoolLabels, params: ConditionalParams, report: training.Report) -> None:
    """The whole training, with a checkpoint on disk and augmentation that rises to its limit and stays there."""
    every_signal_is_above = patch.object(training, "TARGET_SIGN", -2.0)
    with tempfile.TemporaryDirectory() as folder, every_signal_is_above:
        training.train(data, guessed, params, SEED, report, CheckpointFile(Path(folder) / "state.pt"))


@dataclass
class _Rounds:
    """The report of a training, which ends a round of it, logs it, and runs as many steps of each other loop.

    `seconds`: of each round, of the training and of the other loops. Processes with one `barrier` do the same at once.
    """

    folder: Path
    loops: Sequence[Callable[[], None]]
    steps: int
    barrier: Barrier
    seconds: list[list[float]] = field(default_factory=list)
    started: float = 0.0

    def __call__(self, now: training.Progress) -> None:
        picture = None if now.samples is None else np.moveaxis(now.samples, -1, 0)
        progress.say(self.folder, now.step, now.measures, picture)
        seconds = [time.process_time() - self.started]
        for loop in self.loops:
            self.barrier.wait()
            started = time.process_time()
            for _ in range(self.steps):
                loop()
            seconds.append(time.process_time() - started)
        self.seconds.append(seconds)
        self.barrier.wait()
        self.started = time.process_time()


# --- The bare loop


def _idle_state(setting: Setting, params: ConditionalParams) -> TrainingState:
    """Players that learn next to nothing: a batch learnt by heart has gradients of 0, and what Adam then keeps falls
    below the smallest normal float, where arithmetic is slow."""
    idle = {"generator_learning_rate": 1e-9, "discriminator_learning_rate": 1e-9}
    return setting.state(params.model_copy(update=idle))


def batch_of(data: ReplicateData, count: int, latent_dim: int) -> Batch:
    """The first labelled images, over and over, and random draws of as many."""
    device = data.images.device
    rows = torch.arange(count, device=device) % len(data.images)
    latents = torch.randn(count, latent_dim, device=device)
    draws = Draws(labels=data.labels[rows], latents=latents, index=torch.zeros_like(rows))
    return Batch(to_network_range(data.images[rows]), data.labels[rows], torch.ones(count, device=device), draws)


def _bare_step(state: TrainingState, batch: Batch, learn: bool) -> None:
    """Both players' passes, as many as the training takes, and with `learn` their optimisers' steps."""
    players = state.generator.players()
    generator, discriminator = players["generator"], cast(ConditionalDiscriminator, players["discriminator"])
    fake = generator(batch.draws)
    features = discriminator.features(torch.cat([batch.real, fake.detach()]), None)
    real_logits, fake_logits = discriminator.logits(features, batch.labels.repeat(2), batch.trust.repeat(2)).chunk(2)
    discriminator.zero_grad()
    discriminator.together(hinge(real_logits, fake_logits)).mean().backward()
    if learn:
        state.optimisers["discriminator"].step()

    discriminator.eval().requires_grad_(False)
    generator.zero_grad()
    logits = discriminator.logits(discriminator.features(fake, None), batch.labels, batch.trust)
    (-discriminator.together(logits).mean()).backward()
    if learn:
        state.optimisers["generator"].step()
    discriminator.train().requires_grad_(True)


# --- What is done once


def _print_once() -> float:
    """Prints the seconds of a default GAN; returns the share of them that is not spent on steps."""
    torch.set_num_threads(1)
    setting = SETTINGS[DEFAULT]
    params, data = setting.params(), setting.data()
    state, real = setting.state(params), torch.cat([data.images, data.unlabelled])
    judge = quality.Judge(data, real, pool.learn(data, SEED), SEED)
    started = time.process_time()
    guessed = pool.teach(data, SEED).final
    labelled = time.process_time()
    for _ in range(params.steps // params.samples_every):
        judge.measure(state.average.module, state.generator)
    judged = time.process_time()
    _train(data, guessed, params, lambda _: None)
    whole, judging = time.process_time() - judged, judged - labelled
    print(
        f"a default GAN ({params.steps} steps): {whole:.1f} s, of which {judging:.1f} s to look at samples: "
        f"{judging / whole:.0%}; {labelled - started:.1f} s to label the pool, once for all generators"
    )
    return round(judging / whole, 3)


if __name__ == "__main__":
    main()
