"""Tone curves: another brightness at every level, the same all over an image, as another scanner may give it."""

import torch
from torch import Generator, Tensor

KNOTS = 5
CURVED = 0.7  # share of the images that `randomly_curved` changes


def curve(images: Tensor, knots: Tensor) -> Tensor:
    """Images through curves of straight lines between `knots`, their values at evenly spaced levels.

    Args:
        images: float (N, C, H, W) in [-1, 1].
        knots: float (N or 1, C or 1, K), K at least 2: a curve for each image and channel, or one for all.
    """
    last = knots.shape[2] - 1
    levels = (images.flatten(2) + 1) * (last / 2)
    below = levels.detach().floor().long().clamp(0, last - 1)
    knots = knots.expand(*images.shape[:2], -1)
    return torch.lerp(knots.gather(2, below), knots.gather(2, below + 1), levels - below).view_as(images)


def randomly_curved(images: Tensor, generator: Generator) -> Tensor:
    """Most images (N, C, H, W) in [-1, 1] through a random curve each, of any shape, inversion among them.

    In the manner of Models Genesis (Zhou et al. 2019, arXiv:1908.06912), whose curves rise or fall throughout; those of
    another scanner need not. Knots are drawn evenly from black to white; the channels of an image share its curve.
    """
    count, device = len(images), images.device
    knots = 2 * torch.rand(count, 1, KNOTS, generator=generator, device=device) - 1
    curved = torch.rand(count, 1, 1, 1, generator=generator, device=device) < CURVED
    return torch.where(curved, curve(images, knots), images)
