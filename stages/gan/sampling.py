"""Images from a trained generator: each a function of (seed, replicate, class, index) alone.

A generator's pixels depend on the size of the batch and on the place in it, in the last bit. So every batch has one
size and one class, and image i of a class always lies at place i modulo that size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.gan.networks import Generator, NetworkConfig, build_generator, to_bytes

BATCH = 128


@dataclass(frozen=True)
class Samples:
    """`images` uint8 (N, C, H, W); `labels`, `index` (within its class) and `seeds` int64 (N,), class by class."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    seeds: NDArray[np.int64]


def load_generator(state: Mapping[str, Tensor], config: NetworkConfig) -> Generator:
    """Rebuild a generator, ready to sample, from its configuration and its tensors.

    Raises RuntimeError when the tensors are not those of such a generator.
    """
    generator = build_generator(config)
    generator.load_state_dict(dict(state))
    return generator.eval()


def generate(generator: Generator, counts: Sequence[int], seed: int, replicate: int, truncation: float) -> Samples:
    """Generate counts[c] images of each class c; asking for more changes no earlier image.

    `truncation`, above 0 and at most 1, scales the latents: lower values give more typical, less varied images.
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    seeds = [image_seeds(seed, replicate, label, count) for label, count in enumerate(counts)]
    images = [
        _draw(generator, draw_latents(own, generator.config.latent_dim) * truncation, label)
        for label, own in enumerate(seeds)
    ]
    index = np.concatenate([np.arange(count) for count in counts])
    return Samples(np.concatenate(images), labels, index, np.concatenate(seeds))


def image_seeds(seed: int, replicate: int, label: int, count: int) -> NDArray[np.int64]:
    """Return one seed, 0..2^63-1, for each of the first `count` images of a class."""
    words = np.random.SeedSequence((seed, replicate, label)).generate_state(count, np.uint64)
    return (words >> np.uint64(1)).astype(np.int64)


def draw_latents(seeds: NDArray[np.int64], latent_dim: int) -> Tensor:
    """Return standard normal latents (N, latent_dim), row i from seeds[i] alone.

    Philox is keyed by the seed itself: starting any other generator of numpy would cost three times as long.
    """
    latents = np.empty((len(seeds), latent_dim), dtype=np.float32)
    for row, seed in zip(latents, seeds.tolist(), strict=True):
        np.random.Generator(np.random.Philox(key=seed)).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(latents)


@torch.no_grad()
def _draw(generator: Generator, latents: Tensor, label: int) -> NDArray[np.uint8]:
    """Return one class's images, uint8 (N, C, H, W), in batches of one size whose last is padded with zeros."""
    padded = torch.zeros(-(-len(latents) // BATCH) * BATCH, latents.shape[1])
    padded[: len(latents)] = latents
    labels = torch.full((BATCH,), label)
    images = [to_bytes(generator(batch, labels)).numpy() for batch in padded.split(BATCH) if len(batch)]
    shape = (0, *generator.config.image_shape)
    return np.concatenate([np.empty(shape, dtype=np.uint8), *images])[: len(latents)]


@torch.no_grad()
def sample_grid(generator: Generator, columns: int, seed: int) -> NDArray[np.uint8]:
    """Return one picture, uint8 (rows * H, columns * W, C), with a row for each class and latents fixed by `seed`."""
    config = generator.config
    labels = torch.arange(config.classes).repeat_interleave(columns)
    latents = draw_latents(image_seeds(seed, 0, 0, len(labels)), config.latent_dim)
    images = to_bytes(generator(latents, labels)).numpy().reshape(config.classes, columns, *config.image_shape)
    rows = images.transpose(0, 3, 1, 4, 2)
    return rows.reshape(config.classes * config.height, columns * config.width_pixels, config.channels)
