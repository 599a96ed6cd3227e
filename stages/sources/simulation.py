"""Another scanner, simulated: the same pictures as they might come from another device or by another technique.

Each image is changed by itself, seeded by its id, so that it always has the same bytes, whatever else is there. What
shows, and where, stays; how bright and how sharp it is changes, more than ordinary augmentation allows for. Beside its
own curve each technique but the negative has the marks of a device: uneven light, and noise.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float64]
"""One image (C, H, W), 0..1."""
Random = np.random.Generator

GAMMA = 1.6  # of the negative
COARSE = 8  # pixels a side at which a pixel is as large as a device's blur; larger images are blurred accordingly
TONES = (0.0, 0.2, 0.5, 1.0), (0.05, 0.9, 0.6, 0.2)  # grey levels, and what becomes of them


def disturb(name: str, pixels: NDArray[np.uint8], ids: Sequence[str]) -> NDArray[np.uint8]:
    """Images uint8 (N, C, H, W), C 1 or 3, as the other device shows them; name: one of DISTURBANCES."""
    changed = np.empty_like(pixels)
    for row, name_of_image in enumerate(ids):
        image = DISTURBANCES[name](pixels[row] / 255, _random_of(name, name_of_image))
        changed[row] = np.rint(255 * np.clip(image, 0, 1))
    return changed


def inversion(image: Image, _: Random) -> Image:
    """A negative, with gamma 1.6: dark on light where it was light on dark, as film or another display has it."""
    return (1 - image) ** GAMMA


def tone_curve(image: Image, random: Random) -> Image:
    """A curve that rises and falls, uneven light and noise: another sequence of a magnetic resonance scanner, or
    another stain, under which what was darkest is not the darkest or the brightest any more."""
    return _taken(np.interp(image, *TONES), 0.06, random)


def scan(image: Image, random: Random) -> Image:
    """A negative with gamma, out of focus, uneven light and noise: another scanner of poorer quality."""
    return _taken(_smooth(inversion(image, random)), 0.08, random)


def edges(image: Image, random: Random) -> Image:
    """Borders are bright, areas nearly alike, uneven light and noise: phase contrast instead of bright field."""
    return _taken(0.15 + 1.6 * _steepness(image) + 0.25 * (1 - image), 0.06, random)


DISTURBANCES: dict[str, Callable[[Image, Random], Image]] = {
    each.__name__: each for each in (inversion, tone_curve, scan, edges)
}


def _random_of(name: str, own: str) -> Random:
    """Numbers that depend on the disturbance and the image's id alone."""
    seed = hashlib.blake2b(f"{name}\0{own}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(seed, "big"))


def _taken(image: Image, noise: float, random: Random) -> Image:
    """By a real device: the light falls off by up to a fifth across and down, and every value has noise.

    noise: its deviation at 8 pixels a side; less in larger images, so that what is to be seen has much the same.
    """
    slopes = random.uniform(-0.2, 0.2, 2)
    down, across = (np.linspace(-1, 1, side) for side in image.shape[1:])
    light = 1 + slopes[0] * across + slopes[1] * down[:, None]
    return image * light + random.normal(0, noise / np.sqrt(_scale(image)), image.shape)


def _scale(image: Image) -> float:
    return image.shape[-1] / COARSE


def _smooth(image: Image) -> Image:
    """Blurred, the edge repeated: by half a pixel at 24 pixels a side, not at all at 8."""
    deviation = (_scale(image) - 1) / 4
    return ndimage.gaussian_filter(image, (0, deviation, deviation), mode="nearest") if deviation else image


def _steepness(image: Image) -> Image:
    """How much the image changes per pixel, each channel for itself; more in larger images, whose borders are finer."""
    return np.hypot(*np.gradient(_smooth(image), axis=(1, 2))) * np.sqrt(_scale(image))
