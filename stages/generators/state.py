"""All that changes while a GAN is trained, and how it is kept and brought back to the last bit."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stages.generators.interface import MEASURES, Players
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.params import TrainGanParams
from stages.generators.registry import FAMILIES
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
class Snapshot:
    """The averaged generator after some step, as plain tensors, with how it did on the validation images.

    `scores`: measures of quality by name. `log_likelihood` (N,): see `quality.log_likelihood`; empty where there are no
    validation images.
    """

    step: int
    generator: dict[str, Tensor]
    scores: dict[str, float]
    log_likelihood: Tensor


@dataclass
class TrainingState:
    """Everything that changes from step to step.

    `sums`: of MEASURES since the last report. `signs`: of the real logits since the strength was last adapted.
    `strength`: of the augmentation, 0..1. `diversity`: at its highest so far (see `health.diversity`),
    NaN before the first.
    """

    config: NetworkConfig
    players: Players
    average: AveragedModel
    random: torch.Generator
    sums: Tensor
    signs: Tensor
    step: int = 0
    strength: float = 0.0
    rollbacks: int = 0
    diversity: float = float("nan")
    history: list[dict[str, float]] = field(default_factory=list)
    samples: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)

    def pack(self) -> dict[str, Any]:
        """All of it as tensors, numbers, lists and dictionaries, which `torch.load` reads with `weights_only`."""
        return {
            "tensors": {name: part.state_dict() for name, part in self._parts().items()},
            "random": self.random.get_state(),
            "sums": self.sums,
            "signs": self.signs,
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
            "history": self.history,
            "samples": {step: torch.from_numpy(picture) for step, picture in self.samples.items()},
            "snapshots": [vars(snapshot) for snapshot in self.snapshots],
        }

    def unpack(self, packed: dict[str, Any]) -> None:
        """Goes back to a packed state; the steps that follow are those that followed it, to the last bit."""
        for name, part in self._parts().items():
            part.load_state_dict(packed["tensors"][name])
        self.random.set_state(packed["random"])
        self.sums.copy_(packed["sums"])
        self.signs.copy_(packed["signs"])
        for name in _NUMBERS:
            setattr(self, name, packed["numbers"][name])
        self.history = packed["history"]
        self.samples = {step: picture.numpy() for step, picture in packed["samples"].items()}
        self.snapshots = [Snapshot(**snapshot) for snapshot in packed["snapshots"]]

    def _parts(self) -> dict[str, Any]:
        return vars(self.players) | {"average": self.average}

    @property
    def logged_step(self) -> int:
        """The step of the last entry in the history."""
        return int(self.history[-1]["step"]) if self.history else 0


_NUMBERS = ("step", "strength", "rollbacks", "diversity")


def start(config: NetworkConfig, moments: Moments, params: TrainGanParams, seed: int) -> TrainingState:
    """The state before the first step; `seed` decides first weights and all draws, `moments` where images start."""
    first_weights, draws = np.random.SeedSequence(seed).generate_state(2).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first_weights)  # modules draw their first weights from the global generator alone
        generator, discriminator = FAMILIES[config.family].build(config, moments)
    # On a CPU, convolutions over maps that keep a pixel's channels together run up to half faster.
    place: dict[str, Any] = {"device": params.device}
    if config.layers == "convolutional":
        place["memory_format"] = torch.channels_last
    generator, discriminator = generator.to(**place), discriminator.to(**place)
    average = moving_average(generator, params.ema_decay)
    if params.compile:
        _compile(generator, discriminator)
    return TrainingState(
        config=config,
        players=Players(
            generator,
            discriminator,
            generator_optimizer=_adam(generator, params.generator_learning_rate),
            discriminator_optimizer=_adam(discriminator, params.discriminator_learning_rate),
        ),
        average=average,
        random=torch.Generator(params.device).manual_seed(draws),
        sums=torch.zeros(len(MEASURES), device=params.device),
        signs=torch.zeros((), device=params.device),
    )


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's parameters and buffers on the CPU, laid out plainly."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}


def _compile(generator: nn.Module, discriminator: nn.Module) -> None:
    """Compile what takes the time, in place: names and values of the tensors stay as they are."""
    generator.compile()
    for name, module in discriminator.named_modules():
        if name.endswith("trunk"):
            module.compile()


def _adam(network: nn.Module, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=ADAM_BETAS, fused=True)
