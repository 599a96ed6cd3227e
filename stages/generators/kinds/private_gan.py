"""A GAN whose discriminator learns by DP-SGD, and whose networks start from class Gaussians released beforehand.

Abadi et al., "Deep Learning with Differential Privacy" (2016), algorithm 1, for the gradients of real images. The
generator sees the discriminator alone, and fakes come from it, so that both cost nothing more. Several steps of the
discriminator for each of the generator: Bie et al., "Private GANs, Revisited" (2023).
"""

from collections.abc import Sequence
from dataclasses import asdict
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, nn

from stages.generators.accountant import least_noise
from stages.generators.batches import PoissonFeed
from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.interface import Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.params import PrivateGanParams
from stages.generators.private import PROMISE, PrivateGenerator, check, promise
from stages.generators.private_moments import gaussians, release
from stages.generators.projection import ProjectionDiscriminator
from stages.generators.randomness import random_of
from stages.labelling.data import ReplicateData, TrustedImages


class Judge(ProjectionDiscriminator):
    """A projection discriminator without spectral norm, under which the lengths of gradients cost much more time."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits (N,) of images (N, C, H, W) and classes (N,)."""
        return self.logits(self.features(images, None), labels, torch.ones_like(labels, dtype=images.dtype))


class Kind(LearningGenerator, PrivateGenerator):
    """Dense networks in low frequencies."""

    network: DenseGenerator

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        config = NetworkConfig(**plan["networks"])
        self.latent_dim = config.latent_dim
        self.network, self.discriminator = DenseGenerator(config), Judge(config)

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: PrivateGanParams, seed: int
    ) -> tuple[Plan, Moments]:
        images = len(real.images)
        check(params, images)
        steps = params.steps * params.discriminator_steps
        once = least_noise(params.epsilon * params.start_share, params.delta)
        each = least_noise(params.epsilon, params.delta, params.lot / images, steps, (once,))
        moments = gaussians(release(real, data.classes, params, once.noise, random_of(params, seed)), params.latent_dim)
        config = NetworkConfig.of("dense", data.classes, data.images, params.latent_dim, params.width, moments=moments)
        own = {name: getattr(params, name) for name in ("discriminator_steps", "gradient_clip")}
        plan = {"networks": asdict(config), **own, "noise": each.noise}
        return {**plan, PROMISE: promise(params, [once, each], images)}, moments

    def initialise(self, start: Moments) -> None:
        self.network.start_from(start)
        trunk = self.discriminator.trunk
        assert isinstance(trunk, DenseTrunk)
        trunk.start_from(start)

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.network, "discriminator": self.discriminator}

    def compiled(self) -> list[nn.Module]:
        return [self.network, self.discriminator.trunk]

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        return self.discriminator(images, draws.labels)

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        assert isinstance(feed, PoissonFeed)
        for _ in range(self.plan["discriminator_steps"]):
            batch = feed.draw()
            with torch.no_grad():
                fakes = self.network(batch.draws)
            losses = torch.relu(1 + self.discriminator(fakes, batch.draws.labels))
            of_fakes = torch.autograd.grad(losses.mean(), [*self.discriminator.parameters()])
            sums = clipped_sums(self.discriminator, batch.real, batch.labels, self.plan["gradient_clip"])
            of_real = self.noised(sums, feed)
            learner.follow("discriminator", [fake + real for fake, real in zip(of_fakes, of_real, strict=True)])
        draws = feed.fakes()
        self.discriminator.eval()
        fooled = -self.discriminator(self.network(draws), draws.labels)
        measures = {"generator_loss": learner.update("generator", fooled), "discriminator_loss": losses.mean().detach()}
        self.discriminator.train()
        return measures

    def noised(self, sums: Sequence[Tensor], feed: PoissonFeed) -> list[Tensor]:
        """Mean gradients over a lot, of `clipped_sums`: what the discriminator learns of real images."""
        deviation = self.plan["noise"] * self.plan["gradient_clip"]
        noise = (torch.randn(each.shape, generator=feed.random, device=each.device) * deviation for each in sums)
        return [(each + own) / feed.lot for each, own in zip(sums, noise, strict=True)]


def clipped_sums(discriminator: nn.Module, images: Tensor, labels: Tensor, clip: float) -> list[Tensor]:
    """For each parameter the sum over images (N, C, H, W) of the hinge loss's gradients, each image's cut to `clip`.

    No gradient of a single image is ever made: its length follows from what goes into the layers and what comes back
    (Li et al., "Large Language Models Can Be Strong Differentially Private Learners", 2022, section 4, by Opacus).
    """
    from opacus.grad_sample import GradSampleModuleFastGradientClipping  # an extra, and only for learning

    parameters = [*discriminator.parameters()]
    if not len(images):  # a draw may be empty
        return [torch.zeros_like(each) for each in parameters]
    watched = GradSampleModuleFastGradientClipping(
        discriminator, loss_reduction="sum", strict=False, max_grad_norm=clip, use_ghost_clipping=True
    )
    losses = torch.relu(1 - watched(images, labels))
    with catch_warnings():
        filterwarnings("ignore", "Full backward hook is firing")  # nobody asks for gradients of images
        torch.autograd.grad(losses.sum(), parameters, retain_graph=True)  # for the lengths alone
        scale = watched.get_clipping_coef()
        watched.remove_hooks()
        return [*torch.autograd.grad((scale * losses).sum(), parameters)]
