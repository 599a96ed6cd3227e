"""The classifiers for images of 8 to 128 pixels: a small convolutional network, and ResNet-18."""

from typing import Literal

import torch
from torch import nn

from stages.imaging.cnn import build_cnn
from stages.plumbing.errors import UserError

LEAST_SIZE = 8
LARGEST_SMALL = 64  # pixels up to which ResNet-18 starts at full size


def build_classifier(
    kind: Literal["cnn", "resnet18"], channels: int, size: int, classes: int, width: int, seed: int
) -> nn.Sequential:
    """A network with initial weights by `seed`: `cnn` or `resnet18`, of which the last layer is linear.

    `width` is the number of channels of the `cnn`'s first layer. A `resnet18` keeps its own 64, whatever `width` says.
    Input: float32 (N, channels, size, size) in [-1, 1]. Output: logits (N, classes).

    Raises:
        UserError: the images are smaller than 8 pixels.
    """
    if size < LEAST_SIZE:
        raise UserError(f"images of {size} pixels are too small for the classifier: at least {LEAST_SIZE} are needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _resnet18(channels, size, classes) if kind == "resnet18" else build_cnn(channels, size, classes, width)
    return model.to(memory_format=torch.channels_last)  # about a tenth faster on a CPU, even at 8 pixels


def _resnet18(channels: int, size: int, classes: int) -> nn.Sequential:
    """torchvision's ResNet-18 (He et al. 2016, arXiv:1512.03385), untrained, as a plain sequence of its parts.

    Images of up to 64 pixels start at full size: a 3x3 convolution of stride 1 and no pooling, as the paper has it for
    CIFAR-10 (section 4.2); torchvision's start would leave 2 of 8 pixels. First weights are drawn as torchvision does.
    """
    from torchvision.models import resnet18  # costs seconds more than torch, so only where it is used

    parts = dict(resnet18(num_classes=classes).named_children())
    if size <= LARGEST_SMALL:
        parts["conv1"] = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        del parts["maxpool"]
    else:
        parts["conv1"] = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(parts["conv1"].weight, mode="fan_out", nonlinearity="relu")
    head = parts.pop("fc")
    return nn.Sequential(*parts.values(), nn.Flatten(), head)
