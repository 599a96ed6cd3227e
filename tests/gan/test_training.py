import io
import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stages.gan.params import TrainGanParams
from stages.gan.sampling import generate, load_generator
from stages.gan.training import GanData, Progress, TrainedGan, ramped_average, train
from stages.plumbing.errors import UserError

CLASSES = 3


def toy_images(each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes of 8x8 images: a bright band at the top, in the middle or at the bottom."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(each)
    images = torch.randint(0, 60, (len(labels), 1, 8, 8), generator=random)
    for row, label in enumerate(labels.tolist()):
        images[row, 0, 3 * label : 3 * label + 2] += 180
    return images.to(torch.uint8), labels


def toy_data(pool: int) -> GanData:
    unlabelled, _ = toy_images(pool, seed=1)
    return GanData(*toy_images(5, seed=0), unlabelled, *toy_images(5, seed=2), CLASSES)


def params(**changes: float) -> TrainGanParams:
    default = {
        "seed": 0,
        "steps": 30,
        "batch_size": 32,
        "latent_dim": 8,
        "width": 64,
        "generator_learning_rate": 1e-3,
        "discriminator_learning_rate": 1e-3,
        "ema_decay": 0.99,
        "log_every": 20,
        "samples_every": 20,
        "checkpoint_every": 1000,
    }
    return TrainGanParams.model_validate(default | changes)


def ignore(_: Progress) -> None:
    """Report nothing."""


class Memory:
    """A checkpoint as it comes back from a file."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def load(self) -> dict[str, Any] | None:
        return None if self.content is None else torch.load(io.BytesIO(self.content), weights_only=True)

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.content = buffer.getvalue()


def class_mean_error(gan: TrainedGan) -> float:
    """Mean distance, in grey levels, of generated class means from real ones."""
    images, labels = toy_images(50, seed=3)
    samples = generate(load_generator(gan.generator, gan.config), [100] * CLASSES, 0, 0, 1.0)
    made = torch.from_numpy(samples.images).float()
    errors = [
        (made[samples.labels == label].mean(0) - images[labels == label].float().mean(0)).abs().mean()
        for label in range(CLASSES)
    ]
    return float(torch.stack(errors).mean())


@pytest.mark.parametrize("pool", [0, 20])
def test_training_brings_the_class_means_to_the_real_ones(pool: int) -> None:
    untrained = class_mean_error(train(toy_data(pool), params(steps=1), 0, ignore, Memory()))
    trained = class_mean_error(train(toy_data(pool), params(steps=250), 0, ignore, Memory()))
    assert trained < 0.3 * untrained


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    one, again, other = (train(toy_data(10), params(), seed, ignore, Memory()) for seed in (7, 7, 8))
    for ours, theirs in ((one.generator, again.generator), (one.discriminator, again.discriminator)):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert one.history == again.history
    assert one.quality == again.quality
    assert not torch.equal(one.generator["output.weight"], other.generator["output.weight"])


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    train(toy_data(0), params(steps=2), 0, ignore, Memory())
    assert torch.equal(before, torch.random.get_rng_state())


def test_reports_come_at_the_stated_steps_and_after_the_last() -> None:
    reports: list[Progress] = []
    gan = train(toy_data(0), params(steps=50, log_every=10, samples_every=20), 0, reports.append, Memory())
    assert [report.step for report in reports] == [10, 20, 30, 40, 50]
    assert [report.samples is not None for report in reports] == [False, True, False, True, True]
    assert gan.history == [{"step": report.step, **report.measures} for report in reports]
    assert all(report.images_per_second > 0 for report in reports)
    assert all(math.isfinite(value) for record in gan.history for value in record.values())


def test_reporting_more_often_changes_no_weight() -> None:
    seldom, often = (train(toy_data(5), params(log_every=n), 0, ignore, Memory()).generator for n in (30, 1))
    assert all(torch.equal(seldom[name], often[name]) for name in seldom)


def test_the_average_follows_its_recurrence_in_weights_and_buffers() -> None:
    network = nn.BatchNorm1d(4)
    average = AveragedModel(network, multi_avg_fn=ramped_average(0.6), use_buffers=True)
    expected = deepcopy(network.state_dict())
    for update in range(8):
        with torch.no_grad():
            network.weight.normal_()
        network(torch.randn(16, 4))
        decay = 0.0 if update == 0 else min(0.6, (1 + update) / (10 + update))
        for name in ("weight", "running_mean", "running_var"):
            expected[name] = decay * expected[name] + (1 - decay) * network.state_dict()[name]
        average.update_parameters(network)
    for name in ("weight", "running_mean", "running_var"):
        assert torch.allclose(average.module.state_dict()[name], expected[name], atol=1e-6)


def test_validation_images_train_nothing() -> None:
    data = toy_data(10)
    other = GanData(data.images, data.labels, data.unlabelled, *toy_images(3, seed=9), CLASSES)
    ours, theirs = (train(each, params(steps=5), 0, ignore, Memory()) for each in (data, other))
    assert all(torch.equal(ours.generator[name], theirs.generator[name]) for name in ours.generator)


def test_quality_counts_the_pool_and_the_trust_in_it() -> None:
    quality = train(toy_data(20), params(), 0, ignore, Memory()).quality
    assert quality["pool_share"] == pytest.approx(60 / 75)
    assert quality["pseudo_label_accuracy"] > 0.9
    assert "pseudo_label_accuracy" not in train(toy_data(0), params(), 0, ignore, Memory()).quality


def test_overfitting_is_a_share_of_what_the_discriminator_tells_apart() -> None:
    early = train(toy_data(0), params(steps=50), 0, ignore, Memory()).quality
    assert abs(early["overfitting"]) < 0.3
    for steps in (1, 300):  # not yet, and no longer, because the generator has caught up
        assert "overfitting" not in train(toy_data(0), params(steps=steps), 0, ignore, Memory()).quality


def test_divergence_names_the_step_and_what_to_lower() -> None:
    endless = params().model_copy(update={"generator_learning_rate": float("inf")})
    with pytest.raises(UserError, match=r"diverged by step 20.*discriminator_learning_rate"):
        train(toy_data(0), endless, 0, ignore, Memory())


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 1}, {"ema_decay": 1.0}, {"width": 4}, {"generator_learning_rate": 0}]
)
def test_wrong_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        params(**wrong)


@pytest.mark.parametrize("killed_at", [1, 9, 10, 25, 29])
def test_a_killed_training_goes_on_from_its_checkpoint_and_ends_in_the_same_bytes(killed_at: int) -> None:
    settings = params(log_every=1, samples_every=10, checkpoint_every=5)
    whole = train(toy_data(10), settings, 0, ignore, Memory())
    memory, seen = Memory(), []

    def die(now: Progress) -> None:
        seen.append(now.step)
        if now.step == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy_data(10), settings, 0, die, memory)
    seen.clear()
    resumed = train(toy_data(10), settings, 0, lambda now: seen.append(now.step), memory)
    assert seen[0] == (killed_at - 1) // 5 * 5 + 1
    for ours, theirs in ((whole.generator, resumed.generator), (whole.discriminator, resumed.discriminator)):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert whole.history == resumed.history
    assert whole.quality == resumed.quality
    assert whole.samples.keys() == resumed.samples.keys()
    assert all(np.array_equal(picture, resumed.samples[step]) for step, picture in whole.samples.items())
