"""Kinds that learn against a discriminator which knows the classes: one step of two players, and how they start."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stages.generators.interface import Batch, Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.moments import Moments, measure
from stages.generators.network_config import Layers, NetworkConfig
from stages.generators.networks import build_generator
from stages.generators.objective import Objective, build_objective, gradient_penalty
from stages.generators.params import AdversarialParams, ConditionalParams
from stages.labelling.data import ReplicateData, TrustedImages


class ConditionalDiscriminator(nn.Module, ABC):
    """Judges images in two strides, `trunk` and `logits`, so that real and fake images share the first."""

    def features(self, images: Tensor, sources: Tensor | None) -> Tensor:  # noqa: ARG002 - few kinds judge pairs
        """Features (N, F) of images (N, C, H, W); sources: the real images that each stands beside."""
        return self.get_submodule("trunk")(images)

    @abstractmethod
    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,), high for what seems real, from features (N, F), labels (N,) and trust in them (N,), 0..1.

        One that judges parts of an image too has a row of logits for each image, which `together` makes one.
        """

    def together(self, values: Tensor) -> Tensor:
        """What the logits of an image, or the losses of these, come to: (N,)."""
        return values

    def class_losses(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:  # noqa: ARG002
        """What telling the classes apart adds to the losses (N,) of the player whose images these are."""
        return torch.zeros_like(trust)


class AdversarialGenerator(LearningGenerator):
    """Two players. A kind states its `Discriminator`, and may build another network that draws."""

    Discriminator: ClassVar[type[ConditionalDiscriminator]]
    discriminator: nn.Module

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.config = NetworkConfig(**plan["networks"])
        self.objective = build_objective(plan["objective"])
        self.latent_dim = self.config.latent_dim
        self.network, self.discriminator = self.build()

    @staticmethod
    def layers(params: Any) -> Layers:
        """What the networks are made of; dense ones start from the images' moments."""
        assert isinstance(params, AdversarialParams)
        return params.layers

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: ConditionalParams, _seed: int
    ) -> tuple[Plan, Moments | None]:
        layers = cls.layers(params)
        moments = measure(real, data.classes, params.latent_dim) if layers == "dense" else None
        config = NetworkConfig.of(
            layers,
            data.classes,
            real.images,
            params.latent_dim,
            params.width,
            moments=moments,
            spectral=params.objective.kind == "hinge",
        )
        return {"networks": asdict(config), "objective": params.objective.model_dump()}, moments

    def build(self) -> tuple[nn.Module, nn.Module]:
        """The untrained networks: one that draws, and a discriminator."""
        return build_generator(self.config), self.Discriminator(self.config)

    def initialise(self, start: Moments | None) -> None:
        """Dense networks begin with the images' components and Gaussians."""
        if start is not None:
            self.start_from(self.network, self.discriminator, start)

    def start_from(self, network: nn.Module, discriminator: nn.Module, moments: Moments) -> None:
        """Puts a pair of networks where the moments say."""
        for part in (network, discriminator.get_submodule("trunk")):
            part.start_from(moments)  # type: ignore[operator]  # dense ones have it

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.network, "discriminator": self.discriminator}

    def compiled(self) -> Iterator[nn.Module]:
        yield self.network
        yield self.discriminator.get_submodule("trunk")

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        trust = torch.ones(len(images), device=images.device)
        return judge(self.discriminator, images, draws, trust)

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        return adversarial_step(self.network, self.discriminator, self.objective, feed.draw(), learner)


def judge(discriminator: nn.Module, images: Tensor, draws: Draws, trust: Tensor) -> Tensor:
    """Logits (N,) of images (N, C, H, W) in [-1, 1] of these draws, whose labels are trusted so far (N,)."""
    assert isinstance(discriminator, ConditionalDiscriminator)
    return discriminator.together(_logits(discriminator, images, draws, trust))


def _logits(discriminator: ConditionalDiscriminator, images: Tensor, draws: Draws, trust: Tensor) -> Tensor:
    return discriminator.logits(discriminator.features(images, draws.sources), draws.labels, trust)


def adversarial_step(
    network: Callable[[Draws], Tensor],
    discriminator: nn.Module,
    objective: Objective,
    batch: Batch,
    learner: Learner,
    ties: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Both players learn from one batch. The same fakes, augmented alike, serve both.

    ties: further losses (N,) of the generator, from its fakes (N, C, H, W) before they are augmented.
    """
    assert isinstance(discriminator, ConditionalDiscriminator)
    size, sources, penalty = len(batch.real), batch.draws.sources, objective.penalty
    # Fakes take the trust of the real images, and mostly their labels: neither must tell the two apart.
    labels = torch.cat([batch.labels, batch.draws.labels])
    with learner.autocast():
        drawn = network(batch.draws)
        both = learner.augment(torch.cat([batch.real, drawn]))
        real, fake = both.split(size)

    images = both.detach().requires_grad_(penalty > 0)
    with learner.autocast():
        # Real and fake go through together: half the calls, and one power iteration.
        features = discriminator.features(images, None if sources is None else sources.repeat(2, 1, 1, 1))
        logits = discriminator.logits(features, labels, batch.trust.repeat(2))
        real_logits, fake_logits = logits.split(size)
        losses = discriminator.together(objective.discriminator(real_logits, fake_logits))
        losses = losses + discriminator.class_losses(features[:size], batch.labels, batch.trust)
    if penalty > 0:  # R1 of the real image and R2 of the fake one, pair by pair
        losses = losses + penalty * gradient_penalty(discriminator.together(logits), images).view(2, size).sum(dim=0)
    seeming = [discriminator.together(each.detach()) for each in (real_logits, fake_logits)]
    measures = {
        "discriminator_loss": learner.update("discriminator", losses),
        "real_logit": seeming[0].mean(),
        "fake_logit": seeming[1].mean(),
        "sureness": objective.sureness(*seeming),
    }

    discriminator.eval()  # it stands still while the generator learns, its power iteration too
    with learner.autocast():
        features = discriminator.features(fake, sources)
        lead = fake_logits = discriminator.logits(features, batch.draws.labels, batch.trust)
        if objective.generator_sees_real:
            with torch.no_grad():
                lead = _logits(discriminator, real, batch.draws, batch.trust)
        losses = discriminator.together(objective.generator(lead, fake_logits))
        losses = losses + discriminator.class_losses(features, batch.draws.labels, batch.trust)
        if ties is not None:
            losses = losses + ties(drawn)
    measures["generator_loss"] = learner.update("generator", losses)
    discriminator.train()
    return measures
