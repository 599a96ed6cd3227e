"""A small convolutional network for images of 8 to 128 pixels."""

from torch import nn

LAST_SIZE = 4  # pixels at which halving stops
WIDEST = 4  # channels grow to this multiple of the first layer's


def build_cnn(channels: int, size: int, classes: int, width: int) -> nn.Sequential:
    """A VGG-like network (Simonyan & Zisserman 2015) with batch norm, whose depth grows with the image.

    One 3x3 layer of `width` channels at full size; each halving is followed by a layer of twice the channels (up to
    four times `width`), until the image is 4 pixels wide and a linear head reads all of it.
    """
    layers, inputs = [_layer(channels, width)], width
    while size >= 2 * LAST_SIZE:
        outputs = min(2 * inputs, WIDEST * width)
        layers += [nn.Sequential(nn.MaxPool2d(2), _layer(inputs, outputs))]
        size, inputs = size // 2, outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * size**2, classes))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
