"""Labelled images of one domain carried to the look of another, of which no label is needed.

Unpaired, as in CycleGAN (Zhu et al. 2017): the discriminator sees images of the target domain and translated ones of
the source domain, and no label. What keeps an image's class in place is that the translator sees little: through 5 x 5
pixels it can change tones, sharpness, noise and shading, and cannot redraw an object as one of another class.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from stages.generators.adversarial import ConditionalDiscriminator, adversarial_step, judge
from stages.generators.interface import Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.objective import build_objective
from stages.generators.params import TranslationParams
from stages.labelling.data import ReplicateData, TrustedImages
from stages.plumbing.errors import UserError

GRID = 2  # the latent's map, that many numbers a side and channel, enlarged to the image: shading
DISCRIMINATOR_WIDTH = 256


class LocalTranslator(nn.Module):
    """Draws to images (N, C, H, W) in [-1, 1], each pixel by 5 x 5 pixels of its source and of a channel of noise."""

    def __init__(self, channels: int, size: int, latent_dim: int, width: int) -> None:
        super().__init__()
        self.size, self.latent_dim = size, latent_dim
        self.input = nn.Conv2d(channels + 1, width, 3, padding=1, padding_mode="replicate")
        self.shading = nn.Linear(latent_dim, width * GRID**2)
        self.mixing = nn.Conv2d(width, width, 1)
        self.output = nn.Conv2d(width, channels, 3, padding=1, padding_mode="replicate")

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from the other domain get them
        latents, noise = draws.latents.split([self.latent_dim, self.size**2], dim=1)
        seen = torch.cat([draws.sources, noise.unflatten(1, (1, self.size, self.size))], dim=1)
        shading = self.shading(latents).unflatten(1, (-1, GRID, GRID))
        hidden = self.input(seen) + functional.interpolate(shading, self.size, mode="bilinear")
        hidden = functional.leaky_relu(hidden, 0.2)
        hidden = hidden + functional.leaky_relu(self.mixing(hidden), 0.2)
        return torch.tanh(self.output(hidden))


class ImageDiscriminator(ConditionalDiscriminator):
    """Judges images as images alone, whatever their labels."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Flatten(),
            spectral_norm(nn.Linear(channels * size**2, DISCRIMINATOR_WIDTH)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(DISCRIMINATOR_WIDTH, DISCRIMINATOR_WIDTH)),
            nn.LeakyReLU(0.2),
        )
        self.head = spectral_norm(nn.Linear(DISCRIMINATOR_WIDTH, 1))

    def logits(self, features: Tensor, _labels: Tensor, _trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, F)."""
        return self.head(features).squeeze(1)


class Kind(LearningGenerator):
    """A translator from the source domain to the target domain."""

    starts_from = "domain"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        channels, size = plan["channels"], plan["size"]
        self.latent_dim = plan["latent_dim"] + size**2  # one number for each pixel's noise
        self.network = LocalTranslator(channels, size, plan["latent_dim"], plan["width"])
        self.discriminator = ImageDiscriminator(channels, size)
        self.objective = build_objective({"kind": "hinge"})

    @classmethod
    def study(cls, data: ReplicateData, real: TrustedImages, params: TranslationParams) -> tuple[Plan, None]:
        if data.from_source is None or len(real.images) == data.from_source:
            raise UserError(
                "kind: translation needs images of a target domain beside the labelled ones of the source domain: set "
                "prepare.shift with pool: true, or take the generator out"
            )
        _, channels, size, _ = data.images.shape
        chosen: dict[str, Any] = {"range": params.range, "width": params.width, "latent_dim": params.latent_dim}
        return {"channels": channels, "size": size, **chosen}, None

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.network, "discriminator": self.discriminator}

    def compiled(self) -> Iterator[nn.Module]:
        yield self.network
        yield self.discriminator.trunk

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        return judge(self.discriminator, images, draws, torch.ones(len(images), device=images.device))

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        return adversarial_step(self.network, self.discriminator, self.objective, feed.draw(), learner)
