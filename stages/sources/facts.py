"""What is known of every image that could be read, beside its pixels: the table that the checks go by."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of every image that could be read, in one row order.

    digests: (N,), 16-byte hashes of the normalised pixels. thumbnails: uint8 (N, T, T), grey, T = min(16, size).
    width, height: int64 (N,), pixels of the original. colourful: (N,), some pixel's channels differ by more than
    a little before conversion. constant: (N,), one value throughout. wrong_extension: (N,), the content is of another
    format than the name says.
    """

    digests: NDArray[np.void]
    thumbnails: NDArray[np.uint8]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    colourful: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    wrong_extension: NDArray[np.bool_]


def join(parts: Sequence[Facts]) -> Facts:
    """The facts of all parts, at least one, in one table."""
    return Facts(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Facts)})
