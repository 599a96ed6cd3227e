"""Another image of a real image's class: DAGAN.

Antoniou, Storkey and Edwards, "Data Augmentation Generative Adversarial Networks" (2017): an encoder reads a source
image, noise decides what becomes of it, and the discriminator judges pairs, a source beside another real image of its
class or beside a generated one, so that copying the source is no way to win. Pairs are of classes with two images or
more. Convolutional networks are told no class: what they learn from these, they do to the one image of another class.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator, ConditionalDiscriminator, adversarial_step
from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.interface import Draws, Feed, Learner, Plan
from stages.generators.layers import limited
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.params import AdversarialParams, ConditionalParams
from stages.generators.two_judges import TwoJudges
from stages.generators.unet import CoarseMap, UNet, noise_side
from stages.labelling.data import ReplicateData, TrustedImages
from stages.plumbing.errors import UserError

LIKENESS = 0.5  # correlation of source and image, in the components, before the network has learned anything


class SourceGenerator(DenseGenerator):
    """Starts from a draw of the class's Gaussian that is correlated with the source, and refines it.

    An encoder, the principal components, reads the source for both.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config, inputs=config.components)

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from sources get them
        source, mean = self.pixels.encode(draws.sources.flatten(1)), self.means[draws.labels]
        # Both terms have the class's mean and covariance, and so has their mixture.
        apart = (self.components(draws) - mean) * (1 - LIKENESS**2) ** 0.5
        start = mean + LIKENESS * (source - mean) + apart
        scaled = (source - mean) / self.pixels.deviations.clamp_min(torch.finfo(source.dtype).tiny)
        return self.refined(start, torch.cat([draws.latents, scaled], dim=1), draws.labels)


class PairDiscriminator(ConditionalDiscriminator):
    """Judges an image beside its source: logit = psi(phi(x), phi(s)) + trust * <embed(y), phi(x)>."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = DenseTrunk(config)
        self.psi = config.bound(nn.Linear(2 * config.width, 1))
        self.embed = config.bound(nn.Embedding(config.classes, config.width))

    def features(self, images: Tensor, sources: Tensor | None) -> Tensor:
        """Features (N, 2 * width) of images and sources."""
        assert sources is not None  # kinds that start from sources get them
        return torch.cat([self.trunk(images), self.trunk(sources)], dim=1)

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, 2 * width), labels (N,) and trust (N,)."""
        own = features[:, : self.trunk.features]
        return self.psi(features).squeeze(1) + trust * (self.embed(labels) * own).sum(dim=1)


class SourceUNet(nn.Module):
    """Draws to images (N, C, H, W) about [-1, 1]: the source, and what a U-Net adds to it, at first nothing.

    latents: `latent_dim` numbers for the whole image, which become a coarse map, and behind them one for each pixel of
    the U-Net's maps.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.coarse = CoarseMap(config.latent_dim)
        self.refine = UNet(replace(config, classes=1), config.channels + 1)
        self.noise = noise_side(config.size)

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from sources get them
        latents, noise = draws.latents.split([self.coarse.inputs, self.noise**2], dim=1)
        seen = torch.cat([draws.sources, self.coarse(latents, draws.sources.shape[-1])], dim=1)
        noise = noise.unflatten(1, (1, self.noise, self.noise))
        return limited(draws.sources + self.refine(seen, noise, torch.zeros_like(draws.labels)))


class PairJudges(TwoJudges):
    """Judge patches of an image on top of its source, and the whole pair; of no class."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(replace(config, channels=2 * config.channels, classes=1))

    def features(self, images: Tensor, sources: Tensor | None) -> Tensor:
        """Maps (N, F, h, w) of images and sources, one on top of the other."""
        assert sources is not None  # kinds that start from sources get them
        return super().features(torch.cat([images, sources], dim=1), None)

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N, 1 + patches) from maps (N, F, h, w)."""
        return super().logits(features, torch.zeros_like(labels), torch.zeros_like(trust))


class Kind(AdversarialGenerator):
    """A GAN that starts from real images."""

    starts_from = "class"
    Discriminator = PairDiscriminator

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if self.config.layers == "convolutional":
            self.latent_dim += noise_side(self.config.size) ** 2

    @classmethod
    def learned_from(cls, data: ReplicateData, real: TrustedImages, params: AdversarialParams) -> TrustedImages:
        """Convolutional networks, which know no class, learn from pairs of other classes too."""
        return real if params.layers == "dense" else real.beside(data.other_images, data.other_labels)

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: ConditionalParams, seed: int
    ) -> tuple[Plan, Moments | None]:
        if real.labels.bincount().max() < 2:
            raise UserError(
                f"kind: {params.kind} learns from two images of a class, and every class has one: raise "
                "prepare.labels_per_class for some class, let prepare.other_classes bring some (for layers: "
                "convolutional), or take the generator out"
            )
        return super().study(data, real, params, seed)

    def build(self) -> tuple[nn.Module, nn.Module]:
        if self.config.layers == "convolutional":
            return SourceUNet(self.config), PairJudges(self.config)
        return SourceGenerator(self.config), PairDiscriminator(self.config)

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        several = feed.labels.bincount()[feed.labels] > 1
        batch = feed.draw(among=several.nonzero().squeeze(1))
        return adversarial_step(self.network, self.discriminator, self.objective, batch, learner)
