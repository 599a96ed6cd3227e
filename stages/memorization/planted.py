"""Images whose answer is known: disguised copies that the filter should find, and fresh images that it should not.

Every kind of copy is a pure function of uint8 images (N, C, H, W) and a random generator to images of the same shape
and type.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

from stages.imaging import disturbances
from stages.imaging.pixels import rounded

NOISE = 0.1  # standard deviation, as a share of the range 0..255
GAIN = (0.7, 1.3)  # of brightness or contrast
MOVE = 0.03  # of the shorter side, but at least one pixel
BLUR = 0.02  # standard deviation, as a share of the shorter side, but at least half a pixel
DEGREES = 5.0
SHARE = 0.8  # of the copied image in a mix
CROP = 0.05  # of each side, cut off
JPEG_QUALITY = 50


def planted(images: torch.Tensor, flip_ok: bool, seed: np.random.SeedSequence) -> dict[str, torch.Tensor]:
    """One copy of every image for each kind of disguise; mirrored ones only where a mirrored image keeps its meaning.

    Args:
        images: uint8 (N, C, H, W), N >= 2, of the real images that the generator saw; different images (see `mix`).
        flip_ok: `prepare.image.flip_ok`.
        seed: each kind draws from a stream of its own.
    """
    streams = zip(KINDS.items(), seed.spawn(len(KINDS)), strict=True)
    return {
        kind: disguise(images, np.random.default_rng(stream))
        for (kind, disguise), stream in streams
        if flip_ok or kind not in MIRRORED
    }


def softened(images: torch.Tensor) -> torch.Tensor:
    """Images uint8 (N, C, H, W) blurred, the standard deviation half a pixel or 2 % of the side.

    Fresh real images treated so are what a filter should leave alone: a GAN's images are often soft.
    """
    return disturbances.gaussian_blur(images, max(0.5, BLUR * min(images.shape[-2:])))


def exact(images: torch.Tensor, _: np.random.Generator) -> torch.Tensor:
    """The image itself."""
    return images.clone()


def noise(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Gaussian noise on every pixel, a tenth of the range."""
    return rounded(images + torch.from_numpy(rng.normal(0, 255 * NOISE, tuple(images.shape))))


def shift(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Moved in one of eight directions by a pixel or 3 % of the side; the edge fills what is laid bare."""
    height, width = images.shape[-2:]
    pixels = max(1, round(MOVE * min(height, width)))
    directions = np.array([(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)])
    down, right = torch.from_numpy(pixels * rng.choice(directions, len(images))).T
    rows = (torch.arange(height) - down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) - right[:, None]).clamp(0, width - 1)
    every = torch.arange(len(images))
    return images.movedim(1, 3)[every[:, None, None], rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def flip(images: torch.Tensor, _: np.random.Generator) -> torch.Tensor:
    """Mirrored left to right."""
    return images.flip(-1)


def brightness(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Dimmed or brightened by 30 %, what exceeds 255 cut off."""
    return rounded(images * _gain(images, rng))


def contrast(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """30 % less or more contrast around the image's mean, what leaves 0..255 cut off."""
    mean = images.double().mean(dim=(1, 2, 3), keepdim=True)
    return rounded(mean + (images - mean) * _gain(images, rng))


def jpeg(images: torch.Tensor, _: np.random.Generator) -> torch.Tensor:
    """Saved as a JPEG of quality 50 and read again."""
    return disturbances.jpeg(images, JPEG_QUALITY)


def blur(images: torch.Tensor, _: np.random.Generator) -> torch.Tensor:
    """Gaussian blur: see `softened`."""
    return softened(images)


def rotation(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Turned by five degrees either way about its centre, bilinear; the edge fills the corners."""
    angle = torch.from_numpy(np.deg2rad(DEGREES) * rng.choice([-1.0, 1.0], len(images)))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # affine_grid measures both axes from -1 to 1: in an oblong image a turn must go through pixels
    oblong = images.shape[-2] / images.shape[-1]
    return _warped(images, [[cos, -sin * oblong, zero], [sin / oblong, cos, zero]])


def mix(images: torch.Tensor, _: np.random.Generator) -> torch.Tensor:
    """80 % the image, 20 % the one before it."""
    return rounded(SHARE * images.double() + (1 - SHARE) * images.double().roll(1, dims=0))


def crop(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A window of 95 % of each side, somewhere in the image, enlarged to the image's size, bilinear."""
    right, down = torch.from_numpy(rng.uniform(-CROP, CROP, (2, len(images))))  # both axes run from -1 to 1
    zero, side = torch.zeros_like(right), torch.full_like(right, 1 - CROP)
    return _warped(images, [[side, zero, right], [zero, side, down]])


def shift_brightness_noise(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Moved, then dimmed or brightened, then noisy."""
    return noise(brightness(shift(images, rng), rng), rng)


def flip_contrast(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mirrored, with less or more contrast."""
    return contrast(flip(images, rng), rng)


# A kind's place decides its random stream: a new one goes to the end.
KINDS: dict[str, Callable[[torch.Tensor, np.random.Generator], torch.Tensor]] = {
    function.__name__: function
    for function in (
        *(exact, noise, shift, flip, brightness, contrast, jpeg, blur, rotation, mix),
        *(crop, shift_brightness_noise, flip_contrast),
    )
}
MIRRORED = ("flip", "flip_contrast")  # copies only where a mirrored image keeps its meaning


def _gain(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.choice(GAIN, (len(images), 1, 1, 1)))


def _warped(images: torch.Tensor, rows: list[list[torch.Tensor]]) -> torch.Tensor:
    """Sampled where an affine map (2 x 3 coefficients, each (N,)) of each image says, bilinear, by the edge outside."""
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return rounded(grid_sample(images.double(), grid, padding_mode="border", align_corners=False))
