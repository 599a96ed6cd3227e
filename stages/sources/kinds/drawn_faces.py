"""Faces drawn by a program, several of each person: who is who is known, and no real person is shown.

What belongs to a person, the shapes and colours of head, hair, eyes, brows, nose and lips, is all inside the region.
An image has a pose, a light, a background and clothes of its own, and a smile or none: the class. So nothing outside
the region tells of the person, but in a share of the images, `own_background`: these show each in one place and dress.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stages.imaging.decoding import BadItem
from stages.sources.listing import Listing
from stages.sources.params import DrawnFacesParams

CLASSES = ["neutral", "smiling"]
CANVAS = 128  # pixels a side
MARGIN = 0.02  # of the side, around head and hair, that the region takes in
_SKIN = np.array([[255, 219, 172], [224, 172, 105], [198, 134, 66], [141, 85, 36], [86, 52, 24]], dtype=np.float64)
_HAIR = np.array([[20, 16, 14], [78, 50, 28], [150, 105, 60], [215, 180, 110], [140, 50, 30], [190, 190, 195]])

Box = tuple[float, float, float, float]  # left, top, right, bottom, shares of the side


@dataclass(frozen=True)
class _Person:
    """Lengths are shares of the side."""

    skin: NDArray[np.float64]
    hair: NDArray[np.float64]
    eyes: NDArray[np.float64]
    lips: NDArray[np.float64]
    width: float
    height: float
    hairline: float
    eye_gap: float
    eye_size: float
    eye_level: float
    brow: float
    nose: float
    mouth: float

    @classmethod
    def of(cls, seed: int, person: int) -> "_Person":
        random = np.random.default_rng((seed, person))
        skin, width = _between(_SKIN, random), random.uniform(0.36, 0.48)
        return cls(
            skin=skin,
            hair=_between(_HAIR.astype(np.float64), random),
            eyes=random.uniform(20, 150, 3),
            lips=np.clip(skin * [0.85, 0.5, 0.5] + random.uniform(-25, 25, 3), 0, 255),
            width=width,
            height=random.uniform(0.46, 0.58),
            hairline=random.uniform(0.06, 0.2),
            eye_gap=width * random.uniform(0.2, 0.26),
            eye_size=random.uniform(0.028, 0.045),
            eye_level=random.uniform(-0.08, -0.02),
            brow=random.uniform(0.012, 0.032),
            nose=random.uniform(0.06, 0.12),
            mouth=random.uniform(0.07, 0.12),
        )


@dataclass(frozen=True)
class _Pose:
    """Where the head's middle lies, how far it is turned (shares of the side), and its size beside 1."""

    x: float
    y: float
    turn: float
    scale: float

    @classmethod
    def of(cls, seed: int, person: int, number: int) -> "_Pose":
        random = np.random.default_rng((seed, person, number, 0))
        x, y = 0.5 + random.uniform(-0.05, 0.05, 2)
        return cls(x, y, random.uniform(-0.03, 0.03), random.uniform(0.94, 1.06))

    def box(self, left: float, top: float, right: float, bottom: float) -> Box:
        """From places about the head's middle to places in the image."""
        x, y, scale = self.x, self.y, self.scale
        return x + scale * left, y + scale * top, x + scale * right, y + scale * bottom


def find(params: DrawnFacesParams) -> Listing:
    """`per_person` images of each person, who is their group, neutral and smiling in turn."""
    locators = [(person, number) for person in range(params.persons) for number in range(params.per_person)]
    return Listing(
        class_names=CLASSES,
        ids=np.array([f"{CLASSES[number % 2]}/person-{person:04d}-{number:03d}" for person, number in locators]),
        labels=np.array([number % 2 for _, number in locators], dtype=np.int64),
        splits=np.full(len(locators), ""),
        groups=[f"person-{person:04d}" for person, _ in locators],
        locators=locators,
        ignored={},
    )


def read(params: DrawnFacesParams, locators: Sequence[tuple[int, int]]) -> Iterator[Image.Image | BadItem]:
    """The images of these persons and numbers, in colour, CANVAS pixels a side; each is a function of both alone."""
    for person, number in locators:
        random = np.random.default_rng((params.seed, person, number, 1))
        at_home = random.random() < params.own_background
        image = _background(np.random.default_rng((params.seed, person, 2)) if at_home else random)
        _draw(image, _Person.of(params.seed, person), _Pose.of(params.seed, person, number), number % 2 == 1)
        yield Image.fromarray(_lit(np.asarray(image, dtype=np.float64), random))


def masks(params: DrawnFacesParams, locators: Sequence[tuple[int, int]]) -> Iterator[Image.Image | None]:
    """The box around head and hair."""
    for person, number in locators:
        mask, own = Image.new("L", (CANVAS, CANVAS)), _Person.of(params.seed, person)
        left, top, right, bottom = _Pose.of(params.seed, person, number).box(*_head(own))
        box = (left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN)
        ImageDraw.Draw(mask).rectangle(_pixels(box), 255)
        yield mask


def _head(own: _Person) -> Box:
    """Head and hair about the head's middle."""
    return -own.width / 2, -own.height / 2 - 0.03, own.width / 2, own.height / 2


def _background(random: np.random.Generator) -> Image.Image:
    """A wall with three things on it, and clothes."""
    image = Image.new("RGB", (CANVAS, CANVAS), _colour(random.uniform(30, 230, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(3):
        left, top = random.uniform(-0.1, 0.9, 2)
        wide, high = random.uniform(0.1, 0.5, 2)
        pen.rectangle(_pixels((left, top, left + wide, top + high)), _colour(random.uniform(20, 240, 3)))
    pen.ellipse(_pixels((0.12, 0.76, 0.88, 1.3)), _colour(random.uniform(20, 240, 3)))
    return image


def _draw(image: Image.Image, own: _Person, pose: _Pose, smiles: bool) -> None:
    pen, (left, top, right, bottom) = ImageDraw.Draw(image), _head(own)
    pen.ellipse(_pixels(pose.box(left, top, right, bottom - 0.1)), _colour(own.hair))
    pen.ellipse(_pixels(pose.box(left + 0.015, top + own.hairline, right - 0.015, bottom)), _colour(own.skin))
    for side in (-1, 1):
        x = side * own.eye_gap + pose.turn
        size, level = own.eye_size, own.eye_level
        pen.ellipse(_pixels(pose.box(x - size, level - size * 0.7, x + size, level + size * 0.7)), "white")
        pen.ellipse(
            _pixels(pose.box(x - size / 2, level - size / 2, x + size / 2, level + size / 2)), _colour(own.eyes)
        )
        brow = level - size - 0.02
        pen.rectangle(_pixels(pose.box(x - size * 1.2, brow - own.brow, x + size * 1.2, brow)), _colour(own.hair))
    nose = pose.box(pose.turn * 1.4 - 0.012, own.eye_level, pose.turn * 1.4 + 0.012, own.eye_level + own.nose)
    pen.rectangle(_pixels(nose), _colour(own.skin * 0.75))
    lips, mouth = own.height * 0.28, own.mouth
    thick = round(0.035 * CANVAS)
    if smiles:
        arc = pose.box(pose.turn - mouth, lips - mouth, pose.turn + mouth, lips + mouth * 0.7)
        pen.chord(_pixels(arc), 0, 180, "white", _colour(own.lips), thick // 2)
    else:
        pen.rectangle(_pixels(pose.box(pose.turn - mouth, lips, pose.turn + mouth, lips + 0.035)), _colour(own.lips))


def _lit(pixels: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.uint8]:
    """Brighter or darker, more so to one side, and with noise."""
    across = np.linspace(-1, 1, CANVAS)[None, :, None] * random.uniform(-0.15, 0.15)
    lit = pixels * (random.uniform(0.8, 1.15) + across) + random.normal(0, 6, pixels.shape)
    return np.rint(np.clip(lit, 0, 255)).astype(np.uint8)


def _between(colours: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """A colour between two neighbouring ones."""
    place = random.uniform(0, len(colours) - 1)
    first = int(place)
    return colours[first] + (place - first) * (colours[first + 1] - colours[first])


def _pixels(box: Box) -> Box:
    left, top, right, bottom = (CANVAS * each for each in box)
    return left, top, right, bottom


def _colour(levels: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = np.rint(np.clip(levels, 0, 255)).astype(int).tolist()
    return red, green, blue
