"""What is usually done to a face that must not be known: blurring, pixelating or blacking out a region of an image.

The strengths are those of Hukkelas, Mester and Lindseth, "DeepPrivacy: A Generative Adversarial Network for Face
Anonymization" (ISVC 2019), table 2: 8 x 8 blocks, and a mean over 30 % of the face's width ("heavy blur").
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from stages.imaging.pixels import rounded

Way = Literal["blur", "pixels", "black"]
BLOCKS = 8  # along each side of the region
BLUR = 0.3  # of the region's width, the side of the square whose mean each pixel becomes


def obscured(images: Tensor, masks: Tensor, way: Way) -> Tensor:
    """Images uint8 (N, C, H, W) with their regions made hard to know; all else is kept to the bit.

    masks: bool (N, 1, H, W). An image with an empty one stays as it is.
    """
    result = images.clone()
    for row, mask in enumerate(masks[:, 0]):
        if mask.any():
            down, right = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
            box = (..., slice(int(down[0]), int(down[-1]) + 1), slice(int(right[0]), int(right[-1]) + 1))
            treated = rounded(_WAYS[way](images[row][box].float()))
            result[row][box] = torch.where(mask[box], treated, images[row][box])
    return result


def _blurred(piece: Tensor) -> Tensor:
    """A mean over squares of odd side, of the piece (C, h, w) alone: what lies around it is mirrored."""
    reach = min(max(1, round(BLUR * piece.shape[-1] / 2)), *(side - 1 for side in piece.shape[-2:]))
    if reach < 1:
        return piece.mean(dim=(-2, -1), keepdim=True).expand_as(piece)
    around = functional.pad(piece, (reach,) * 4, mode="reflect")
    return functional.avg_pool2d(around, 2 * reach + 1, stride=1)


def _pixelated(piece: Tensor) -> Tensor:
    """BLOCKS x BLOCKS blocks of one colour, of 2 pixels a side at least, from a piece (C, h, w)."""
    height, width = piece.shape[-2:]
    blocks = (min(BLOCKS, -(-height // 2)), min(BLOCKS, -(-width // 2)))
    return functional.interpolate(functional.adaptive_avg_pool2d(piece, blocks)[None], (height, width))[0]


_WAYS: dict[Way, Callable[[Tensor], Tensor]] = {"blur": _blurred, "pixels": _pixelated, "black": torch.zeros_like}
