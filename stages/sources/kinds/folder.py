"""Image files in a folder for each class, in one tree or in given train, validation and test trees."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from stages.imaging.decoding import BadItem, decode, image_suffixes, read_bytes
from stages.sources.attempts import attempts
from stages.sources.listing import Listing
from stages.sources.params import FolderParams
from stages.sources.tree import list_tree


def find(params: FolderParams) -> Listing:
    """All image files, in the layouts of `list_tree`. Raises UserError where they make no labelled set."""
    return list_tree(Path(params.path), image_suffixes(), "image")


def read(params: FolderParams, locators: Sequence[str]) -> Iterator[Image.Image | BadItem]:
    """The images at `locators` in order, each wholly loaded; for one that cannot be used, what is wrong with it."""
    return attempts(lambda locator: decode(read_bytes(Path(params.path), locator)), locators)
