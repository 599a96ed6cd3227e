"""A region of a real image drawn anew for the class that is wanted; all else is kept to the pixel.

Context encoders (Pathak et al., "Context Encoders: Feature Learning by Inpainting", CVPR 2016) with a class: a lesion
is put into a healthy image and taken out of an ill one, as Wu et al. ("Conditional Infilling GANs for Data Augmentation
in Mammogram Classification", 2018) did. A U-Net reads the image with its hole, the region, noise and the class. Two
judges see the whole image and its region, and compare them with the class.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator, adversarial_step, judge
from stages.generators.interface import Draws, Feed, Learner, Plan
from stages.generators.layers import limited
from stages.generators.moments import Moments
from stages.generators.network_config import Layers, NetworkConfig
from stages.generators.params import ConditionalParams, InfillingParams
from stages.generators.two_judges import TwoJudges
from stages.generators.unet import CoarseMap, UNet, noise_side
from stages.labelling.data import ReplicateData, TrustedImages


class Infiller(nn.Module):
    """Draws to images (N, C, H, W): the source, in whose region there is what was drawn.

    A hole begins as the mean colour of what is left of its image. latents: `latent_dim` numbers for the whole image,
    which become a coarse map, and behind them one for each pixel of the U-Net's maps.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.coarse = CoarseMap(config.latent_dim)
        self.refine = UNet(config, config.channels + 2)
        self.noise = noise_side(config.size)

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from regions get both
        assert draws.masks is not None
        kept = 1 - draws.masks
        mean = (draws.sources * kept).sum(dim=(2, 3), keepdim=True) / kept.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        start = torch.where(draws.masks > 0, mean, draws.sources)
        latents, noise = draws.latents.split([self.coarse.inputs, self.noise**2], dim=1)
        coarse = self.coarse(latents, start.shape[-1])
        seen, noise = torch.cat([start, draws.masks, coarse], dim=1), noise.unflatten(1, (1, self.noise, self.noise))
        drawn = limited(start + self.refine(seen, noise, draws.labels))
        return torch.where(draws.masks > 0, drawn, draws.sources)


class Kind(AdversarialGenerator):
    """A GAN that fills regions of real images."""

    starts_from = "region"
    Discriminator = TwoJudges

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.latent_dim = self.config.latent_dim + noise_side(self.config.size) ** 2

    @staticmethod
    def layers(_params: Any) -> Layers:
        return "convolutional"

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: ConditionalParams, seed: int
    ) -> tuple[Plan, Moments | None]:
        assert isinstance(params, InfillingParams)
        plan, start = super().study(data, real, params, seed)
        return {**plan, "reconstruction": params.reconstruction}, start

    def build(self) -> tuple[nn.Module, nn.Module]:
        seen = replace(self.config, channels=self.config.channels + 1)
        return Infiller(self.config), TwoJudges(seen)

    def initialise(self, _start: Moments | None) -> None:
        """Nothing is known of regions before they are learned."""

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        trust = torch.ones(len(images), device=images.device)
        return judge(self.discriminator, _marked(images, draws.masks), draws, trust)

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        """One step; with `reconstruction`, regions of real images are filled for their own class too, and held to
        what was there."""
        batch = feed.draw()
        weight: float = self.plan["reconstruction"]

        def ties(_fakes: Tensor) -> Tensor:
            own = replace(batch.draws, sources=batch.real, masks=batch.masks)
            assert own.masks is not None
            apart = (self.network(own) - batch.real).abs().mean(dim=1, keepdim=True)
            return weight * apart.sum(dim=(1, 2, 3)) / own.masks.sum(dim=(1, 2, 3))

        return adversarial_step(
            lambda draws: _marked(self.network(draws), draws.masks),
            self.discriminator,
            self.objective,
            replace(batch, real=_marked(batch.real, batch.masks)),
            learner,
            ties if weight else None,
        )


def _marked(images: Tensor, masks: Tensor | None) -> Tensor:
    """Images (N, C + 1, H, W) with their regions as one more channel, which goes through augmentation with them."""
    assert masks is not None
    return torch.cat([images, masks], dim=1)
