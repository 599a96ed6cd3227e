"""One step of two players, for every family whose discriminator is a `ConditionalDiscriminator`."""

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from stages.generators.interface import Batch, Feed, Players
from stages.generators.objective import Objective, gradient_penalty


class ConditionalDiscriminator(nn.Module, ABC):
    """Judges images in two strides, so that real and fake images share the first."""

    trunk: nn.Module

    @abstractmethod
    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,), high for what seems real, from features (N, F), labels (N,) and trust in them (N,), 0..1."""

    @abstractmethod
    def class_loss(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """What telling the classes apart adds to the loss of the player whose images these are; a scalar."""


def judge(discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Logits (N,), high for what seems real, of images (N, C, H, W) in [-1, 1] of these classes (N,)."""
    conditional = cast(ConditionalDiscriminator, discriminator)
    trust = torch.ones(len(labels), device=labels.device)
    return conditional.logits(conditional.trunk(images), labels, trust)


def adversarial_step(players: Players, batch: Batch, feed: Feed, objective: Objective) -> Tensor:
    """Both players learn from one batch; MEASURES (5,). The same fakes, augmented alike, serve both."""
    # Fakes take the labels and the trust of the real images: neither must tell the two apart.
    fake = players.generator(batch.latents, batch.labels)
    real, fake = feed.augment(torch.cat([batch.real, fake])).split(len(fake))
    discriminator_loss, real_logits, fake_logits = _discriminator_step(players, batch, real, fake.detach(), objective)
    generator_loss = _generator_step(players, batch, real, fake, objective)
    sureness = objective.sureness(real_logits, fake_logits)
    return torch.stack([discriminator_loss, generator_loss, real_logits.mean(), fake_logits.mean(), sureness])


def _discriminator_step(
    players: Players, batch: Batch, real: Tensor, fake: Tensor, objective: Objective
) -> tuple[Tensor, Tensor, Tensor]:
    """Its loss, and the logits of real and fake images (N,), all detached."""
    discriminator, size = cast(ConditionalDiscriminator, players.discriminator), len(fake)
    images = torch.cat([real.detach(), fake]).requires_grad_(objective.penalty > 0)
    # Real and fake go through together: half the calls, and one power iteration.
    features = discriminator.trunk(images)
    logits = discriminator.logits(features, batch.labels.repeat(2), batch.trust.repeat(2))
    real_logits, fake_logits = logits.split(size)
    loss = objective.discriminator(real_logits, fake_logits)
    loss = loss + discriminator.class_loss(features[:size], batch.labels, batch.trust)
    if objective.penalty > 0:
        # The mean runs over real and fake images together, so twice it is R1 + R2.
        loss = loss + 2 * objective.penalty * gradient_penalty(logits, images)
    players.discriminator_optimizer.zero_grad()
    loss.backward()
    players.discriminator_optimizer.step()
    return loss.detach(), real_logits.detach(), fake_logits.detach()


def _generator_step(players: Players, batch: Batch, real: Tensor, fake: Tensor, objective: Objective) -> Tensor:
    """Its loss, detached; what the discriminator would learn from it is not computed."""
    discriminator = cast(ConditionalDiscriminator, players.discriminator).eval().requires_grad_(False)
    features = discriminator.trunk(fake)
    logits = discriminator.logits(features, batch.labels, batch.trust)
    real_logits = logits
    if objective.generator_sees_real:
        with torch.no_grad():
            real_logits = discriminator.logits(discriminator.trunk(real), batch.labels, batch.trust)
    loss = objective.generator(real_logits, logits) + discriminator.class_loss(features, batch.labels, batch.trust)
    players.generator_optimizer.zero_grad()
    loss.backward()
    players.generator_optimizer.step()
    discriminator.train().requires_grad_(True)
    return loss.detach()
