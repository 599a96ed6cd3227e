"""The 1,797 handwritten digits that scikit-learn carries: 8x8, grey, ten classes (Alpaydin and Kaynak 1998, UCI)."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.sources.listing import Listing
from stages.sources.params import DigitsParams


def find(params: DigitsParams) -> Listing:  # noqa: ARG001 - they come with the library, whatever the path
    """All digits, without groups: writers are unknown."""
    from sklearn.datasets import load_digits

    labels = load_digits().target.astype(np.int64)
    return Listing(
        class_names=[str(digit) for digit in range(10)],
        ids=np.array([f"digits-{index:04d}" for index in range(len(labels))]),
        labels=labels,
        splits=np.full(len(labels), ""),
        groups=None,
        locators=range(len(labels)),
        ignored={},
    )


def read(params: DigitsParams, locators: Sequence[int]) -> Iterator[Image.Image | BadItem]:  # noqa: ARG001
    """The digits at these places, at their native size, their 17 grey levels spread over 0..255."""
    from sklearn.datasets import load_digits

    pixels = np.rint(load_digits().images[list(locators)] * (255 / 16)).astype(np.uint8)
    yield from map(Image.fromarray, pixels)
