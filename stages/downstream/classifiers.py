"""The classifier: a small convolutional network for images of 8 to 128 pixels."""

import torch
from torch import Tensor, nn

from stages.plumbing.errors import UserError

LEAST_SIZE = 8
LAST_SIZE = 4  # pixels at which halving stops
WIDEST = 4  # channels grow to this multiple of the first layer's


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def build_classifier(channels: int, size: int, classes: int, width: int, seed: int) -> nn.Sequential:
    """A VGG-like network (Simonyan & Zisserman 2015) with batch norm, whose depth grows with the image.

    One 3x3 layer of `width` channels at full size; each halving is followed by a layer of twice the channels (up to
    four times `width`), until the image is 4 pixels wide and a linear head reads all of it.
    Input: float32 (N, channels, size, size) in [-1, 1]. Output: logits (N, classes).

    Raises:
        UserError: the images are smaller than 8 pixels.
    """
    if size < LEAST_SIZE:
        raise UserError(f"images of {size} pixels are too small for the classifier: at least {LEAST_SIZE} are needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, inputs = [_layer(channels, width)], width
        while size >= 2 * LAST_SIZE:
            outputs = min(2 * inputs, WIDEST * width)
            layers += [nn.Sequential(nn.MaxPool2d(2), _layer(inputs, outputs))]
            size, inputs = size // 2, outputs
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * size**2, classes))
    return model.to(memory_format=torch.channels_last)  # about a tenth faster on a CPU, even at 8 pixels


def to_input(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> float32 in [-1, 1], what networks see."""
    return images.float().div_(127.5).sub_(1)
