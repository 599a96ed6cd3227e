"""Patches of scikit-learn's two sample photographs, of which every other one has a planted lesion.

A soft bright ellipse of random place, size, shape and slant is added. So both the class and the lesion's place are
known for certain. The photographs are china.jpg (a temple, much of it in fine detail) and flower.jpg, 640 x 427 each.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.params import PlantedParams

CLASSES = ["healthy", "lesion"]
_PHOTOGRAPHS = ("china.jpg", "flower.jpg")
_EDGE = 0.15  # of its radius over which a lesion fades
_REACH = 1.3  # radii that its region reaches


def find(params: PlantedParams) -> Listing:
    """All patches that lie side by side, in a random order, healthy and with a lesion in turn; without groups."""
    places = [
        (photograph, row, column)
        for photograph, name in enumerate(_PHOTOGRAPHS)
        for row in range(_photograph(name).shape[0] // params.patch)
        for column in range(_photograph(name).shape[1] // params.patch)
    ]
    if len(places) < len(CLASSES):
        raise UserError(f"prepare.source.patch: {params.patch} leaves too few patches: lower it")
    order = np.random.default_rng(params.seed).permutation(len(places)).tolist()
    locators = [(*places[each], number % 2) for number, each in enumerate(order)]
    return Listing(
        class_names=CLASSES,
        ids=np.array([f"{CLASSES[label]}/{_PHOTOGRAPHS[p][:-4]}-{r:02d}-{c:02d}" for p, r, c, label in locators]),
        labels=np.array([label for *_, label in locators], dtype=np.int64),
        splits=np.full(len(locators), ""),
        groups=None,
        locators=locators,
        ignored={},
    )


def read(params: PlantedParams, locators: Sequence[tuple[int, int, int, int]]) -> Iterator[Image.Image | BadItem]:
    """The patches, in colour, each a function of its place and class alone."""
    for photograph, row, column, label in locators:
        whole, side = _photograph(_PHOTOGRAPHS[photograph]), params.patch
        patch = whole[row * side : (row + 1) * side, column * side : (column + 1) * side].astype(np.float64)
        if label:
            distance, _ = _lesion(params, (photograph, row, column))
            strength = np.clip((1 - distance) / _EDGE + 0.5, 0, 1)
            patch = patch + 255 * params.contrast * strength[..., None]
        yield Image.fromarray(np.rint(np.clip(patch, 0, 255)).astype(np.uint8))


def masks(params: PlantedParams, locators: Sequence[tuple[int, int, int, int]]) -> Iterator[Image.Image | None]:
    """The region of each lesion, a little wider than it is."""
    for *place, label in locators:
        _, region = _lesion(params, tuple(place))
        yield Image.fromarray(region * np.uint8(255)) if label else None


def _lesion(params: PlantedParams, place: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distance from its centre in its own radii, (patch, patch), and its region."""
    random, side = np.random.default_rng((params.seed, *place)), params.patch
    radius = side * random.uniform(params.least_radius, params.greatest_radius)
    longer, slant = random.uniform(1, 1.5), random.uniform(0, np.pi)
    reach = min(_REACH * radius * longer, side / 2)
    across, down = random.uniform(reach, side - reach, 2)
    x, y = np.meshgrid(np.arange(side) + 0.5 - across, np.arange(side) + 0.5 - down)
    along, beside = x * np.cos(slant) + y * np.sin(slant), y * np.cos(slant) - x * np.sin(slant)
    distance = np.hypot(along / (radius * longer), beside / radius)
    return distance, distance < _REACH


@cache
def _photograph(name: str) -> NDArray[np.uint8]:
    """uint8 (H, W, 3)."""
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image(name))
