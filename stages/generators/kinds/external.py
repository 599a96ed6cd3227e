"""Images made elsewhere, by a diffusion model, a collection of generators or a graphics program.

They stand beside our generators in the same comparison, behind the same filter. Every replicate has all of them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.generators.interface import Draws, Generator, Plan
from stages.generators.params import GeneratorParams
from stages.imaging.files import labelled_images
from stages.imaging.pixels import to_network_range
from stages.labelling.data import ReplicateData, TrustedImages


class Album(nn.Module):
    """Hands out images uint8 (N, C, H, W), class by class, by class and number."""

    images: Tensor
    starts: Tensor
    counts: Tensor

    def __init__(self, counts: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(sum(counts), *shape, dtype=torch.uint8))
        self.register_buffer("counts", torch.tensor(counts))
        self.register_buffer("starts", torch.tensor(counts).cumsum(0) - torch.tensor(counts))

    def forward(self, draws: Draws) -> Tensor:
        number = draws.index % self.counts[draws.labels]
        return to_network_range(self.images[self.starts[draws.labels] + number])


class Kind(Generator):
    """A folder of images as a generator that draws each of them once."""

    latent_dim = 0

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.network = Album(plan["counts"], plan["shape"])

    @classmethod
    def study(
        cls, data: ReplicateData, _real: TrustedImages, params: GeneratorParams, _seed: int
    ) -> tuple[Plan, Tensor]:
        assert data.form is not None  # the stage says what every image must become
        names, pixels, labels = labelled_images(Path(params.path), data.form.class_names, data.form.image)
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=data.classes).tolist()
        plan = {"counts": counts, "shape": list(pixels.shape[1:]), "names": names[order].tolist()}
        return plan, torch.from_numpy(pixels[order])

    def initialise(self, start: Tensor) -> None:
        self.network.get_buffer("images").copy_(start)

    def names(self, label: int, index: Sequence[int]) -> list[str]:
        first = sum(self.plan["counts"][:label])
        return [self.plan["names"][first + number] for number in index]
