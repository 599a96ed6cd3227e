"""No source at all: the second one of a run without domain shift."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.sources.listing import Listing
from stages.sources.params import NoSource


def find(params: NoSource) -> Listing:  # noqa: ARG001 - there is nothing at its path
    """Nothing."""
    return Listing([], np.empty(0, np.str_), np.empty(0, np.int64), np.empty(0, np.str_), None, [], {})


def read(params: NoSource, locators: Sequence[Any]) -> Iterator[Image.Image | BadItem]:  # noqa: ARG001
    """Nothing."""
    yield from ()
