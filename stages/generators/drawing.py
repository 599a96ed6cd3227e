"""Images from a generator, and a trained one as it lies on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.generators.alignment import Poses
from stages.generators.interface import Draws, Generator
from stages.generators.registry import kind
from stages.generators.requests import PLAN, Requests, Sources, read_plan
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import reading

WEIGHTS, POSES, HISTORY = "weights.safetensors", "poses.safetensors", "history.json"


@dataclass(frozen=True)
class Drawn:
    """What was drawn for requests: the N that were wanted.

    images: uint8 (N, C, H, W). scores: what is known of each, where it was asked for, float32 (N,) by name.
    `latent_norm`: length of the latent before truncation; images of short ones are typical, of long ones rare (the
    truncation trick of Brock et al. 2019). `realness`, where the kind judges: the discriminator's logit, high for what
    seems real (rejection as in Azadi et al. 2019, "Discriminator Rejection Sampling").
    """

    images: NDArray[np.uint8]
    scores: dict[str, NDArray[np.float32]]


def sources_of(generator: Generator, data: ReplicateData) -> Sources | None:
    """The images that may be sources, the first labelled ones: those of the source domain for kinds that start from it,
    all for kinds that start from another image; of class -1 are those that are none because the generator's plan names
    others. None for kinds that start from noise."""
    if generator.starts_from == "noise":
        return None
    labels = data.labels[: data.from_source if generator.starts_from == "domain" else None].cpu().numpy()
    named = generator.plan.get("sources", range(len(labels)))
    labels = np.where(np.isin(np.arange(len(labels)), named), labels, -1)
    if generator.starts_from != "region":
        return Sources(labels)
    assert data.masks is not None  # without any, none of this kind could be trained
    return Sources(labels, data.masks[: len(labels)].flatten(1).any(dim=1).cpu().numpy())


@torch.no_grad()
def draw(network: nn.Module, latent_dim: int, asked: Requests, sources: Tensor, masks: Tensor | None = None) -> Tensor:
    """A whole batch of images, uint8 (N, C, H, W), on the network's device.

    sources: uint8 (M, C, H, W) on that device, the images that `asked.sources` names, if it names any. masks: bool
    (M, 1, H, W) likewise, of `asked.masks`.
    """
    return to_bytes(network(_draws(network, asked.latents(latent_dim), asked, sources, masks)))


def _draws(
    network: nn.Module, latents: NDArray[np.float32], asked: Requests, sources: Tensor, masks: Tensor | None
) -> Draws:
    device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
    chosen, regions = None, None
    if asked.sources is not None:
        chosen = to_network_range(sources[torch.from_numpy(asked.sources).to(sources.device)])
    if asked.masks is not None:
        assert masks is not None  # requests name some where there are any
        regions = masks[torch.from_numpy(asked.masks).to(masks.device)].float()
    return Draws(
        labels=torch.from_numpy(asked.labels).to(device),
        latents=torch.from_numpy(latents).to(device),
        index=torch.from_numpy(asked.index).to(device),
        sources=chosen,
        masks=regions,
    )


def picture(
    network: nn.Module, latent_dim: int, asked: Requests, sources: Tensor, masks: Tensor | None = None
) -> NDArray[np.uint8]:
    """What `few_of_each_class` asks for as one picture, uint8 (rows * H, columns * W, C), with a row for each class."""
    images = draw(network, latent_dim, asked, sources, masks).cpu().numpy()
    classes, (channels, height, width) = len(np.unique(asked.labels)), images.shape[1:]
    grid = images.reshape(classes, -1, channels, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(classes * height, -1, channels)


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator that is ready to draw, and what is told of how it came to be.

    history: mean measures by step. curve: measures of what it drew by step. quality: single numbers. samples: by step,
    uint8 (rows * H, columns * W, C), a row for each class. poses: of the real images, the labelled ones first, where it
    learned them aligned; all that is told of it, pictures too, is then about aligned images.
    """

    name: str
    generator: Generator
    history: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    quality: dict[str, float] = field(default_factory=dict)
    samples: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    poses: Poses | None = None

    def save(self, folder: Path) -> None:
        """Writes plan, weights and history; samples are the caller's."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.generator.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
        if self.poses is not None:
            save_file({name: tensor.cpu() for name, tensor in vars(self.poses).items()}, folder / POSES)
        _write(folder / PLAN, {"kind": self.name, "plan": self.generator.plan})
        _write(folder / HISTORY, {name: getattr(self, name) for name in ("history", "curve", "quality")})

    @classmethod
    def open(cls, folder: Path, device: torch.device) -> Self:
        """The generator that was saved there. Raises UserError when files are missing or damaged."""
        with reading(folder):
            planned = read_plan(folder)
            generator = kind(planned["kind"])(planned["plan"])
            generator.load_state_dict(load_file(folder / WEIGHTS))
            history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
            poses = Poses(**load_file(folder / POSES, device.type)) if (folder / POSES).exists() else None
        return cls(planned["kind"], generator.eval().to(device), **history, poses=poses)

    @torch.no_grad()
    def draw(
        self, asked: Requests, sources: Tensor, truncation: float, scores: bool, masks: Tensor | None = None
    ) -> Drawn:
        """The images that are wanted, in the poses of seen ones. Asking for other images too changes none.

        sources, masks: as for `draw`. truncation: above 0 and at most 1, scales the latents: lower values give more
        typical, less varied images. scores: whether to say how typical and how real each image seems.
        """
        generator, wanted = self.generator, slice(asked.wanted)
        latents = asked.latents(generator.latent_dim)
        if self.poses is not None and asked.sources is not None:
            rows = torch.from_numpy(asked.sources).to(sources.device)
            sources, asked = self.poses.align(sources[rows], rows), replace(asked, sources=np.arange(len(rows)))
        draws = _draws(generator.network, latents * np.float32(truncation), asked, sources, masks)
        images = to_bytes(generator.network(draws))
        noted = {}
        if scores:
            noted["latent_norm"] = np.linalg.norm(latents, axis=1)[wanted]
            logits = generator.judge(to_network_range(images), draws)
            if logits is not None:
                noted["realness"] = logits[wanted].cpu().numpy()
        if self.poses is not None:
            images = to_bytes(self.poses.turn_back(to_network_range(images), asked.labels, asked.seed))
        return Drawn(images[wanted].cpu().numpy(), noted)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
