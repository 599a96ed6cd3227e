"""What a source holds before anything is decoded, and what can be wrong with one of its items."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.errors import UserError

Fault = Literal["empty", "undecodable", "truncated", "too_large", "animated", "forbidden", "outside", "not_a_number"]

# What would break lines or steer a terminal where a name is shown (C0, C1, line separators), and half characters.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadItem(Exception):  # noqa: N818 - as much a record of what was found as an error
    """One image or recording that cannot be used, with the reason and the remedy in words; no fault of the run."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(fault, reason)  # both, so that it comes back from a worker process as it went
        self.fault: Fault = fault
        self.reason = reason


@dataclass(frozen=True)
class Listing:
    """All items of a source, in an order that depends on their names alone.

    class_names: in the order of the labels. ids: (N,) strings, stable and unique, for files the path relative to the
    source with `/`. labels: int64 (N,), or `UNLABELLED`. splits: (N,) strings, `train`, `validation` or `test` where
    the source itself says so, else ''. groups: patient, speaker, ... of each item, or None where the source knows none.
    locators: where each is read from, as the source's `read` wants it; small and picklable.
    ignored: files and folders that were passed over, and why, as counts by reason.
    """

    class_names: list[str]
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    groups: Sequence[str | None] | None
    locators: Sequence[Any]
    ignored: dict[str, int]

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


def check_names(root: Path, names: Iterable[str]) -> None:
    """Raises UserError for a class or an item of the source at `root` whose name cannot be shown as it is."""
    for name in names:
        if _NO_TEXT.search(name):
            raise UserError(f"{root} has a name with control characters or not valid UTF-8, {name!a}: rename it")
