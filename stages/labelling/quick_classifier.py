"""A small classifier, trained within a second or two, by whose eyes synthetic images are judged while a GAN trains.

Trained on the labelled images it gives features for distances between sets, and guesses labels; trained on synthetic
images it shows what they teach. It stands apart from the downstream classifier, so that a change to that one trains no
GAN again.
"""

from itertools import pairwise
from math import log2

from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.imaging.augmentation import Policy, allowed, augment
from stages.imaging.networks import in_batches
from stages.labelling.data import TrustedImages
from stages.labelling.learning import Course, learn

FEATURES = 64
LARGEST_SIDE = 16  # pixels; larger images are averaged down to it: 32 takes 1.8 times as long for half a point more
LAST_SIDE = 4  # pixels at which halving stops
CHANNELS_TIMES_SIDE = 256  # as halving the side doubles the channels

STEPS = 100
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 0.05
AUGMENTATION: tuple[Policy, ...] = ("translation", "colour", "flip")
AUGMENTED = 0.5  # share of the images that each of these falls on


class QuickClassifier(nn.Module):
    """3x3 convolutions with batch norm down to 4 x 4 pixels, a layer of features that reads all of them, a linear head.

    `side`: of the images, which are square, 8 to 128 pixels; they are brought to a power of 2, at most `largest_side`.
    """

    def __init__(self, channels: int, side: int, classes: int, largest_side: int = LARGEST_SIDE) -> None:
        super().__init__()
        self.side = _side(side, largest_side)
        sides = [2 * LAST_SIDE, LAST_SIDE]
        while 2 * sides[0] < self.side:
            sides.insert(0, 2 * sides[0])
        widths = [channels, *(CHANNELS_TIMES_SIDE // after for after in sides)]
        strides = [before // after for before, after in pairwise([self.side, *sides])]
        self.body = nn.Sequential(
            *(_convolution(*pair, stride) for pair, stride in zip(pairwise(widths), strides, strict=True)),
            nn.Flatten(),
            nn.Linear(widths[-1] * LAST_SIDE**2, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),  # features of one scale in every replicate, so that distances compare
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images float32 (N, C, side, side) in [-1, 1], already brought to that side."""
        return self.head(self.body(images))

    def shrink(self, images: Tensor) -> Tensor:
        """Bring images (N, C, H, W) to the side that the network reads."""
        return _shrunk(images, self.side)

    def features(self, images: Tensor) -> Tensor:
        """Return float32 (N, 64), at least 0 and of the order of 1, of uint8 images (N, C, H, W)."""
        return in_batches(lambda inputs: self.body(self.shrink(inputs)), images)

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the classes' probabilities, float32 (N, K), of uint8 images (N, C, H, W)."""
        return in_batches(lambda inputs: self(self.shrink(inputs)).softmax(dim=1), images)


def fit(
    images: Tensor,
    labels: Tensor,
    weights: Tensor,
    classes: int,
    flip_ok: bool,
    seed: int,
    steps: int = STEPS,
    batch_size: int = 64,
    largest_side: int = LARGEST_SIDE,
) -> QuickClassifier:
    """Train on some images, lightly augmented, and return the classifier, ready to be asked.

    `images`: uint8 (N, C, H, W). `labels`: int64 (N,), 0..classes-1. `weights`: float32 (N,), 0..1, scale each image's
    loss; at least one is above 0. All three lie on one device. Images are mirrored only where `flip_ok`.
    """
    policies, side = allowed(AUGMENTATION, flip_ok), _side(images.shape[-1], largest_side)

    def seen(batch: Tensor, random: Generator) -> Tensor:
        return augment(_shrunk(batch, side), policies, AUGMENTED, random)

    def build() -> QuickClassifier:
        return QuickClassifier(images.shape[1], images.shape[-1], classes, largest_side)

    course = Course(steps, batch_size, LEARNING_RATE, WEIGHT_DECAY)
    return learn(build, TrustedImages(images, labels, weights), seen, course, seed)


def _side(side: int, largest_side: int) -> int:
    return min(2 ** round(log2(side)), largest_side)


def _shrunk(images: Tensor, side: int) -> Tensor:
    return functional.adaptive_avg_pool2d(images, side)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
