"""DP-MERF: a network learns from the classes' mean random features, which are released once, and sees no image.

Harder, Adamczewski and Park, "DP-MERF: Differentially Private Mean Embeddings with Random Features" (2021), section 4.
"""

from dataclasses import asdict
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.accountant import least_noise
from stages.generators.convolutional import ConvolutionalGenerator
from stages.generators.interface import Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.network_config import NetworkConfig
from stages.generators.params import PrivateFeaturesParams
from stages.generators.private import PROMISE, PrivateGenerator, check, promise
from stages.generators.randomness import random_of
from stages.imaging.pixels import to_network_range
from stages.labelling.data import ReplicateData, TrustedImages

CHUNK = 1024  # images whose features are summed at a time
OF_COUNTS = 0.05  # share of the budget that the classes' sizes get


class RandomFeatures(nn.Module):
    """Cosines and sines of random projections, (N, F) of images (N, C, H, W), of length 1.

    Their products come near to a Gaussian kernel (Rahimi and Recht, "Random Features for Large-Scale Kernel Machines",
    2007, section 3), whose bandwidth is a root mean square of pixels. The projections know no image.
    """

    projections: Tensor

    def __init__(self, features: int, pixels: int, bandwidth: float) -> None:
        super().__init__()
        drawn = torch.randn(features // 2, pixels, generator=torch.Generator().manual_seed(0))
        self.register_buffer("projections", drawn / (bandwidth * sqrt(pixels)))

    def forward(self, images: Tensor) -> Tensor:
        angles = images.flatten(1) @ self.projections.T
        return torch.cat([angles.cos(), angles.sin()], dim=1) / sqrt(len(self.projections))


class Kind(LearningGenerator, PrivateGenerator):
    """A convolutional generator whose draws shall have the released mean features of their class."""

    released: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        config = NetworkConfig(**plan["networks"])
        self.classes, self.latent_dim, self.batch_size = config.classes, config.latent_dim, plan["batch_size"]
        self.network = ConvolutionalGenerator(config)
        channels, height, width = config.image_shape
        self.features = RandomFeatures(plan["features"], channels * height * width, plan["bandwidth"])
        self.register_buffer("released", torch.zeros(config.classes, plan["features"]))

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: PrivateFeaturesParams, seed: int
    ) -> tuple[Plan, Tensor]:
        check(params, len(real.images))
        once = least_noise(params.epsilon, params.delta)
        config = NetworkConfig.of("convolutional", data.classes, data.images, params.latent_dim, params.width)
        plan = {
            "networks": asdict(config),
            **{name: getattr(params, name) for name in ("batch_size", "features", "bandwidth")},
            PROMISE: promise(params, [once], len(real.images)),
        }
        return plan, released(real, data.classes, params, once.noise, random_of(params, seed))

    def initialise(self, start: Tensor) -> None:
        self.released.copy_(start)

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.network}

    def compiled(self) -> list[nn.Module]:
        return [self.network]

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        """Asks the feed for random numbers alone."""
        labels = torch.arange(self.batch_size, device=self.released.device) % self.classes
        latents = torch.randn(self.batch_size, self.latent_dim, generator=feed.random, device=labels.device)
        drawn = self.features(self.network(Draws(labels, latents, torch.zeros_like(labels))))
        own = functional.one_hot(labels, self.classes).float()
        means = (own.T @ drawn) / own.sum(dim=0).clamp_min(1)[:, None]
        losses = (means - self.released).square().sum(dim=1)
        return {"generator_loss": learner.update("generator", losses)}


def released(
    real: TrustedImages, classes: int, params: PrivateFeaturesParams, noise: float, random: torch.Generator
) -> Tensor:
    """The classes' mean features (K, F), from noised sums and counts, whose inverse squared noises add up to one's."""
    features = RandomFeatures(params.features, real.images[0].numel(), params.bandwidth)
    sums, counts = sums_of(features, real, classes)
    sums = sums + torch.randn(sums.shape, generator=random) * (noise / sqrt(1 - OF_COUNTS))
    counts = counts + torch.randn(counts.shape, generator=random) * (noise / sqrt(OF_COUNTS))
    return sums / counts.clamp_min(1)[:, None]


def sums_of(features: RandomFeatures, real: TrustedImages, classes: int) -> tuple[Tensor, Tensor]:
    """Features (K, F) and images (K,) of the classes; each image adds a vector of length 1 to both."""
    labels = real.labels.cpu()
    sums = torch.zeros(classes, 2 * len(features.projections))
    for images, own in zip(real.images.cpu().split(CHUNK), labels.split(CHUNK), strict=True):
        sums.index_add_(0, own, features(to_network_range(images)))
    return sums, torch.bincount(labels, minlength=classes).float()
