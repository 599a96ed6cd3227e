"""Drawn images made real: labelled ones of a graphics program, refined until they resemble unlabelled photographs.

SimGAN (Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training", CVPR 2017),
with which GazeGAN trained on drawn eyes. A residual network, which begins as the identity, changes a drawn image; an L1
term holds what it makes to what was drawn, so that the label stays true; a local discriminator, which judges every
patch by itself, leaves it no room to redraw the whole; and half of the refined images that the discriminator learns
from are earlier ones, so that artefacts which it has unlearned do not come back.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from stages.generators.interface import Batch, Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.objective import build_objective
from stages.generators.params import RefinerParams
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import ReplicateData, TrustedImages

BLOCKS = 2  # residual ones of the refiner: a pixel of the result sees 13 x 13 of the drawn image
GRID = 2  # the latent's map, that many numbers a side and channel, enlarged to the image


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate") for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        changed = self.first(functional.leaky_relu(hidden, 0.2))
        return hidden + self.second(functional.leaky_relu(changed, 0.2))


class Refiner(nn.Module):
    """Draws to images (N, C, H, W) about [-1, 1]: the drawn image plus a residual, which is 0 before it learns.

    The latent lets one drawn image become several.
    """

    def __init__(self, channels: int, latent_dim: int, width: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels, width, 3, padding=1, padding_mode="replicate")
        self.shading = nn.Linear(latent_dim, width * GRID**2)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(BLOCKS)))
        self.output = nn.Conv2d(width, channels, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from the other domain get them
        shading = self.shading(draws.latents).unflatten(1, (-1, GRID, GRID))
        size = draws.sources.shape[-2:]
        hidden = self.input(draws.sources) + functional.interpolate(shading, size, mode="bilinear")
        return draws.sources + self.output(functional.leaky_relu(self.blocks(hidden), 0.2))


class LocalDiscriminator(nn.Module):
    """Judges patches of 7 x 7 pixels, each by itself and, where it is conditional, as one of an image of the class."""

    def __init__(self, channels: int, classes: int, width: int, conditional: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, width, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
        )
        self.psi = spectral_norm(nn.Conv2d(2 * width, 1, 1))
        self.embed = spectral_norm(nn.Embedding(classes, 2 * width)) if conditional else None

    def forward(self, images: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N, patches) of images (N, C, H, W) whose labels (N,) are trusted so far (N,)."""
        features = self.trunk(images)
        logits = self.psi(features).squeeze(1)
        if self.embed is not None:  # projection (Miyato and Koyama 2018), at every place
            logits = logits + torch.einsum("nfhw,nf->nhw", features, trust.unsqueeze(1) * self.embed(labels))
        return logits.flatten(1)


class Kind(LearningGenerator):
    """A refiner of drawn images, and the refined images that it remembers."""

    starts_from = "domain"
    past: Tensor
    past_labels: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        channels, size, width = plan["channels"], plan["size"], plan["width"]
        self.latent_dim = plan["latent_dim"]
        self.network = Refiner(channels, self.latent_dim, width)
        self.discriminator = LocalDiscriminator(channels, plan["classes"], width, plan["conditional"])
        self.objective = build_objective({"kind": "hinge", "margin": 1.0})
        # Buffers are packed with the networks: a training that goes on remembers what it had refined.
        self.register_buffer("past", torch.zeros(plan["history"], channels, size, size, dtype=torch.uint8))
        self.register_buffer("past_labels", torch.zeros(plan["history"], dtype=torch.int64))

    @classmethod
    def study(
        cls, data: ReplicateData, _real: TrustedImages, params: RefinerParams, _seed: int
    ) -> tuple[Plan, tuple[Tensor, Tensor]]:
        _, channels, size, _ = data.images.shape
        chosen: dict[str, Any] = params.model_dump(
            include={"width", "latent_dim", "conditional", "history", "self_regularisation"}
        )
        start = data.images[: data.from_source], data.labels[: data.from_source]
        return {"channels": channels, "size": size, "classes": data.classes, **chosen}, start

    def initialise(self, start: tuple[Tensor, Tensor]) -> None:
        """It remembers drawn images as they are: so the refiner leaves them before it learns."""
        images, labels = start
        rows = torch.arange(len(self.past), device=images.device) * len(images) // max(len(self.past), 1)
        rows = rows % len(images)
        self.past.copy_(images[rows])
        self.past_labels.copy_(labels[rows])

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.network, "discriminator": self.discriminator}

    def compiled(self) -> Iterator[nn.Module]:
        yield self.network
        yield self.discriminator.trunk

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        """The mean logit of an image's patches."""
        return self.discriminator(images, draws.labels, torch.ones(len(images), device=images.device)).mean(dim=1)

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        batch = feed.draw()
        size, sources = len(batch.real), batch.draws.sources
        assert sources is not None  # kinds that start from the other domain get them
        remembered, labels = self._remembered(batch, feed.random)
        with learner.autocast():
            refined = self.network(batch.draws)
            every = learner.augment(torch.cat([batch.real, refined, remembered]))
        real, fake, old = every.split([size, size, len(remembered)])
        shown = torch.cat([old, fake[len(old) :]])
        measures = self._teach_discriminator(real, shown, batch, labels, learner)

        distance = (refined - sources).abs().flatten(1).mean(dim=1)
        self.discriminator.eval()  # it stands still while the refiner learns, its power iteration too
        with learner.autocast():
            logits = self.discriminator(fake, batch.draws.labels, batch.trust)
            losses = self.objective.generator(logits, logits).mean(dim=1)
            losses = losses + self.plan["self_regularisation"] * distance
        measures["generator_loss"] = learner.update("generator", losses)
        self.discriminator.train()
        self._remember(refined.detach(), batch.draws.labels, feed.random)
        return measures | {"distance": distance.detach().mean()}

    def _teach_discriminator(
        self, real: Tensor, shown: Tensor, batch: Batch, labels: Tensor, learner: Learner
    ) -> dict[str, Tensor]:
        """A step on real images and as many refined ones of these labels; every patch counts alike."""
        images = torch.cat([real, shown]).detach()
        with learner.autocast():
            # Refined images take the trust of the real ones: it must not tell the two apart.
            logits = self.discriminator(images, torch.cat([batch.labels, labels]), batch.trust.repeat(2))
            real_logits, fake_logits = logits.split(len(real))
            losses = self.objective.discriminator(real_logits, fake_logits).mean(dim=1)
        real_logits, fake_logits = real_logits.detach(), fake_logits.detach()
        return {
            "discriminator_loss": learner.update("discriminator", losses),
            "real_logit": real_logits.mean(),
            "fake_logit": fake_logits.mean(),
            "sureness": self.objective.sureness(real_logits, fake_logits),
        }

    def _remembered(self, batch: Batch, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Half a batch of earlier images, and the labels of these and of the batch's own behind them.

        Shrivastava et al. 2017, section 2.3.
        """
        count = min(len(batch.real) // 2, len(self.past))
        rows = torch.randperm(len(self.past), generator=random, device=self.past.device)[:count]
        labels = torch.cat([self.past_labels[rows], batch.draws.labels[count:]])
        return to_network_range(self.past[rows]), labels

    def _remember(self, refined: Tensor, labels: Tensor, random: torch.Generator) -> None:
        """Half of the batch takes the place of as many that were remembered, at random."""
        count = min(len(refined) // 2, len(self.past))
        rows = torch.randperm(len(self.past), generator=random, device=self.past.device)[:count]
        self.past[rows] = to_bytes(refined[:count])
        self.past_labels[rows] = labels[:count]
