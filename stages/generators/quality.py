"""How like the real images a generator's are: what one watches while it learns, and no ground for any choice.

The real images are those that it learns from. All others are held out for other ends.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import torch
from torch import Tensor, nn

from stages.generators.drawing import draw, sources_of
from stages.generators.interface import Generator
from stages.generators.requests import requests
from stages.imaging import set_metrics
from stages.labelling.data import ReplicateData
from stages.labelling.quick_classifier import QuickClassifier

SAMPLES = 1000  # about, all classes alike
LEAST_SAMPLES = 20  # of a class


@dataclass(frozen=True)
class Judge:
    """Sees by the features of a classifier that learned from the labelled images; `seed` decides the samples.

    real: images uint8 (N, C, H, W) that drawn ones should be like.
    """

    data: ReplicateData
    real: Tensor
    classifier: QuickClassifier
    seed: int

    def measure(self, network: nn.Module, generator: Generator) -> dict[str, float]:
        """Measures by name of what a network draws for a generator of this kind: `kid`, `recall`, `confused`."""
        images, labels = draw_samples(network, generator, self.data, self.seed)
        features = self.classifier.features(images)
        measures = {
            "kid": set_metrics.kernel_distance(self._real, features),
            "recall": set_metrics.recall(self._real, features),
            "confused": set_metrics.confused_share(self.classifier.probabilities(images), labels),
        }
        return {name: value for name, value in measures.items() if isfinite(value)}

    @cached_property
    def _real(self) -> Tensor:
        """Features of the real images, evenly spaced ones where they are many."""
        count, device = len(self.real), self.real.device
        rows = torch.linspace(0, count - 1, min(count, SAMPLES), device=device).long()
        return self.classifier.features(self.real[rows])


def draw_samples(network: nn.Module, generator: Generator, data: ReplicateData, seed: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W) and labels int64 (N,) of about SAMPLES draws, as many of each class."""
    return draw_classes(network, generator, data, max(LEAST_SAMPLES, SAMPLES // data.classes), seed)


def draw_classes(
    network: nn.Module, generator: Generator, data: ReplicateData, per_class: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W) and their labels int64 (N,), as many of each class, or as many as there are."""
    counts = [min(per_class, count) for count in generator.plan.get("counts", [per_class] * data.classes)]
    asked = list(requests([range(count) for count in counts], seed, 0, sources_of(generator, data)))
    images = [draw(network, generator.latent_dim, each, data.images, data.masks)[: each.wanted] for each in asked]
    labels = [torch.from_numpy(each.labels[: each.wanted]) for each in asked]
    return torch.cat(images), torch.cat(labels).to(data.images.device)
