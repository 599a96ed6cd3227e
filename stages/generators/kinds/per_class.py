"""A GAN of its own for every class, as in the study of liver lesions by Frid-Adar et al. (2018).

The classes share nothing but the components in which dense networks start and the covariances they borrow: what one
learns helps no other. It is here because the medical literature uses it.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator, adversarial_step, judge
from stages.generators.interface import Draws, Feed, Learner
from stages.generators.moments import Moments
from stages.generators.networks import build_generator
from stages.generators.projection import ProjectionDiscriminator

LEAST_TRUST = 0.5  # an unlabelled image joins the class that it more likely than not belongs to


class OnePerClass(nn.Module):
    """A network for each class."""

    def __init__(self, networks: Iterator[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, draws: Draws) -> Tensor:
        """Images (N, C, H, W), each by its class's network."""
        images = []
        for label in draws.labels.unique().tolist():
            rows = (draws.labels == label).nonzero().squeeze(1)
            images.append((rows, self.networks[label](_of_one_class(draws, rows))))
        rows, drawn = (torch.cat(parts) for parts in zip(*images, strict=True))
        return torch.empty_like(drawn).index_copy(0, rows, drawn)


class Kind(AdversarialGenerator):
    """As many GANs as there are classes, none of which looks at a class."""

    def build(self) -> tuple[nn.Module, nn.Module]:
        alone, classes = replace(self.config, classes=1), range(self.config.classes)
        return (
            OnePerClass(build_generator(alone) for _ in classes),
            OnePerClass(ProjectionDiscriminator(alone) for _ in classes),
        )

    def initialise(self, start: Moments | None) -> None:
        if start is not None:
            for label in range(self.config.classes):
                self.start_from(*self._pair(label), start.of_class(label))

    def compiled(self) -> Iterator[nn.Module]:
        for label in range(self.config.classes):
            network, discriminator = self._pair(label)
            yield network
            yield discriminator.get_submodule("trunk")

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        logits = images.new_empty(len(images))
        for label in draws.labels.unique().tolist():
            rows = (draws.labels == label).nonzero().squeeze(1)
            trust = images.new_ones(len(rows))
            logits[rows] = judge(self._pair(label)[1], images[rows], _of_one_class(draws, rows), trust)
        return logits

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        """The players of one class, drawn at random, learn from one batch of it."""
        trusted = feed.trust >= LEAST_TRUST
        present = feed.labels[trusted].unique()
        label = int(present[torch.randint(len(present), (1,), generator=feed.random, device=present.device)])
        batch = feed.draw(((feed.labels == label) & trusted).nonzero().squeeze(1))
        # Labels of 0 and no trust: a projection that is not looked at leaves an unconditional discriminator.
        labels = torch.zeros_like(batch.labels)
        draws = replace(batch.draws, labels=labels)
        unlabelled = replace(batch, labels=labels, draws=draws, trust=torch.zeros_like(batch.trust))
        return adversarial_step(*self._pair(label), self.objective, unlabelled, learner)

    def _pair(self, label: int) -> tuple[nn.Module, nn.Module]:
        """The class's own networks."""
        name = f"networks.{label}"
        return self.network.get_submodule(name), self.discriminator.get_submodule(name)


def _of_one_class(draws: Draws, rows: Tensor) -> Draws:
    """The draws of these rows, for networks that know one class, numbered 0."""
    return Draws(torch.zeros_like(rows), draws.latents[rows], draws.index[rows])
