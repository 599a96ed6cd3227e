"""Reading items one after the other, where one that cannot be used must not stop the others."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from PIL import Image

from stages.imaging.decoding import BadItem

Locator = TypeVar("Locator")


def attempts(make: Callable[[Locator], Image.Image], locators: Iterable[Locator]) -> Iterator[Image.Image | BadItem]:
    """What `make` makes of each locator, in order; where it raises BadItem, that."""
    for locator in locators:
        try:
            made: Image.Image | BadItem = make(locator)
        except BadItem as bad:
            made = bad
        yield made
