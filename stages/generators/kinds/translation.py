"""Labelled images of one domain carried to the look of another, of which no label is needed.

Unpaired, as in CycleGAN (Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
2017): the discriminator sees images of the target domain and translated ones of the source domain, and no label. What
keeps an image's class in place is that the translator sees little (`range: local`), or terms that tie it to its source:
`cycle`, that a second translator finds the way back (eq. 2), and `identity`, that images of the target stay as they are
(section 5.2).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stages.generators.adversarial import ConditionalDiscriminator, adversarial_step, judge
from stages.generators.convolutional import ConvolutionalTrunk
from stages.generators.interface import Batch, Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.network_config import NetworkConfig
from stages.generators.objective import build_objective
from stages.generators.params import TranslationParams
from stages.generators.translators import build_translator
from stages.labelling.data import ReplicateData, TrustedImages

LARGEST_DENSE = 32  # pixels a side of the images that a fully connected discriminator reads
DENSE_WIDTH, CONVOLUTIONAL_WIDTH = 256, 64


class ImageDiscriminator(ConditionalDiscriminator):
    """Judges whole images as images alone, whatever their labels."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        if size > LARGEST_DENSE:
            self.trunk: nn.Module = _convolutional_trunk(channels, size)
            features = self.trunk.features
        else:
            self.trunk, features = _dense_trunk(channels * size**2), DENSE_WIDTH
        self.head = spectral_norm(nn.Linear(features, 1))

    def logits(self, features: Tensor, _labels: Tensor, _trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, F)."""
        return self.head(features).squeeze(1)


class Kind(LearningGenerator):
    """A translator from the source domain to the target domain."""

    starts_from = "domain"
    needs_guesses = False

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        shape = plan["channels"], plan["size"]
        self.latent_dim = plan["latent_dim"] + plan["size"] ** 2  # one number for each pixel's noise
        self.objective = build_objective({"kind": "hinge", "margin": 1.0})
        self.network, self.discriminator = self._translator(), ImageDiscriminator(*shape)
        self.way_back = self._translator() if plan["cycle"] else None
        self.source_discriminator = ImageDiscriminator(*shape) if plan["cycle"] else None

    def _translator(self) -> nn.Module:
        plan = self.plan
        return build_translator(plan["range"], plan["channels"], plan["size"], plan["latent_dim"], plan["width"])

    @classmethod
    def study(
        cls, data: ReplicateData, _real: TrustedImages, params: TranslationParams, _seed: int
    ) -> tuple[Plan, None]:
        _, channels, size, _ = data.images.shape
        chosen: dict[str, Any] = params.model_dump(include={"range", "width", "latent_dim", "cycle", "identity"})
        return {"channels": channels, "size": size, **chosen}, None

    def players(self) -> dict[str, nn.Module]:
        generators, discriminators = [self.network, self.way_back], [self.discriminator, self.source_discriminator]
        return {
            "generator": nn.ModuleList(filter(None, generators)),
            "discriminator": nn.ModuleList(filter(None, discriminators)),
        }

    def compiled(self) -> Iterator[nn.Module]:
        yield self.network
        yield self.discriminator.trunk
        if self.way_back is not None and self.source_discriminator is not None:
            yield self.way_back
            yield self.source_discriminator.trunk

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        return judge(self.discriminator, images, draws, torch.ones(len(images), device=images.device))

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        """One step towards the target and, where a cycle is asked for, one back: both translators learn from both."""
        batch = feed.draw()
        measures = self._step(self.network, self.way_back, self.discriminator, batch, learner)
        if self.way_back is not None and self.source_discriminator is not None:
            assert batch.draws.sources is not None
            back = replace(batch, real=batch.draws.sources, draws=replace(batch.draws, sources=batch.real))
            self._step(self.way_back, self.network, self.source_discriminator, back, learner)
        return measures

    def _step(
        self,
        network: nn.Module,
        inverse: nn.Module | None,
        discriminator: ImageDiscriminator,
        batch: Batch,
        learner: Learner,
    ) -> dict[str, Tensor]:
        """A translator learns against its discriminator; `inverse`, which undoes it, learns with it."""

        def ties(fakes: Tensor) -> Tensor:
            """The weighted losses (N,) that tie what was drawn to its source."""
            losses = torch.zeros(len(fakes), device=fakes.device)
            if inverse is not None:
                returned = inverse(replace(batch.draws, sources=fakes))
                losses = losses + self.plan["cycle"] * _apart(returned, batch.draws.sources)
            if self.plan["identity"]:
                kept = network(replace(batch.draws, sources=batch.real))
                losses = losses + self.plan["identity"] * _apart(kept, batch.real)
            return losses

        return adversarial_step(network, discriminator, self.objective, batch, learner, ties)


def _apart(images: Tensor, others: Tensor | None) -> Tensor:
    """Mean absolute difference (N,) of images (N, C, H, W) from others."""
    assert others is not None
    return (images - others).abs().mean(dim=(1, 2, 3))


def _dense_trunk(pixels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        spectral_norm(nn.Linear(pixels, DENSE_WIDTH)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Linear(DENSE_WIDTH, DENSE_WIDTH)),
        nn.LeakyReLU(0.2),
    )


def _convolutional_trunk(channels: int, size: int) -> ConvolutionalTrunk:
    return ConvolutionalTrunk(
        NetworkConfig(
            "convolutional",
            classes=1,
            channels=channels,
            size=size,
            latent_dim=0,
            width=CONVOLUTIONAL_WIDTH,
            components=0,
            spectral=True,
        )
    )
