"""A large image set in the making: one Parquet file per chunk, so that it never lies in memory as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.plumbing import images


@dataclass(frozen=True)
class Parts:
    """The images of several files, in the order of `paths`, as one sequence of rows; sizes: images in each file."""

    paths: Sequence[Path]
    sizes: Sequence[int]

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at these rows, at least one, in that order: uint8 (n, C, H, W)."""
        order = np.argsort(rows, kind="stable")
        number = np.searchsorted(self._ends, rows[order], side="right")
        found = []
        for part in np.unique(number):
            within = rows[order][number == part] - self._starts[part]
            found.append(images.from_table(images.read_table(self.paths[part]).take(within)).pixels)
        return np.concatenate(found)[np.argsort(order)]

    def tables(
        self,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        groups: Sequence[str | None] | None,
    ) -> Iterator[pa.Table]:
        """The images at `rows`, ascending, with these labels and groups instead of theirs: a table for each file."""
        first = np.searchsorted(rows, self._starts)
        last = np.searchsorted(rows, self._ends)
        for path, start, low, high in zip(self.paths, self._starts, first, last, strict=True):
            table = images.read_table(path).take(rows[low:high] - start)
            own = None if groups is None else groups[low:high]
            yield images.relabelled(table, labels[low:high], own)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.sizes)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return self._ends - np.array(self.sizes)
