"""The kinds of sources, by their name in params.yaml: each a module that finds its items and reads some of them."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.params import AnySource


def find(params: AnySource) -> Listing:
    """Lists what the source holds; nothing is decoded. Raises UserError where the whole source is spoilt."""
    found: Listing = _kind(params).find(params)
    return found


def read(params: AnySource, locators: Sequence[Any]) -> Iterator[Image.Image | BadItem]:
    """The image, or what is wrong with it, for each of these locators of the source's listing, in order."""
    yield from _kind(params).read(params, locators)


def masks(params: AnySource, locators: Sequence[Any]) -> Iterator[Image.Image | None]:
    """The region of each, white on black and of the image's size; None where it has none.

    Raises UserError for a kind that knows of no regions.
    """
    module = _kind(params)
    if not hasattr(module, "masks"):
        raise UserError(
            f"prepare.masks.kind: source is for sources that know their regions, not for kind: {params.kind}: take "
            "boxes, images, centre or random"
        )
    yield from module.masks(params, locators)


def _kind(params: AnySource) -> Any:
    """The module of the kind, imported by name: a stage depends on the kind in use alone, not on all that there are."""
    return import_module(f"stages.sources.kinds.{params.kind}")
