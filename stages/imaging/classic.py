"""The augmentation that everyone uses: small turns, zooms and shifts, mirroring, brightness and contrast.

On whole batches: random numbers for every image, one pass over the batch.
"""

from math import pi

import torch
from torch import Generator, Tensor
from torch.nn import functional

from stages.downstream.params import ClassicParams


def warp(images: Tensor, angle: Tensor, zoom: Tensor, shift: Tensor, mirror: Tensor) -> Tensor:
    """Rotates, zooms, shifts and mirrors each image by its own figures, in one bilinear resampling.

    Args:
        images: float (N, C, H, W).
        angle: (N,), radians.
        zoom: (N,), 1 leaves the size as it is.
        shift: (N, 2), pixels to the right and down.
        mirror: (N,), 1 or -1.
    """
    height, width = images.shape[-2:]
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # grid_sample looks up, for each output pixel, where it comes from, in coordinates of -1..1 along either side
    right, down = -2 * shift[:, 0] / width, -2 * shift[:, 1] / height
    theta = torch.stack(
        [mirror * cos, -mirror * sin * (height / width), mirror * right, sin * (width / height), cos, down], dim=1
    ).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def classic(images: Tensor, generator: Generator, params: ClassicParams, flip_ok: bool) -> Tensor:
    """Small rotation, zoom and shift, mirroring where `flip_ok`, brightness and contrast; drawn for each image.

    Contrast scales an image about its mean; brightness adds a share of the range from black to white. Both clip.
    """
    count = len(images)
    draw = torch.rand(count, 7, generator=generator, device=images.device)
    spread = 2 * draw - 1
    mirror = torch.where(draw[:, 6] < 0.5, -1.0, 1.0) if flip_ok else torch.ones_like(draw[:, 6])
    moved = warp(
        images,
        angle=spread[:, 0] * (params.rotation_degrees * pi / 180),
        zoom=1 + spread[:, 1] * params.zoom,
        shift=spread[:, 2:4] * params.translation_pixels,
        mirror=mirror,
    )
    contrast = (1 + spread[:, 4] * params.contrast).view(-1, 1, 1, 1)
    brightness = (2 * spread[:, 5] * params.brightness).view(-1, 1, 1, 1)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    return moved.sub_(mean).mul_(contrast).add_(mean + brightness).clamp_(-1, 1)
