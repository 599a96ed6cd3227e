"""From a source's items to pixels of one shape, and the facts about each that the checks go by, chunk by chunk."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.imaging.marks import REMEDY, is_marked
from stages.imaging.normalise import to_pixels
from stages.plumbing.errors import UserError
from stages.sources.params import ImageParams
from stages.sources.tables import examples

Facts = NDArray[np.void]
"""What is known of every image that could be read, beside its pixels: (N,) of the type `facts_type`."""

THUMBNAIL = 16  # pixels of the largest side that the search for near duplicates looks at first
COLOUR_SPREAD = 12  # of 255: how far the channels of a grey image may differ after JPEG


@dataclass(frozen=True)
class Ingested:
    """One chunk: pixels uint8 (n, C, size, size) and facts of the `readable` items, and what is wrong with the others.

    readable: bool (N,) over the chunk's items. bad: one for each that is not, in order.
    """

    pixels: NDArray[np.uint8]
    facts: Facts
    readable: NDArray[np.bool_]
    bad: list[BadItem]


def facts_type(size: int) -> np.dtype[np.void]:
    """Of images of `size` pixels: digest, of the normalised pixels. thumbnail: grey. width, height: pixels of the
    original. colourful: some pixel's channels differ by more than a little before conversion. constant: one value
    throughout. wrong_extension: the content is of another format than the name says.
    """
    side = min(size, THUMBNAIL)
    numbers = [("digest", "V16"), ("thumbnail", "u1", (side, side)), ("width", "i8"), ("height", "i8")]
    return np.dtype(numbers + [(name, "?") for name in ("colourful", "constant", "wrong_extension")])


def ingest(ids: Sequence[str], items: Iterable[Image.Image | BadItem], params: ImageParams) -> Ingested:
    """Brings a chunk's images, one for each id, to one size and number of channels.

    Raises UserError where some have the mark of images that a run of ours published.
    """
    pixels, facts, readable, bad, synthetic = [], [], np.zeros(len(ids), dtype=bool), [], []
    for row, (name, item) in enumerate(zip(ids, items, strict=True)):
        try:
            if isinstance(item, BadItem):
                raise item
            pixels.append(to_pixels(item, params))
        except BadItem as error:
            bad.append(error)
            continue
        if is_marked(item):
            synthetic.append(name)
        readable[row] = True
        facts.append(_facts(name, item, pixels[-1]))
    if synthetic:
        raise UserError(f"{examples(synthetic)} with the mark of a synthetic image: {REMEDY}")
    shape = (len(pixels), params.channel_count, params.size, params.size)
    stacked = np.array(pixels, dtype=np.uint8).reshape(shape)
    return Ingested(stacked, np.array(facts, dtype=facts_type(params.size)), readable, bad)


def _facts(name: str, image: Image.Image, pixels: NDArray[np.uint8]) -> tuple[Any, ...]:
    """One row of the facts, in the order of their fields."""
    return (
        hashlib.blake2b(pixels.tobytes(), digest_size=16).digest(),
        _thumbnail(pixels),
        image.width,
        image.height,
        _is_colourful(image),
        bool((pixels == pixels[:, :1, :1]).all()),
        _has_wrong_extension(name, image),
    )


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey and at most THUMBNAIL pixels a side."""
    grey = np.rint(pixels.mean(axis=0)).astype(np.uint8)
    side = min(len(grey), THUMBNAIL)
    return grey if side == len(grey) else np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BOX))


def _is_colourful(image: Image.Image) -> bool:
    """Whether the channels differ by more than what JPEG does to a grey image; judged on a small copy."""
    if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;"):
        return False
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.NEAREST).convert("RGB")
    return bool(np.ptp(np.asarray(small), axis=-1).max() > COLOUR_SPREAD)


def _has_wrong_extension(name: str, image: Image.Image) -> bool:
    """Whether a file's name promises another format than its bytes have; items without an extension promise none."""
    promised = Image.registered_extensions().get("." + name.rpartition(".")[2].lower())
    is_format = "JPEG" if image.format == "MPO" else image.format  # a camera's JPEG with a preview in it
    return is_format is not None and promised is not None and promised != is_format
