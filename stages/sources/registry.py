"""The kinds of sources, by `prepare.source.kind`: each a module that finds its items and reads some of them."""

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from PIL import Image

from stages.sources.kinds import audio, digits, folder, parquet, torchvision
from stages.sources.listing import BadItem, Listing
from stages.sources.params import SourceParams

_KINDS: dict[str, ModuleType] = {
    "audio": audio,
    "digits": digits,
    "folder": folder,
    "parquet": parquet,
    "torchvision": torchvision,
}


def find(params: SourceParams) -> Listing:
    """Lists what the source holds; nothing is decoded. Raises UserError where the whole source is spoilt."""
    found: Listing = _KINDS[params.kind].find(params)
    return found


def read(params: SourceParams, locators: Sequence[Any]) -> Iterator[Image.Image | BadItem]:
    """The image, or what is wrong with it, for each of these locators of the source's listing, in order."""
    yield from _KINDS[params.kind].read(params, locators)
