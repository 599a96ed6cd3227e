"""Generators of all kinds, fitted to a set and judged by what a classifier learns from their images alone.

Import it from the project's root.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks import reference_generators
from benchmarks.gan_sets import GanSet
from benchmarks.reference_generators import Sampler
from stages.downstream.augment import build_policy
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, derive_seeds, predict, train_classifier
from stages.generators import training
from stages.generators.params import FamilyName, TrainGanParams
from stages.generators.sampling import generate, load_generator
from stages.imaging import set_metrics
from stages.labelling import pool, quick_classifier
from stages.labelling.data import GanData
from stages.memorization.filtering import MemorizationFilter, Originals

SAMPLES = 2000  # of all classes together
PROBE = 48  # steps by which a GAN's time per step is measured
REAL = "real labels"
# Learns from a set, with a seed, for so many seconds: what it draws with, and the steps it took.
Fit = Callable[[GanSet, int, float], tuple[Sampler, int]]
FEATURE_IMAGES = 1000  # real test images that KID and recall are taken on, at most


@dataclass(frozen=True)
class Score:
    """What one generator came to on one set: `accuracy` is the mean over classes, all shares lie in 0..1."""

    generator: str
    accuracy: float
    kid: float
    recall: float
    dropped: float
    seconds: float
    steps: int


class Nowhere:
    """A benchmark is not resumed."""

    def load(self) -> None:
        return None

    def save(self, _: dict[str, Any]) -> None:
        return None


def report(name: str, scores: Iterable[Score]) -> pd.DataFrame:
    """Print the set's table, one row for each generator with the means over the seeds, and return it."""
    by_generator = pd.DataFrame([asdict(each) for each in scores]).groupby("generator", sort=False)
    table = by_generator.mean()
    table.insert(1, "±", by_generator["accuracy"].std(ddof=0))
    print(f"\n{name}\n{table.round(3).to_string()}", flush=True)
    return table


def score(name: str, fit: Fit, gan_set: GanSet, seed: int, seconds: float) -> Score:
    """Fit one generator in a process of one thread, and judge its images."""
    torch.set_num_threads(1)
    started = process_time()
    sample, steps = fit(gan_set, seed, seconds)
    spent = process_time() - started
    classes = len(gan_set.classes)
    images, labels = sample([SAMPLES // classes] * classes, seed)
    kept = _kept(images, gan_set) if name != REAL else torch.ones(len(images), dtype=torch.bool)
    return Score(
        name,
        accuracy=_accuracy(images[kept], labels[kept], gan_set, seed),
        **_likeness(images[kept], gan_set),
        dropped=1 - float(kept.float().mean()),
        seconds=spent,
        steps=steps,
    )


def _kept(images: Tensor, gan_set: GanSet) -> Tensor:
    """Which images pass the filter, bool (N,); in development, which has no calibration images, all."""
    if len(gan_set.calibration_images) == 0:
        return torch.ones(len(images), dtype=torch.bool)
    seen = torch.cat([gan_set.train_images, gan_set.unlabelled_images])
    originals = Originals(seen, gan_set.calibration_images, gan_set.flip_ok)
    return torch.from_numpy(~MemorizationFilter(originals, gan_set.params.filter_memorized).decide(images).dropped)


def _accuracy(images: Tensor, labels: Tensor, gan_set: GanSet, seed: int) -> float:
    """Mean over the classes of the share of test images that a classifier taught by these images alone gets right."""
    params, classes = gan_set.params.train_downstream, len(gan_set.classes)
    seeds, settings = derive_seeds(params.seed, seed), params.classifier
    random = torch.Generator().manual_seed(seeds.order)
    order = draw_order(labels, settings.steps * settings.batch_size, torch.ones(classes), random)
    policy = build_policy("classic", params, gan_set.flip_ok)
    order = order.view(settings.steps, settings.batch_size)
    examples = Examples(images, labels, torch.ones(len(labels)))
    classifier = train_classifier(examples, order, classes, policy, None, settings, seeds, None).model
    right = predict(classifier, gan_set.test_images).argmax(dim=1) == gan_set.test_labels
    return float(torch.stack([right[gan_set.test_labels == label].float().mean() for label in range(classes)]).mean())


def _likeness(images: Tensor, gan_set: GanSet) -> dict[str, float]:
    """KID and recall against test images, in the features of a classifier trained on these."""
    rows = torch.randperm(len(gan_set.test_images), generator=torch.Generator().manual_seed(0))[:FEATURE_IMAGES]
    real, labels = gan_set.test_images[rows], gan_set.test_labels[rows]
    weights = torch.ones(len(real))
    eye = quick_classifier.fit(real, labels, weights, len(gan_set.classes), gan_set.flip_ok, seed=0)
    features, drawn = eye.features(real), eye.features(images)
    return {"kid": set_metrics.kernel_distance(features, drawn), "recall": set_metrics.recall(features, drawn)}


def _gan(family: FamilyName) -> Fit:
    """One of our families with the settings of the set's preset, for as many steps as the time allows."""

    def fit(gan_set: GanSet, seed: int, seconds: float) -> tuple[Sampler, int]:
        data = gan_data(gan_set)
        preset = gan_set.params.train_gan.model_copy(update={"family": family})
        gan = train(data, preset.model_copy(update={"steps": _affordable(data, preset, seed, seconds)}), seed)
        return sampler(gan), int(gan.history[-1]["step"])

    return fit


def sampler(gan: training.TrainedGan) -> Sampler:
    """What a trained GAN draws with."""
    generator = load_generator(gan.generator, gan.config)

    def sample(counts: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
        blocks = list(generate(generator, gan.config, list(map(range, counts)), seed, 0, truncation=1.0))
        images = torch.cat([torch.from_numpy(block.images) for block in blocks])
        return images, torch.cat([torch.from_numpy(block.labels) for block in blocks])

    return sample


def _affordable(data: GanData, params: TrainGanParams, seed: int, seconds: float) -> int:
    """Steps that fit into the time beside what is done once, by a short training."""
    stamps: list[float] = []
    probe = params.model_copy(update={"steps": PROBE, "log_every": PROBE // 2, "checkpoint_every": 2 * PROBE})
    started = process_time()
    train(data, probe.model_copy(update={"snapshots": 1}), seed, lambda _: stamps.append(process_time()))
    one_snapshot = process_time() - stamps[1]
    per_step = (stamps[1] - stamps[0]) / (PROBE // 2)
    once = stamps[0] - started - per_step * PROBE / 2 + params.snapshots * one_snapshot
    return max(PROBE, int((seconds - once) / per_step))


def train(
    data: GanData,
    params: TrainGanParams,
    seed: int,
    report: Callable[[training.Progress], None] = lambda _: None,
) -> training.TrainedGan:
    """A GAN, trained without checkpoints."""
    return training.train(data, params, seed, report, Nowhere())


def gan_data(gan_set: GanSet) -> GanData:
    """What a GAN may see of a set."""
    return GanData(
        gan_set.train_images,
        gan_set.train_labels,
        gan_set.unlabelled_images,
        gan_set.validation_images,
        gan_set.validation_labels,
        len(gan_set.classes),
        gan_set.flip_ok,
    )


def _pool_labels(gan_set: GanSet, seed: int) -> Tensor | None:
    """The pool's labels as the GANs get them, -1 where they are less sure than not; None without a pool."""
    if len(gan_set.unlabelled_images) == 0:
        return None
    data = gan_data(gan_set)
    guess = pool.teach(data, pool.learn(data, seed), seed)
    return torch.where(guess.trust > 0.5, guess.labels, -1)


def _real(gan_set: GanSet, _seed: int, _seconds: float) -> tuple[Sampler, int]:
    """The labelled images themselves, which no filter would let pass: what the synthetic ones are to approach."""
    return lambda _counts, _own_seed: (gan_set.train_images, gan_set.train_labels), 0


def _dcgan(gan_set: GanSet, seed: int, seconds: float) -> tuple[Sampler, int]:
    return reference_generators.train_dcgan(gan_set, seconds, seed)


def _pca_mixture(gan_set: GanSet, seed: int, _seconds: float) -> tuple[Sampler, int]:
    return reference_generators.fit_pca_mixture(gan_set, seed, _pool_labels(gan_set, seed)), 0


def _smote(gan_set: GanSet, seed: int, _seconds: float) -> tuple[Sampler, int]:
    return reference_generators.fit_smote(gan_set, _pool_labels(gan_set, seed)), 0


GENERATORS: dict[str, Fit] = {
    REAL: _real,
    "projection": _gan("projection"),
    "auxiliary": _gan("auxiliary"),
    "per_class": _gan("per_class"),
    "dcgan": _dcgan,
    "pca_mixture": _pca_mixture,
    "smote": _smote,
}
