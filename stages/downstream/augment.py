"""Augmentation policies on whole batches: random numbers for every image, one pass over the batch.

In the manner of airbench (Jordan 2024, arXiv:2404.00498): the batch is a tensor on the device, and no Python runs
per image.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from stages.downstream.params import ClassicParams, TrainDownstreamParams
from stages.downstream.tone_curves import randomly_curved
from stages.imaging.classic import classic
from stages.imaging.pixels import to_bytes, to_network_range

# float32 (N, C, H, W) in [-1, 1] and a generator on the same device -> the same shape, type and range
Policy = Callable[[Tensor, Generator], Tensor]

IMAGES_PER_DRAW = 16


def build_policy(name: str, params: TrainDownstreamParams, flip_ok: bool) -> Policy:
    """What an arm's `augment` does to single images, which are mirrored only where `flip_ok`.

    `classic`, `randaugment` and `trivialaugment` by themselves; `tone_curves` after `classic`; `mixup` and `cutmix` mix
    what `classic` has augmented (see `mixing.build_mixing`); `none` leaves images as they are.
    """
    if name in ("classic", "mixup", "cutmix"):
        return lambda images, generator: classic(images, generator, params.classic, flip_ok)
    if name == "tone_curves":
        return lambda images, generator: randomly_curved(classic(images, generator, params.classic, flip_ok), generator)
    if name in ("randaugment", "trivialaugment"):
        return in_groups(_transform(name, params), params.classic.translation_pixels, flip_ok)
    return lambda images, _generator: images


def on_first(count: int, batch: int, policy: Policy, others: Policy) -> Policy:
    """Changes the first `count` images of every `batch` by one policy, the others by another one."""

    def changed(images: Tensor, generator: Generator) -> Tensor:
        first = torch.arange(len(images), device=images.device) % batch < count
        result = images.clone()
        for rows, change in ((first, policy), (~first, others)):
            if rows.any():
                result[rows] = change(images[rows], generator)
        return result

    return changed


def _transform(name: str, params: TrainDownstreamParams) -> Callable[[Tensor], Tensor]:
    """torchvision's policy of that name, on uint8 images (N, C, H, W), which share one draw.

    RandAugment: Cubuk et al. 2020, arXiv:1909.13719. TrivialAugment: Müller & Hutter 2021, arXiv:2103.10158, in its
    variant "wide", which has no parameters; it shifts by up to 32 pixels whatever the size of the image, so that
    about a tenth of images of 8 pixels come out black.
    """
    from torchvision.transforms import v2  # costs 4 s more than torch, so only where it is used

    if name == "trivialaugment":
        return v2.TrivialAugmentWide()
    return v2.RandAugment(num_ops=params.randaugment.num_ops, magnitude=params.randaugment.magnitude)


def in_groups(transform: Callable[[Tensor], Tensor], translation_pixels: float, flip_ok: bool) -> Policy:
    """Shift and mirroring as in `classic`, then a transform of uint8 images that draws once per call.

    A call per image would cost far more than the training step. So images share a draw in groups of IMAGES_PER_DRAW.
    Which images meet in a group changes with every batch, so each single image is augmented exactly as if it had a
    call of its own; only draws within one batch are not independent.
    """
    still = ClassicParams(rotation_degrees=0, translation_pixels=translation_pixels, zoom=0, brightness=0, contrast=0)

    def policy(images: Tensor, generator: Generator) -> Tensor:
        shifted = classic(images, generator, still, flip_ok)
        pixels = to_bytes(shifted)
        with global_draws_from(generator):
            pixels = torch.cat([transform(group) for group in pixels.split(IMAGES_PER_DRAW)])
        return to_network_range(pixels)

    return policy


@contextmanager
def global_draws_from(generator: Generator) -> Iterator[None]:
    """Around torchvision's transforms, which draw from the CPU's global generator alone: seeds it, and puts it back."""
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed a GPU too, and takes a millisecond
        yield
