"""What `prepare` left behind, as later stages see it: the images of each role, with labels only where it has them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.plumbing import images, workdir
from stages.plumbing.errors import reading
from stages.plumbing.images import UNLABELLED, ImageSet
from stages.sources.params import ImageParams

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TRAIN, UNLABELLED_POOL, VALIDATION, CALIBRATION, TEST = ROLES = (
    "train",
    "unlabelled",
    "validation",
    "calibration",
    "test",
)
OTHER = "other"  # the role of images of other classes, of which nothing is tested: some generators and arms learn from
LABELLED = (TRAIN, VALIDATION)  # a choice made on a label uses it too
SHIFTED = "shifted/"  # leads the ids of a second source's images, and of disturbed versions of the source's own
MASKS = "masks.parquet"  # regions of images, where prepare.masks says where they lie
OTHER_PREFIX = "other/"  # leads the ids of images of other classes
SEEN = (*LABELLED, UNLABELLED_POOL)  # all that a replicate's generators learn from


@dataclass(frozen=True)
class Dataset:
    """The prepared data set: name, class names in the order of labels, what every image is, and its replicates.

    shifted: whether train images are of a source domain, and those of all other roles of a target domain.
    other_classes: names of those that are learned from and never tested; their labels follow on those of `classes`.
    regions: a digest of the images' regions, '' where none are known of.
    """

    folder: Path
    name: str
    classes: list[str]
    image: ImageParams
    replicates: int
    shifted: bool
    other_classes: Sequence[str] = ()
    regions: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.image.channel_count, self.image.size, self.image.size

    @property
    def flip_ok(self) -> bool:
        """Whether a mirrored image keeps its class."""
        return self.image.flip_ok

    @classmethod
    def open(cls, folder: Path = workdir.DATA / "prepare") -> "Dataset":
        """Reads dataset.json. Raises UserError when it is missing or damaged."""
        path = folder / "dataset.json"
        facts = workdir.read_json(path)
        with reading(path):
            return cls(folder, **(facts | {"image": ImageParams(**facts["image"])}))

    def role(self, replicate: int, role: str) -> ImageSet:
        """The images that play `role` in `replicate`, in the order of images.parquet.

        Labels are there for train and validation images, and for those of other classes: everywhere else they are
        `UNLABELLED`.
        """
        chosen = self._images(self._rows(replicate, role))
        return chosen if role in (*LABELLED, OTHER) else _without_labels(chosen)

    def ids(self, replicate: int, *roles: str) -> NDArray[np.str_]:
        """Ids (n,) of the images that play one of these roles, in the order of images.parquet; none is decoded."""
        return self._ids[self._rows(replicate, *roles)]

    def labels(self, replicate: int, *roles: str) -> NDArray[np.int64]:
        """Labels (n,) of the images that play one of these roles, as `role` tells them; none is decoded."""
        labels = images.labels_of(self._table.filter(self._rows(replicate, *roles)))
        return labels if set(roles) <= {*LABELLED, OTHER} else np.full_like(labels, UNLABELLED)

    def masks(self, replicate: int, *roles: str) -> NDArray[np.bool_] | None:
        """Regions (n, 1, H, W) of the images that play one of these roles, in the order of images.parquet; empty where
        an image has none. None where nothing is known of regions."""
        return self.masks_of(self.ids(replicate, *roles))

    def masks_of(self, ids: NDArray[np.str_]) -> NDArray[np.bool_] | None:
        """The same of the images with these ids, in that order."""
        if not (path := self.folder / MASKS).exists():
            return None
        found = self._masks
        masks = np.zeros((len(ids), 1, *self.shape[1:]), dtype=bool)
        with reading(path):
            for row, each in enumerate(ids.tolist()):
                if each in found:
                    masks[row] = images.decode_png(found[each]) > 0
        return masks

    def everyone(self) -> tuple[NDArray[np.str_], list[str | None]]:
        """Ids and groups (n,) of all real images, whatever their roles; none is decoded."""
        return self._ids, self._table["group"].to_pylist()

    def groups(self, replicate: int, *roles: str) -> list[str | None]:
        """Groups (n,) of the images that play one of these roles; none is decoded."""
        groups: list[str | None] = self._table["group"].filter(self._rows(replicate, *roles)).to_pylist()
        return groups

    def labelled_times(self, of_groups: bool) -> tuple[int, int]:
        """In how many replicates the image, or the group, is labelled that is labelled in most; and how many labelled
        images the largest group has in one replicate, 1 without groups. An image of no group is one of its own."""
        times, largest = Counter[str](), 1
        for replicate in range(self.replicates):
            groups = self.groups(replicate, *LABELLED)
            largest = max([largest, *Counter(filter(None, groups)).values()])
            names = self.ids(replicate, *LABELLED).tolist()
            times.update({group or name for group, name in zip(groups, names, strict=True)} if of_groups else names)
        return max(times.values()), largest

    def membership(self) -> tuple[NDArray[np.str_], NDArray[np.bool_], NDArray[np.bool_]]:
        """What attacks on a published set need: ids (n,) of all real images outside the test set, under domain shift of
        the target alone; by replicate, (R, n), whether its generators may learn from them, and whether nothing in it
        sees them but the memorization threshold.

        Images of other classes are left out: every replicate learns from all of them, so none tells of another.
        An image that choices are made on, but that no generator learns from, is neither; nor is one whose other version
        (`shifted/` leads its id) plays such a role: what was learned from that shows this one too.
        """

        def playing(*roles: str) -> NDArray[np.bool_]:
            return np.stack([self._rows(replicate, *roles) for replicate in range(self.replicates)])

        others = [role for role in ROLES if role != TEST and not (self.shifted and role == TRAIN)]
        outside = playing(*others).any(axis=0)
        _, picture = np.unique([each.removeprefix(SHIFTED) for each in self._ids.tolist()], return_inverse=True)
        used = np.zeros((picture.max(initial=-1) + 1, self.replicates), dtype=bool)
        np.logical_or.at(used, picture, playing(*SEEN, VALIDATION, TEST).T)
        seen, unseen = playing(*SEEN), ~used.T[:, picture]
        return self._ids[outside], seen[:, outside], unseen[:, outside]

    def fingerprint(self, replicate: int) -> str:
        """What the replicate is made of: its images, labels and roles, and what holds for all images.

        It does not depend on how many other replicates there are, so work keyed by it survives a further one.
        """
        own = self._roles["replicate"] == replicate
        members = self._table.filter(np.isin(self._ids, self._roles["id"][own]))
        return workdir.fingerprint(
            self.classes,
            self.image,
            self.shifted,
            replicate,
            self._roles["id"][own],
            self._roles["role"][own],
            members["id"].to_pylist(),
            images.labels_of(members),
            *(each["bytes"] for each in members["image"].to_pylist()),
            *(self._masks[each] for each in members["id"].to_pylist() if each in self._masks),
        )

    def seen_by_gan(self, replicate: int) -> ImageSet:
        """All images that the replicate's generators learn from, with labels or without, and those of other classes,
        from which some do."""
        return _without_labels(self._images(self._rows(replicate, *SEEN, OTHER)))

    def by_id(self, ids: Sequence[str]) -> ImageSet:
        """The real images with these ids, in that order, without labels."""
        members = self._images(np.isin(self._ids, ids))
        return _without_labels(members.by_id(ids))

    def calibration_labels(self, replicate: int) -> NDArray[np.int64]:
        """True labels (m,) of the calibration images, in the order of `role`. For thresholds of each class alone: they
        count as labels used."""
        return images.labels_of(self._table.filter(self._rows(replicate, CALIBRATION)))

    def test_labels(self) -> "pd.Series[int]":
        """True labels of the test set by image id. For `evaluate` alone."""
        import pandas as pd

        test = self._table.filter(self._rows(0, TEST))
        return pd.Series(images.labels_of(test), index=pd.Index(test["id"].to_pylist(), name="id"), name="label")

    def _images(self, rows: NDArray[np.bool_]) -> ImageSet:
        """Decodes these images alone: a role is often a small part of the set. No images have the shape of any."""
        with reading(self._path):
            chosen = images.from_table(self._table.filter(rows))
            return replace(chosen, pixels=chosen.pixels.reshape(len(chosen), *self.shape))

    @property
    def _path(self) -> Path:
        return self.folder / "images.parquet"

    @cached_property
    def _table(self) -> "pa.Table":
        return images.read_table(self._path)

    @cached_property
    def _masks(self) -> dict[str, bytes]:
        """The region of each image that has one, as PNG, by id; empty where nothing is known of regions."""
        path = self.folder / MASKS
        if not path.exists():
            return {}
        table = images.read_table(path)
        with reading(path):
            return dict(zip(table["id"].to_pylist(), table["mask"].to_pylist(), strict=True))

    @cached_property
    def _ids(self) -> NDArray[np.str_]:
        return np.array(self._table["id"].to_pylist(), dtype=np.str_)

    @cached_property
    def _roles(self) -> dict[str, NDArray[Any]]:
        """Columns of roles.parquet, and beside them the row in images.parquet of each of its images."""
        import pyarrow.compute as pc

        table = images.read_table(self.folder / "roles.parquet")
        with reading(self.folder / "roles.parquet"):
            row = pc.index_in(table["id"], self._table["id"])
            if row.null_count:
                raise ValueError("it names images that images.parquet does not have")
            return {
                "id": np.array(table["id"].to_pylist(), dtype=np.str_),
                "replicate": table["replicate"].to_numpy(),
                "role": np.array(table["role"].to_pylist(), dtype=np.str_),
                "row": row.to_numpy(),
            }

    def _rows(self, replicate: int, *roles: str) -> NDArray[np.bool_]:
        table = self._roles
        (own,) = np.nonzero(table["replicate"] == replicate)
        rows = np.zeros(len(self._table), dtype=bool)
        rows[table["row"][own[np.isin(table["role"][own], roles)]]] = True
        return rows


def _without_labels(images_: ImageSet) -> ImageSet:
    return replace(images_, labels=np.full(len(images_), UNLABELLED, dtype=np.int64))
