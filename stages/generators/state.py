"""All that changes while a generator learns, and how it is kept and brought back to the last bit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from stages.generators.interface import LearningGenerator, Plan
from stages.generators.params import LearningParams, SteppedParams
from stages.generators.randomness import random_of
from stages.imaging.networks import moving_average

# No momentum, as the other player moves (Zhang et al., "Self-Attention GANs", 2019): 0.5 cost 5 points of accuracy.
ADAM_BETAS = (0.0, 0.9)


class Checkpoint(Protocol):
    """Where a training keeps its state, so that a killed one goes on from there."""

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was."""

    def save(self, state: dict[str, Any]) -> None:
        """Keeps the state in place of the one before, whole or not at all."""


@dataclass
class TrainingState:
    """Everything that changes from step to step.

    `sums`: of the named measures since the last report. `signs`: of `sureness` since the strength was last adapted.
    `strength`: of the augmentation, 0..1. `diversity`: at its highest so far (see `health.diversity`), NaN before the
    first. `best`: weights of the averaged network that is kept, and `best_told` what is told of it, where looks
    choose one; empty where the last is kept.
    """

    generator: LearningGenerator
    optimisers: Mapping[str, torch.optim.Optimizer]
    average: AveragedModel
    random: torch.Generator
    sums: dict[str, Tensor] = field(default_factory=dict)
    signs: float | Tensor = 0.0
    step: int = 0
    strength: float = 0.0
    rollbacks: int = 0
    diversity: float = float("nan")
    best: dict[str, Tensor] = field(default_factory=dict)
    best_told: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    samples: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def pack(self) -> dict[str, Any]:
        """All of it as tensors, numbers, lists and dictionaries, which `torch.load` reads with `weights_only`."""
        return {
            "tensors": {name: part.state_dict() for name, part in self._parts().items()},
            "random": self.random.get_state(),
            "plain": {name: getattr(self, name) for name in _PLAIN},
            "samples": {step: torch.from_numpy(picture) for step, picture in self.samples.items()},
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """Goes back to a packed state; the steps that follow are those that followed it, to the last bit."""
        for name, part in self._parts().items():
            part.load_state_dict(packed["tensors"][name])
        self.random.set_state(packed["random"])
        for name in _PLAIN:
            setattr(self, name, packed["plain"][name])
        self.samples = {step: picture.numpy() for step, picture in packed["samples"].items()}

    def _parts(self) -> dict[str, Any]:
        optimisers = {f"{player}'s optimiser": optimiser for player, optimiser in self.optimisers.items()}
        return {"networks": self.generator, "average": self.average, **optimisers}

    @property
    def logged_step(self) -> int:
        """The step of the last entry in the history."""
        return int(self.history[-1]["step"]) if self.history else 0


_PLAIN = (
    "sums",
    "signs",
    "step",
    "strength",
    "rollbacks",
    "diversity",
    "best",
    "best_told",
    "history",
    "curve",
)


def start(
    kind: type[LearningGenerator], plan: Plan, begin: Any, params: SteppedParams, seed: int, device: torch.device
) -> TrainingState:
    """The state before the first step; `seed` decides first weights and all draws, `begin` where the kind starts."""
    first_weights, draws = np.random.SeedSequence(seed).generate_state(2).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first_weights)  # modules draw their first weights from the global generator alone
        generator = kind(plan)
    generator.initialise(begin)
    # On a CPU, convolutions over maps that keep a pixel's channels together run up to half faster.
    generator.to(memory_format=torch.channels_last).to(device)
    average = moving_average(generator.network, params.ema_decay)
    if isinstance(params, LearningParams) and params.compile:
        for module in generator.compiled():
            module.compile()  # in place: names and values of the tensors stay as they are
    return TrainingState(
        generator=generator,
        optimisers={
            name: torch.optim.Adam(
                player.parameters(), lr=getattr(params, f"{name}_learning_rate"), betas=ADAM_BETAS, fused=True
            )
            for name, player in generator.players().items()
        },
        average=average,
        random=random_of(params, draws, device),
    )
