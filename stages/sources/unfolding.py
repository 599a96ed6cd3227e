"""Files that hold several images (frames, slices, pages): each is an item, and those of a file lie together."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from PIL import Image

from stages.imaging.decoding import BadItem, decode, decode_pages, pages, read_bytes
from stages.sources.attempts import attempts
from stages.sources.listing import Listing

Locator = tuple[str, int | None]  # the file, and which of its images; None where it is one


def unfold(files: Listing, numbers: Sequence[Sequence[int | None]], groups: Sequence[str | None] | None) -> Listing:
    """The images of all files; locators are of the type `Locator`, and ids those of the files with #0001 and so on.

    files: their locators are paths. numbers: of each file's images, from 0; [None] where it is one, [] where it is to
    be left out. groups: of each file, or None where none is known.
    """
    rows = np.repeat(np.arange(len(files)), [len(each) for each in numbers])
    images = replace(files, groups=groups).take(rows)
    flat = list(chain.from_iterable(numbers))
    named = zip(images.ids.tolist(), flat, strict=True)
    ids = [name if number is None else f"{name}#{number + 1:04d}" for name, number in named]
    return replace(images, ids=np.array(ids, np.str_), locators=list(zip(images.locators, flat, strict=True)))


def file_of(id_: str) -> str:
    """The id of the file that an image is of."""
    return re.sub(r"#\d{4,}$", "", id_)


def with_pages(root: Path, files: Listing) -> Listing:
    """Image files, of which each page of a TIFF is an image; the pages of a stack stay together unless `files` has
    groups that say otherwise."""
    numbers = [pages(root, each) for each in files.locators]
    groups = files.groups
    if groups is None and any(len(each) > 1 for each in numbers):
        groups = [f"stack {row + 1}" if len(each) > 1 else None for row, each in enumerate(numbers)]
    return unfold(files, numbers, groups)


def read_pictures(root: Path, locators: Iterable[Locator]) -> Iterator[Image.Image | BadItem]:
    """The images at these places of image files, in order; for one that cannot be used, what is wrong with it."""
    for file, own in groupby(locators, key=itemgetter(0)):
        numbers = [number for _, number in own]
        wanted = [number for number in numbers if number is not None]
        try:
            data = read_bytes(root, file)
        except BadItem as bad:
            yield from [bad] * len(numbers)
            continue
        yield from decode_pages(data, wanted) if wanted else attempts(decode, [data] * len(numbers))
