"""What `prepare` left behind, as later stages see it: the images of each role, with labels only where it has them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.plumbing import images, workdir
from stages.plumbing.errors import reading
from stages.plumbing.images import UNLABELLED, ImageSet

TRAIN, UNLABELLED_POOL, VALIDATION, CALIBRATION, TEST = ROLES = (
    "train",
    "unlabelled",
    "validation",
    "calibration",
    "test",
)
_LABELLED_ROLES = (TRAIN, VALIDATION)


@dataclass(frozen=True)
class Dataset:
    """The prepared data set: name, class names in the order of labels, (C, H, W) of every image, and its replicates."""

    folder: Path
    name: str
    classes: list[str]
    shape: tuple[int, int, int]
    flip_ok: bool
    replicates: int

    @classmethod
    def open(cls, folder: Path = workdir.DATA / "prepare") -> "Dataset":
        """Reads dataset.json. Raises UserError when it is missing or damaged."""
        path = folder / "dataset.json"
        facts = workdir.read_json(path)
        with reading(path):
            return cls(folder, **(facts | {"shape": tuple(facts["shape"])}))

    def role(self, replicate: int, role: str) -> ImageSet:
        """The images that play `role` in `replicate`, in the order of images.parquet.

        Labels are there for train and validation images alone: everywhere else they are `UNLABELLED`.
        """
        members = self._rows(replicate, role)
        chosen = self._images.take(members)
        return chosen if role in _LABELLED_ROLES else _without_labels(chosen)

    def fingerprint(self, replicate: int) -> str:
        """What the replicate is made of: its images, labels and roles, and what holds for all images.

        It does not depend on how many other replicates there are, so work keyed by it survives a further one.
        """
        roles = self._roles[self._roles["replicate"] == replicate]
        members = self._images.take(np.isin(self._images.ids, roles["id"].to_numpy(dtype=np.str_)))
        return workdir.fingerprint(
            self.classes,
            list(self.shape),
            self.flip_ok,
            replicate,
            roles[["id", "role"]].to_numpy(dtype=np.str_),
            members.ids,
            members.pixels,
            members.labels,
        )

    def seen_by_gan(self, replicate: int) -> ImageSet:
        """Train and unlabelled images: all that the replicate's GAN may learn from."""
        seen = self._images.take(self._rows(replicate, TRAIN) | self._rows(replicate, UNLABELLED_POOL))
        return _without_labels(seen)

    def by_id(self, ids: Sequence[str]) -> ImageSet:
        """The real images with these ids, in that order, without labels."""
        return _without_labels(self._images.by_id(ids))

    def test_labels(self) -> pd.Series:
        """True labels of the test set by image id. For `evaluate` alone."""
        test = self._images.take(self._rows(0, TEST))
        return pd.Series(test.labels, index=pd.Index(test.ids, name="id"), name="label")

    @cached_property
    def _images(self) -> ImageSet:
        return images.read(self.folder / "images.parquet")

    @cached_property
    def _roles(self) -> pd.DataFrame:
        return images.read_table(self.folder / "roles.parquet").to_pandas()

    def _rows(self, replicate: int, role: str) -> NDArray[np.bool_]:
        table = self._roles
        ids = table.loc[(table["replicate"] == replicate) & (table["role"] == role), "id"]
        return np.isin(self._images.ids, ids.to_numpy(dtype=np.str_))


def _without_labels(images_: ImageSet) -> ImageSet:
    return replace(images_, labels=np.full(len(images_), UNLABELLED, dtype=np.int64))
