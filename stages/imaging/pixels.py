"""The range of pixels at rest and in networks."""

import torch
from torch import Tensor


def to_network_range(images: Tensor) -> Tensor:
    """Turn uint8 images, 0..255, into float32 in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] into uint8, 0..255; what lies beyond is cut off."""
    return rounded((images.float() + 1) * 127.5)


def rounded(levels: Tensor) -> Tensor:
    """Turn grey levels that are no whole numbers into uint8, 0..255; what lies beyond is cut off."""
    return levels.round().clamp(0, 255).to(torch.uint8)
