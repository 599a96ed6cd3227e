"""Parquet files laid out as Hugging Face's image data sets: encoded images, labels, and perhaps groups, by row."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging import parquet
from stages.imaging.decoding import BadItem, decode
from stages.imaging.files import check_names
from stages.imaging.marks import REMEDY
from stages.plumbing.dataset import TEST, TRAIN, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.listing import Listing
from stages.sources.params import ParquetParams
from stages.sources.tables import examples

Locator = tuple[str, int]  # file relative to the source, row in it
_SPLITS = {"train": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "test": TEST}


def find(params: ParquetParams) -> Listing:
    """All rows of the file, or of all files in the folder, sorted by file; reads no images.

    A label is an integer, named by the ClassLabel in the schema's `huggingface` metadata or else by itself, or a
    string. Rows whose label is null, or -1 beside a ClassLabel, are the pool. Files or folders named `train`,
    `validation` (`valid`, `val`) and `test`, alone or before a sign as in `train-00000-of-00001.parquet`, are the
    splits; a source that has `train` alone is one to split. Ids come from the column `id` where there is one and its
    values differ, else they are the file's path without its ending, a colon and the row.
    Raises UserError for files that are missing, damaged or not laid out so, and for classes that no classifier can
    learn: fewer than two, or not the same ones in every split; and for a set that a run of ours published.
    """
    root = Path(params.path)
    names, ignored = parquet.file_names(root)
    if not names:
        raise UserError(
            f"{root} has no .parquet file: export the data set there, as `datasets` does with `to_parquet`, "
            "or let the source's path name another folder"
        )
    columns = parquet.Columns(params.image_column, params.label_column, params.group_column)
    files = [parquet.read_rows(root, name, columns) for name in names]
    if synthetic := [file.name for file in files if file.marked]:
        raise UserError(f"{root} has {examples(synthetic)} with the mark of a synthetic set: {REMEDY}")
    class_names, labels = parquet.encode_labels(root, files)
    splits = np.array([_split(file.name) for file in files for _ in file.labels], dtype=np.str_)
    splits[labels == UNLABELLED] = ""
    if set(splits) <= {"", TRAIN}:
        splits[:] = ""
    _check_classes(root, class_names, labels, splits)
    ids = parquet.ids_of(files)
    check_names(root, [*class_names, *ids.tolist()])
    groups = [group for file in files for group in file.groups]
    return Listing(
        class_names=class_names,
        ids=ids,
        labels=labels,
        splits=splits,
        groups=groups if any(group is not None for group in groups) else None,
        locators=[(file.name, row) for file in files for row in range(len(file.labels))],
        ignored={"no Parquet file": ignored} if ignored else {},
    )


def read(params: ParquetParams, locators: Sequence[Locator]) -> Iterator[Image.Image | BadItem]:
    """The images at `locators`, in that order; one row group is in memory at a time. Raises UserError as `find`."""
    base = parquet.base_of(Path(params.path))
    for name, row in locators:
        data = parquet.encoded_image(base / name, params.image_column, row)
        try:
            if data is None:
                raise BadItem("empty", "the row has no image: fill it or remove the row")
            yield decode(data)
        except BadItem as bad:
            yield bad


def _split(name: str) -> str:
    """The split that a file's own name says, or else its nearest folder, or ''."""
    path = PurePosixPath(name)
    for part in (path.stem, *(folder.name for folder in path.parents)):
        word = re.match("[a-z]*", part.lower())
        if word and word.group() in _SPLITS:
            return _SPLITS[word.group()]
    return ""


def _check_classes(root: Path, class_names: list[str], labels: NDArray[np.int64], splits: NDArray[np.str_]) -> None:
    """Raises UserError unless there are two classes or more, and the same ones in every split."""
    labelled = labels != UNLABELLED
    classes = set(labels[labelled].tolist())
    if len(classes) < 2:
        held = f"one class only, {class_names[classes.pop()]!r}" if classes else "no row with a label"
        raise UserError(f"{root} has {held}: a classifier needs two classes or more")
    given = set(splits[labelled].tolist())
    if given == {""}:
        return
    if not {TRAIN, TEST} <= given or "" in given:
        named = ", ".join(repr(split) for split in sorted(given - {""}))
        also = " and files named otherwise" if "" in given else ""
        raise UserError(
            f"{root} has labelled rows in {named}{also}: it needs both 'train' and 'test' and beside them at most "
            "'validation', or one of them as a source of its own to split: rename the files or move some away"
        )
    for split in sorted(given):
        missing = classes - set(labels[splits == split].tolist())
        if missing:
            words = ", ".join(repr(class_names[label]) for label in sorted(missing))
            raise UserError(f"{root}: no row in {split!r} for {words}: all splits need the same classes")
