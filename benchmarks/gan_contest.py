"""Generators of all kinds, fitted to a set and judged by what a classifier learns from their images alone.

Import it from the project's root.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks import gan_sets, public_gans, reference_generators
from benchmarks.gan_sets import GanSet
from benchmarks.public_gans import GanTrainer
from benchmarks.reference_generators import Sampler, train_dcgan
from stages.downstream.augment import build_policy
from stages.downstream.sampling import draw_order
from stages.downstream.selection import best_of_every_class
from stages.downstream.training import Examples, derive_seeds, train_classifier
from stages.generators import training
from stages.generators.drawing import TrainedGenerator
from stages.generators.params import KINDS, GeneratorParams, LearningParams
from stages.generators.quality import draw_classes
from stages.imaging import set_metrics
from stages.imaging.backbones import IN_PACKAGE, PACKAGED
from stages.imaging.networks import predict
from stages.labelling import quick_classifier
from stages.labelling.soft_labels import Teacher, fit_teacher
from stages.memorization.filtering import MemorizationFilter, Originals, check_some_kept

SAMPLES = 2000  # of all classes together
PROBE = 48  # steps by which a GAN's time per step is first measured
SHARE_PROBED = 20  # then by a training of the so-manieth part: early steps are slow
REAL = "real labels"
R3GAN = {"kind": "relativistic", "gradient_penalty": 1.0}  # an objective
# Learns from a set, with a seed: what it draws with, and the steps it took.
Fit = Callable[[GanSet, int], tuple[Sampler, int]]
_REFINING: dict[str, Any] = {
    "width": 16,
    "drawn_size": 32,
    "latent_dim": 512,
    "generator_learning_rate": 5e-4,
    "discriminator_learning_rate": 1e-3,
    "ema_decay": 0.998,
}
# What a kind has otherwise than the preset's GAN.
OWN: dict[str, dict[str, Any]] = {
    "refined_gaussian": _REFINING | {"batch_size": 32, "precision": "bfloat16"},
    # in float32: a frozen network of many thin layers is no faster in bfloat16
    "projected": _REFINING | {"backbone": {"name": PACKAGED, "size": 64, "weights": IN_PACKAGE}},
}
FEATURE_IMAGES = 1000  # real test images that KID and recall are taken on, at most


@dataclass(frozen=True)
class Score:
    """What one generator came to on one set: accuracies are means over classes, all shares lie in 0..1.

    accuracy: of a classifier that learned from the images with the classes they were drawn for. soft: of one that
    learned from them with a teacher's probabilities.
    """

    generator: str
    accuracy: float
    soft: float
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


def parser(description: str | None, seeds: int) -> argparse.ArgumentParser:
    """The options that all contests have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    options.add_argument("--sets", nargs="+", help="default: those that are there, of the sets this is made for")
    options.add_argument("--seeds", type=int, default=seeds)
    options.add_argument("--jobs", type=int, default=2)
    return options


def sets_of(options: argparse.Namespace, names: Iterable[str], part: gan_sets.Part) -> dict[str, list[GanSet]]:
    """The replicates of the sets asked for, or of those among `names` that are there."""
    there = set(gan_sets.available(options.data))
    chosen = options.sets or [name for name in names if name in there]
    seeds = range(options.seeds)
    return {name: [gan_sets.load(name, seed, options.data, part) for seed in seeds] for name in chosen}


def contest(
    name: str, sets: Sequence[GanSet], fits: Mapping[str, Fit], jobs: int, shares: Sequence[float] = (1.0,)
) -> pd.DataFrame:
    """Fit every generator to every replicate, print the table of means over these, and return it.

    shares: what `surest` leaves of the images; each has a row.
    """
    parallel = Parallel(n_jobs=jobs)
    teachers = parallel(delayed(teacher_of)(own, seed) for seed, own in enumerate(sets))
    replicates = enumerate(zip(sets, teachers, strict=True))
    work = (delayed(score)(each, fit, *own, seed, shares) for seed, own in replicates for each, fit in fits.items())
    scores = pd.DataFrame(asdict(each) for rows in parallel(work) for each in rows).groupby("generator", sort=False)
    table = scores.mean()
    for place, measure in ((1, "accuracy"), (3, "soft")):
        table.insert(place, f"± {measure}", scores[measure].std(ddof=0))
    print(f"\n{name}\n{table.round(3).to_string()}", flush=True)
    return table


def teacher_of(gan_set: GanSet, seed: int) -> Teacher:
    """Who labels the set's generated images, fitted on one thread."""
    torch.set_num_threads(1)
    return fit_teacher(gan_set.data, gan_set.params.train_downstream.classic, seed, gan_set.guessed)


def score(
    name: str, fit: Fit, gan_set: GanSet, teacher: Teacher, seed: int, shares: Sequence[float] = (1.0,)
) -> list[Score]:
    """Fit one generator in a process of one thread, and judge each share of its surest images."""
    torch.set_num_threads(1)
    started = process_time()
    sample, steps = fit(gan_set, seed)
    spent = process_time() - started
    if name == REAL:
        images, labels = sample(0, seed)
        return [Score(name, **_judged(images, labels, gan_set, teacher, seed), dropped=0.0, seconds=spent, steps=steps)]
    scores = []
    for share in shares:
        images, labels = surest(sample, teacher, SAMPLES // gan_set.data.classes, seed, share)
        own = kept(images, gan_set)
        check_some_kept(~own.numpy(), name, seed)
        judged = _judged(images[own], labels[own], gan_set, teacher, seed)
        dropped = 1 - float(own.float().mean())
        scores.append(Score(called(name, share), **judged, dropped=dropped, seconds=spent, steps=steps))
    return scores


def called(name: str, share: float) -> str:
    """What a generator's surest share of images is called in tables."""
    return name if share == 1 else f"{name}, surest {share:.0%}"


def _judged(images: Tensor, labels: Tensor, gan_set: GanSet, teacher: Teacher, seed: int) -> dict[str, float]:
    return {
        "accuracy": taught(images, one_hot(labels, gan_set.data.classes).float(), gan_set, seed),
        "soft": taught(images, teacher.probabilities(images), gan_set, seed),
        **_likeness(images, gan_set),
    }


def surest(sample: Sampler, teacher: Teacher, per_class: int, seed: int, share: float) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W) and labels (N,), those of 1 / share times as many of whose class a teacher is surest.

    An arm's `filter: {by: confidence}` chooses likewise, and `generate.candidates` the one of so many in a row.
    """
    images, labels = sample(round(per_class / share), seed)
    if share == 1:
        return images, labels
    sureness = teacher.probabilities(images).gather(1, labels.unsqueeze(1)).squeeze(1)
    chosen = best_of_every_class(labels, sureness, share)
    return images[chosen], labels[chosen]


def kept(images: Tensor, gan_set: GanSet, sources: NDArray[np.int64] | None = None) -> Tensor:
    """Which images pass the filter, bool (N,); in development, which has no calibration images, all.

    sources: the rows (N,) of the labelled images that they were drawn from, if any.
    """
    if len(gan_set.calibration_images) == 0:
        return torch.ones(len(images), dtype=torch.bool)
    seen = torch.cat([gan_set.data.images, gan_set.data.unlabelled])
    originals = Originals(seen, gan_set.calibration_images, gan_set.data.flip_ok)
    return torch.from_numpy(
        ~MemorizationFilter(originals, gan_set.params.filter_memorized).decide(images, sources=sources).dropped
    )


def taught(images: Tensor, probabilities: Tensor, gan_set: GanSet, seed: int) -> float:
    """The `accuracy` of a classifier taught by these images alone.

    images: uint8 (N, C, H, W). probabilities: float32 (N, K), of the classes. The likeliest ones are shown alike often.
    """
    params, classes = gan_set.params.train_downstream, gan_set.data.classes
    seeds, settings = derive_seeds(params.seed, seed), params.classifier
    random = torch.Generator().manual_seed(seeds.order)
    examples = Examples(images, probabilities, torch.ones(len(images)))
    order = draw_order(examples.labels, settings.steps * settings.batch_size, torch.ones(classes), random)
    policy = build_policy("classic", params, gan_set.data.flip_ok)
    order = order.view(settings.steps, settings.batch_size)
    classifier = train_classifier(examples, order, policy, None, settings, seeds).model
    return accuracy(predict(classifier, gan_set.test_images), gan_set)


def accuracy(probabilities: Tensor, gan_set: GanSet) -> float:
    """Mean over the classes of the share of test images whose likeliest class, of probabilities (N, K), is right."""
    return float(balanced_accuracy_score(gan_set.test_labels, probabilities.argmax(dim=1)))


def _likeness(images: Tensor, gan_set: GanSet) -> dict[str, float]:
    """KID and recall against test images, in the features of a classifier trained on these."""
    rows = torch.randperm(len(gan_set.test_images), generator=torch.Generator().manual_seed(0))[:FEATURE_IMAGES]
    real, labels = gan_set.test_images[rows], gan_set.test_labels[rows]
    weights, data = torch.ones(len(real)), gan_set.data
    eye = quick_classifier.fit(real, labels, weights, data.classes, data.flip_ok, seed=0)
    features, drawn = eye.features(real), eye.features(images)
    return {"kid": set_metrics.kernel_distance(features, drawn), "recall": set_metrics.recall(features, drawn)}


def section(gan_set: GanSet, kind: str, **changes: Any) -> GeneratorParams:
    """The preset's GAN as a section of this kind, with changes; a function changes the preset's own value."""
    schema, _ = KINDS[kind]
    preset = gan_set.params.train_gan.generators["gan"].model_dump()
    own = preset | {"rank": preset["latent_dim"]} | OWN.get(kind, {}) | changes | {"kind": kind}
    values = {name: own[name](preset[name]) if callable(own[name]) else own[name] for name in schema.model_fields}
    return schema.model_validate(values)


def ours(kind: str, seconds: float | None = None, **changes: Any) -> Fit:
    """One of our kinds as `section` has it; a GAN takes as many steps as the seconds allow, where they are given."""

    def fit(gan_set: GanSet, seed: int) -> tuple[Sampler, int]:
        params = section(gan_set, kind, **changes)
        if seconds is not None and isinstance(params, LearningParams):
            params = params.model_copy(update={"steps": _affordable(gan_set, params, seed, seconds)})
        return sampler(train(gan_set, params, seed), gan_set), getattr(params, "steps", 0)

    return fit


def sampler(made: TrainedGenerator, gan_set: GanSet) -> Sampler:
    """What a generator draws with."""
    return lambda count, seed: draw_classes(made.generator.network, made.generator, gan_set.data, count, seed)


def _affordable(gan_set: GanSet, params: LearningParams, seed: int, seconds: float) -> int:
    """Steps that fit into the time beside what is done once, by a short training, then by one of some of the steps."""
    first = _fitting(gan_set, params, seed, seconds, PROBE)
    longer = first // SHARE_PROBED
    return _fitting(gan_set, params, seed, seconds, longer) if longer > PROBE else first


def _fitting(gan_set: GanSet, params: LearningParams, seed: int, seconds: float, probed: int) -> int:
    """Steps that fit into the time, by a training of so many."""
    stamps: list[float] = []
    probe = {"steps": probed, "log_every": probed // 2, "checkpoint_every": 2 * probed, "samples_every": 2 * probed}
    started = process_time()
    train(gan_set, params.model_copy(update=probe), seed, lambda _: stamps.append(process_time()))
    one_look = process_time() - stamps[1]
    per_step = (stamps[1] - stamps[0]) / (probed // 2)
    once = stamps[0] - started - per_step * (probed // 2)
    return max(PROBE, int((seconds - once) / (per_step + one_look / params.samples_every)))


def train(
    gan_set: GanSet, params: GeneratorParams, seed: int, report: training.Report = lambda _: None
) -> TrainedGenerator:
    """A generator, trained without checkpoints."""
    return training.train(gan_set.data, gan_set.guessed.final, params, seed, report, Nowhere())


def real(gan_set: GanSet, _seed: int) -> tuple[Sampler, int]:
    """The labelled images themselves, which no filter would let pass: what the synthetic ones are to approach."""
    return lambda _count, _own_seed: (gan_set.data.images, gan_set.data.labels), 0


def references() -> dict[str, Fit]:
    """The generators without steps that ours stand beside, by name.

    They get the pool's labels as GANs do, and leave out those that are less sure than not.
    """

    def pool_labels(gan_set: GanSet) -> Tensor:
        return torch.where(gan_set.guessed.final.trust > 0.5, gan_set.guessed.final.labels, -1)

    return {
        "pca_mixture": lambda own, seed: (
            reference_generators.fit_pca_mixture(own.data, seed, pool_labels(own)),
            0,
        ),
        "smote": lambda own, _seed: (reference_generators.fit_smote(own.data, pool_labels(own)), 0),
    }


def other_gans(seconds: float) -> dict[str, Fit]:
    """GANs that ours stand beside, by name: a textbook's, and those of other projects where these are installed."""

    def learning(train: GanTrainer) -> Fit:
        return lambda own, seed: train(own.data, seconds, seed)

    return {name: learning(train) for name, train in {"dcgan": train_dcgan, **public_gans.installed()}.items()}
