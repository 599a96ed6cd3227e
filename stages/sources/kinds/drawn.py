"""Characters drawn with the text fonts that matplotlib carries: labelled images that cost nobody any work.

Each image has a font, size, slant, stroke and place of its own. Drawn images beside unlabelled real ones are where a
refiner starts from (Shrivastava et al., "Learning from Simulated and Unsupervised Images", CVPR 2017).
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.params import DrawnParams

CANVAS = 384  # pixels a side: three times those of the largest images, and brought down like any other
_REFERENCE = 1000.0  # size at which fonts are measured, in whole units
# Matplotlib's other fonts hold mathematics alone, or a box in the place of every character.
_FONTS = (
    *(f"DejaVu{face}{style}" for face in ("Sans", "SansMono") for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
_TEX_FONTS = ("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")  # hold signs of TeX's own but for letters and digits


def find(params: DrawnParams) -> Listing:
    """`per_class` images of each character, class by class, without groups.

    Raises UserError for a character that no font holds, and where no font holds all of them.
    """
    _fonts(_text(params))
    names = list(params.classes)
    locators = [(label, number) for label in range(len(names)) for number in range(params.per_class)]
    return Listing(
        class_names=names,
        ids=np.array([f"{names[label]}/{number:06d}" for label, number in locators], dtype=np.str_),
        labels=np.array([label for label, _ in locators], dtype=np.int64),
        splits=np.full(len(locators), ""),
        groups=None,
        locators=locators,
        ignored={},
    )


def read(params: DrawnParams, locators: Sequence[tuple[int, int]]) -> Iterator[Image.Image | BadItem]:
    """The images of these classes and numbers, grey, CANVAS pixels a side; each is a function of both alone."""
    text = _text(params)
    for label, number in locators:
        random = np.random.default_rng((params.seed, label, number))
        drawn = _draw(text[label], text, params, random)
        yield drawn if params.ink == "bright" else ImageChops.invert(drawn)


def _text(params: DrawnParams) -> str:
    return "".join(params.classes.values())


def _draw(character: str, text: str, params: DrawnParams, random: np.random.Generator) -> Image.Image:
    """White on black. A font's characters keep their sizes beside each other: the tallest of `text` is as high as said.

    The slant is one about the middle of the image.
    """
    fonts = _fonts(text)
    font = fonts[random.integers(len(fonts))]
    height = CANVAS * random.uniform(params.least_height, params.greatest_height)
    stroke = CANVAS * random.uniform(0, params.stroke) / 2  # to each side of the line
    slant = math.tan(math.radians(random.uniform(-params.slant_degrees, params.slant_degrees)))
    across, down = CANVAS * random.uniform(-params.place, params.place, 2)

    _, top, _, bottom = font.getbbox(text, anchor="ms")
    scale = min((height - 2 * stroke) / (bottom - top), (CANVAS - 2 * stroke) / max(map(font.getlength, text)))
    image = Image.new("L", (CANVAS, CANVAS))
    middle = (CANVAS / 2, CANVAS / 2 - scale * (top + bottom) / 2)
    sized = font.font_variant(size=scale * _REFERENCE)
    ImageDraw.Draw(image).text(middle, character, 255, sized, anchor="ms", stroke_width=stroke)
    left, _, right, _ = image.getbbox() or (0, 0, CANVAS, 0)  # fonts leave more room on one side of a character
    across += (CANVAS - left - right) / 2
    moved = (1, slant, -slant * CANVAS / 2 - across, 0, 1, -down)  # from a pixel of the result to one of the drawing
    return image.transform(image.size, Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR)


@cache
def _fonts(text: str) -> list[ImageFont.FreeTypeFont]:
    """The fonts that hold all characters of a text."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    folder = Path(get_data_path()) / "fonts" / "ttf"
    names = _FONTS + (_TEX_FONTS if text.isascii() and text.isalnum() else ())
    held = {path: set(map(chr, FT2Font(path).get_charmap())) for path in (folder / f"{name}.ttf" for name in names)}
    if unknown := sorted(set(text).difference(*held.values())):
        raise UserError(f"characters: none of matplotlib's text fonts holds {', '.join(unknown)}; leave them out")
    able = [path for path, characters in held.items() if characters.issuperset(text)]
    if not able:
        raise UserError("characters: no font holds all of them together; take those of one script")
    return [ImageFont.truetype(path, _REFERENCE) for path in able]
