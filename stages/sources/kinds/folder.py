"""Image files in a folder for each class, in one tree or in given train, validation and test trees."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from stages.imaging.decoding import BadItem, image_suffixes
from stages.sources.listing import Listing
from stages.sources.params import FolderParams
from stages.sources.tree import list_tree
from stages.sources.unfolding import Locator, read_pictures, with_pages


def find(params: FolderParams) -> Listing:
    """All image files, in the layouts of `list_tree`; each page of a TIFF is an image, and a stack's stay together.

    Raises UserError where they make no labelled set.
    """
    root = Path(params.path)
    return with_pages(root, list_tree(root, image_suffixes(), "image"))


def read(params: FolderParams, locators: Sequence[Locator]) -> Iterator[Image.Image | BadItem]:
    """The images at `locators` in order, each wholly loaded; for one that cannot be used, what is wrong with it."""
    return read_pictures(Path(params.path), locators)
