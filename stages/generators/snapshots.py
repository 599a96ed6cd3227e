"""Judge averaged generators on the validation images while they are trained, and keep the best.

Each is judged by what its images teach a quick classifier. On few validation images that is noisy, so no snapshot is
preferred to another by a difference within one standard error.
"""

from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.generators.drawing import draw
from stages.generators.interface import Generator
from stages.generators.requests import requests
from stages.generators.state import Snapshot, tensors
from stages.imaging import set_metrics
from stages.labelling.data import ReplicateData
from stages.labelling.quick_classifier import QuickClassifier, fit

SAMPLES = 1000  # about, all classes alike
LEAST_SAMPLES = 20  # of a class
LEAST_VALIDATION = 2  # images; a single one has no distances within its set, and tells no snapshots apart


@dataclass(frozen=True)
class Judge:
    """Scores snapshots on `data.validation_images`. `classifier` learned from the labelled images, and its features are
    what sets are compared by; `seed` decides samples and the classifiers that learn from them."""

    data: ReplicateData
    classifier: QuickClassifier
    seed: int

    def take(self, step: int, network: nn.Module, generator: Generator) -> Snapshot:
        """A snapshot of a network that draws for a generator of this kind, with its scores."""
        per_class = max(LEAST_SAMPLES, SAMPLES // self.data.classes)
        images, labels = draw_classes(network, generator, self.data, per_class, self.seed)
        scores, log_likelihood = self._scores(images, labels)
        return Snapshot(step, tensors(network), scores, log_likelihood)

    def _scores(self, images: Tensor, labels: Tensor) -> tuple[dict[str, float], Tensor]:
        """Measures by name, and the validation labels' log-likelihood by a classifier that learned from the images."""
        data, eye = self.data, self.classifier
        scores = {"confused": set_metrics.confused_share(eye.probabilities(images), labels)}
        if len(data.validation_images) < LEAST_VALIDATION:
            return scores, torch.empty(0)
        features, fresh = eye.features(images), eye.features(data.validation_images)
        distances = set_metrics.nearest_distances(images, self._seen)
        weights = torch.ones(len(images), device=images.device)
        taught = fit(images, labels, weights, data.classes, data.flip_ok, self.seed)
        probabilities = taught.probabilities(data.validation_images)
        scores |= {
            "usefulness": 1 - set_metrics.confused_share(probabilities, data.validation_labels),
            "kid": set_metrics.kernel_distance(fresh, features),
            "recall": set_metrics.recall(fresh, features),
            "nearest_real_ratio": set_metrics.nearest_real_ratio(distances, self._fresh_distances),
            "most_copied": max(set_metrics.copied_share(distances, labels, self._fresh_distances).values()),
        }
        # Images of a single grey level lie at no distance from each other, and nothing has a ratio to that.
        known = {name: score for name, score in scores.items() if isfinite(score)}
        return known, set_metrics.log_likelihood(probabilities, data.validation_labels)

    @cached_property
    def _seen(self) -> Tensor:
        return torch.cat([self.data.images, self.data.unlabelled])

    @cached_property
    def _fresh_distances(self) -> Tensor:
        return set_metrics.nearest_distances(self.data.validation_images, self._seen)


def choose(snapshots: list[Snapshot]) -> Snapshot:
    """The snapshot to keep, of at least one.

    Among those whose usefulness is not worse than the best one's by more than a standard error of the paired
    difference, the one with the lowest KID; without validation images the last.
    """
    if len(snapshots[-1].log_likelihood) == 0:
        return snapshots[-1]
    best = max(snapshots, key=lambda each: float(each.log_likelihood.mean()))
    as_good = [each for each in snapshots if _shortfall(best, each) <= 1]
    return min(as_good, key=lambda each: each.scores["kid"])


def _shortfall(best: Snapshot, other: Snapshot) -> float:
    """By how many standard errors the other one's mean log-likelihood is below the best one's."""
    difference = (best.log_likelihood - other.log_likelihood).double()
    error = float(difference.std()) / len(difference) ** 0.5
    mean = float(difference.mean())
    return mean / error if error > 0 else (inf if mean > 0 else 0.0)


def draw_classes(
    network: nn.Module, generator: Generator, data: ReplicateData, per_class: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W) and their labels int64 (N,), as many of each class, or as many as there are."""
    counts = [min(per_class, count) for count in generator.plan.get("counts", [per_class] * data.classes)]
    sources = data.images if generator.from_sources else None
    asked = list(requests([range(count) for count in counts], seed, 0, source_labels(generator, data)))
    images = [draw(network, generator.latent_dim, each, sources)[: each.wanted] for each in asked]
    labels = [torch.from_numpy(each.labels[: each.wanted]) for each in asked]
    return torch.cat(images), torch.cat(labels).to(data.images.device)


def source_labels(generator: Generator, data: ReplicateData) -> NDArray[np.int64] | None:
    """Classes of the images that may be sources, the labelled ones; None for kinds that start from noise."""
    return data.labels.cpu().numpy() if generator.from_sources else None
