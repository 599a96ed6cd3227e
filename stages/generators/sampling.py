"""Images from a trained generator: each a function of (seed, replicate, class, index) alone.

A generator's pixels depend on the size of the batch and on the place in it, in the last bit. So every batch has one
size and one class, and image i of a class always lies at place i modulo that size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.generators import moments
from stages.generators.network_config import NetworkConfig
from stages.generators.plan import BATCH
from stages.generators.registry import FAMILIES
from stages.imaging.pixels import to_bytes

BLOCK = 8  # batches that are handed on at a time: 50 MB at 128x128 RGB; one batch at a time costs a tenth more


@dataclass(frozen=True)
class Samples:
    """`images` uint8 (N, C, H, W); `labels`, `index` (within its class) and `seeds` int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    seeds: NDArray[np.int64]


def load_generator(state: Mapping[str, Tensor], config: NetworkConfig) -> nn.Module:
    """Rebuild a generator, ready to sample, from its configuration and its tensors.

    Raises RuntimeError when the tensors are not those of such a generator.
    """
    generator, _ = FAMILIES[config.family].build(config, moments.plain(config))
    generator.load_state_dict(dict(state))
    return generator.eval()


def generate(
    generator: nn.Module, config: NetworkConfig, wanted: Sequence[range], seed: int, replicate: int, truncation: float
) -> Iterator[Samples]:
    """Generate the images wanted[c] of each class c, class by class, in blocks of at most BLOCK batches.

    No more than two blocks are in memory. Asking for other images too changes none. Each range begins at a multiple of
    BATCH. `truncation`, above 0 and at most 1, scales the latents: lower values give more typical, less varied images.
    """
    batches = _batches(generator, config, wanted, seed, replicate, truncation)
    while block := list(islice(batches, BLOCK)):
        yield Samples(
            np.concatenate([batch.images for batch in block]),
            np.concatenate([batch.labels for batch in block]),
            np.concatenate([batch.index for batch in block]),
            np.concatenate([batch.seeds for batch in block]),
        )


def _batches(
    generator: nn.Module, config: NetworkConfig, wanted: Sequence[range], seed: int, replicate: int, truncation: float
) -> Iterator[Samples]:
    """Every batch is drawn whole; of a class's last one, only the images asked for are handed on."""
    for label, of_class in enumerate(wanted):
        labels = np.full(BATCH, label)
        for start in of_class[::BATCH]:
            index = np.arange(start, start + BATCH)
            seeds = image_seeds(seed, replicate, label, index)
            images = _draw(generator, draw_latents(seeds, config.latent_dim) * truncation, labels)
            kept = slice(of_class.stop - start)
            yield Samples(images[kept], labels[kept], index[kept], seeds[kept])


def image_seeds(seed: int, replicate: int, label: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the seeds, 0..2^63-1, of these images of a class."""
    key = np.random.SeedSequence((seed, replicate, label)).generate_state(1, np.uint64)
    return (_split_mix(key, index)[0] >> np.uint64(1)).astype(np.int64)


def draw_latents(seeds: NDArray[np.int64], latent_dim: int) -> Tensor:
    """Return standard normal latents (N, latent_dim), float32, row i from seeds[i] alone.

    Starting a generator of numpy for each row costs twenty times as much, a third of encoding a small image.
    """
    words = _split_mix(seeds, np.arange(latent_dim))
    uniform = ((words >> np.uint64(12)) + 0.5) * 2.0**-52  # 52 bits and a half are exact: neither 0 nor 1 is reached
    return torch.special.ndtri(torch.from_numpy(uniform)).float()


def _split_mix(keys: NDArray[np.integer], places: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the random words at these places, 0 or more, of each key's stream, (keys, places).

    SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014): any word of a stream can
    be had without those before it, so all are computed at once.
    """
    words = keys.astype(np.uint64)[:, None] + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words ^ (words >> np.uint64(31))


@torch.no_grad()
def _draw(generator: nn.Module, latents: Tensor, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return one batch of images, uint8 (N, C, H, W), from latents (N, latent_dim) and labels (N,)."""
    device = next(generator.parameters()).device
    images: Tensor = generator(latents.to(device), torch.from_numpy(labels).to(device))
    return to_bytes(images).cpu().numpy()


def sample_all_classes(
    generator: nn.Module, config: NetworkConfig, per_class: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (N, C, H, W) and labels (N,), class by class, from one batch of latents fixed by `seed`."""
    labels = np.arange(config.classes).repeat(per_class)
    latents = draw_latents(image_seeds(seed, 0, 0, np.arange(len(labels))), config.latent_dim)
    return _draw(generator, latents, labels), labels


def sample_grid(generator: nn.Module, config: NetworkConfig, columns: int, seed: int) -> NDArray[np.uint8]:
    """Return one picture, uint8 (rows * H, columns * W, C), with a row for each class and latents fixed by `seed`."""
    channels, height, width = config.image_shape
    images, _ = sample_all_classes(generator, config, columns, seed)
    images = images.reshape(config.classes, columns, channels, height, width)
    return images.transpose(0, 3, 1, 4, 2).reshape(config.classes * height, columns * width, channels)
