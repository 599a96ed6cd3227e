"""What a kind of generator is to the stages: planned from data, built from its plan alone, taught, and asked to draw.

A kind is a class in a module of its own in `kinds/`, and one line in `registry.py`. Whatever is inside, the stages see
this interface alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stages.labelling.data import ReplicateData, TrustedImages

# What is needed to build a generator's networks again, as plain JSON. `counts`, images of each class, is there where a
# kind can draw these alone and no others.
Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Draws:
    """What images are drawn from, row by row.

    labels: int64 (N,), the classes wanted. latents: float32 (N, latent_dim), standard normal before truncation. index:
    int64 (N,), the image's number within its class. sources: float32 (N, C, H, W) in [-1, 1], the real images to start
    from; None for kinds that start from noise. masks: float32 (N, 1, H, W), 1 in the region of its source that an image
    draws anew, else 0; None for kinds that know of no regions.
    """

    labels: Tensor
    latents: Tensor
    index: Tensor
    sources: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Real images (N, C, H, W) in [-1, 1], their labels (N,) and trust in these (N,), and the draws of as many fakes.

    The fakes have the labels of the real images, row by row, unless a kind starts from the other domain. masks: regions
    of the real images, like those of draws.
    """

    real: Tensor
    labels: Tensor
    trust: Tensor
    draws: Draws
    masks: Tensor | None = None


class Generator(nn.Module, ABC):
    """One kind of generator. An instance is built from its plan alone, untrained, and holds its plan.

    network: draws images (N, C, H, W) about [-1, 1] from `Draws`. starts_from: noise alone; another real image of the
    class; a region of a labelled image of any class; or a labelled image of the source domain, unpaired with the
    target's images that it learns to resemble, which such a kind leaves as it is until it has learned. needs_guesses:
    whether the pool's labels must be guessed for it. latent_dim: numbers that an image is drawn from.
    """

    starts_from: ClassVar[Literal["noise", "class", "region", "domain"]] = "noise"
    needs_guesses: ClassVar[bool] = True
    network: nn.Module
    latent_dim: int

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    @classmethod
    @abstractmethod
    def study(cls, data: ReplicateData, real: TrustedImages, params: Any, seed: int) -> tuple[Plan, Any]:
        """The plan of a generator for these images, and what it starts from, which `initialise` takes.

        params: the generator's section. real: all images it may learn from, the labelled ones first. seed: decides
        what is random in it.
        """

    @classmethod
    def seen(cls, data: ReplicateData, params: Any) -> ReplicateData:  # noqa: ARG003
        """What of the data it may see at all."""
        return data

    @classmethod
    def learned_from(cls, data: ReplicateData, real: TrustedImages, params: Any) -> TrustedImages:  # noqa: ARG003
        """All images that it learns from: those of its own classes (`real`), first, and others that it has use for."""
        return real

    def initialise(self, start: Any) -> None:
        """Puts the networks where learning starts; kinds that don't learn are ready then."""

    def names(self, label: int, index: Sequence[int]) -> list[str] | None:  # noqa: ARG002
        """Names of images that have some already; None where the stage names them."""
        return None

    def judge(self, images: Tensor, draws: Draws) -> Tensor | None:  # noqa: ARG002
        """Logits (N,), high for what seems real, of images (N, C, H, W) in [-1, 1]; None for kinds that don't judge."""
        return None


class LearningGenerator(Generator):
    """A kind that learns by steps. The moving average of `network` is what draws in the end."""

    @abstractmethod
    def players(self) -> dict[str, nn.Module]:
        """What learns, by name, each with an optimiser of its own and a learning rate `<name>_learning_rate`."""

    @abstractmethod
    def learn(self, feed: "Feed", learner: "Learner") -> dict[str, Tensor]:
        """Let all players learn from one batch; named measures, scalars, always the same names.

        `sureness`, -1..1, how sure the discriminator is of the real images, is what augmentation adapts to, if any.
        """

    @abstractmethod
    def compiled(self) -> Iterable[nn.Module]:
        """The modules whose forward pass takes the time, for torch.compile."""


class Feed(ABC):
    """Where a step's real images and latents come from."""

    labels: Tensor
    trust: Tensor
    random: torch.Generator

    @abstractmethod
    def draw(self, among: Tensor | None = None) -> Batch:
        """A batch of random real images: of all, or of the rows `among` (M,)."""


@dataclass
class Learner:
    """The one place through which players are updated.

    optimisers: by player. augment: what the discriminator's images go through. autocast: the precision of a forward
    pass, which is never put around an update: a second pass would then use weights as they were before it.
    """

    optimisers: Mapping[str, torch.optim.Optimizer]
    augment: Callable[[Tensor], Tensor]
    autocast: Callable[[], AbstractContextManager[object]]

    def update(self, player: str, losses: Tensor) -> Tensor:
        """Takes a step of this player down the mean of losses (N,), one for each example; the mean, detached.

        Nothing but the player's own parameters gets a gradient.
        """
        optimiser, loss = self.optimisers[player], losses.float().mean()
        optimiser.zero_grad()
        loss.backward(inputs=[parameter for group in optimiser.param_groups for parameter in group["params"]])
        optimiser.step()
        return loss.detach()

    def follow(self, player: str, gradients: Sequence[Tensor]) -> None:
        """Takes a step of this player down gradients that were clipped and noised, one for each of its parameters."""
        optimiser = self.optimisers[player]
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
