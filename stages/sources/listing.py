"""What a source holds before anything is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Listing:
    """All items of a source, in an order that depends on their names alone.

    class_names: in the order of the labels. ids: (N,) strings, stable and unique, for files the path relative to the
    source with `/`. labels: int64 (N,), or `UNLABELLED`. splits: (N,) strings, `train`, `validation` or `test` where
    the source itself says so, else ''. groups: patient, speaker, ... of each item, or None where the source knows none.
    locators: where each is read from, as the source's `read` wants it; small and picklable.
    ignored: files and folders that were passed over, and why, as counts by reason.
    others: how many of the last classes are of `prepare.other_classes`, and never tested.
    """

    class_names: list[str]
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    groups: Sequence[str | None] | None
    locators: Sequence[Any]
    ignored: dict[str, int]
    others: int = 0

    @property
    def own_classes(self) -> list[str]:
        """The classes that are told apart."""
        return self.class_names[: len(self.class_names) - self.others]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> "Listing":
        """The items at these rows, in that order."""
        return replace(
            self,
            ids=self.ids[rows],
            labels=self.labels[rows],
            splits=self.splits[rows],
            groups=None if self.groups is None else [self.groups[row] for row in rows.tolist()],
            locators=[self.locators[row] for row in rows.tolist()],
        )
