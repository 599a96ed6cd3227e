"""Parquet files laid out as Hugging Face's image data sets: encoded images, labels, and perhaps groups, by row."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import decode
from stages.plumbing.dataset import TEST, TRAIN, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.listing import BadItem, Listing, check_names
from stages.sources.params import ParquetParams

Locator = tuple[str, int]  # file relative to the source, row in it
_SPLITS = {"train": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "test": TEST}
_ID = "id"
# A few kB of Parquet can stand for any number of bytes. Columns are read as dictionaries, in which repeated values cost
# nothing and which Arrow keeps below 2 GiB; these numbers bound the rest.
LARGEST_ROW_GROUP = 2**31 - 1  # bytes of images, unpacked
MOST_ROWS = 2**24  # in one file
LARGEST_TEXT = 2**28  # characters: rows times the longest value of a column


@dataclass(frozen=True)
class _File:
    """What is known of each row of one file, without its images. class_names: where the schema has them."""

    name: str
    split: str
    labels: list[Any]
    class_names: tuple[str, ...] | None
    groups: list[str | None]
    ids: list[str] | None


def find(params: ParquetParams) -> Listing:
    """All rows of the file, or of all files in the folder, sorted by file; reads no images.

    A label is an integer, named by the ClassLabel in the schema's `huggingface` metadata or else by itself, or a
    string. Rows whose label is null, or -1 beside a ClassLabel, are the pool. Files or folders named `train`,
    `validation` (`valid`, `val`) and `test`, alone or before a sign as in `train-00000-of-00001.parquet`, are the
    splits; a source that has `train` alone is one to split. Ids come from the column `id` where there is one and its
    values differ, else they are the file's path without its ending, a colon and the row.
    Raises UserError for files that are missing, damaged or not laid out so, and for classes that no classifier can
    learn: fewer than two, or not the same ones in every split.
    """
    root = Path(params.path)
    names, ignored = _file_names(root)
    files = [_read_columns(_base(root), name, params) for name in names]
    class_names, labels = _encode_labels(root, files)
    splits = np.array([file.split for file in files for _ in file.labels], dtype=np.str_)
    splits[labels == UNLABELLED] = ""
    if set(splits) <= {"", TRAIN}:
        splits[:] = ""
    _check_classes(root, class_names, labels, splits)
    ids = _ids(files)
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
    """The images at `locators`, in that order; one row group is in memory at a time. Raises UserError as `find`.

    The field `path` that `datasets` keeps beside the bytes is never followed.
    """
    base = _base(Path(params.path))
    for name, row in locators:
        ends = _row_group_ends(base / name)
        index = int(np.searchsorted(ends, row, side="right"))
        start = int(ends[index - 1]) if index else 0
        with _opening(base / name):
            data = _row_group(base / name, params.image_column, index)[row - start].as_py()
        try:
            if data is None:
                raise BadItem("empty", "the row has no image: fill it or remove the row")
            yield decode(data)
        except BadItem as bad:
            yield bad


def _base(root: Path) -> Path:
    """What the names in locators are relative to."""
    return root if root.is_dir() else root.parent


def _file_names(root: Path) -> tuple[list[str], int]:
    """Names of the Parquet files relative to the base, sorted, and the number of other files. Hidden ones are none."""
    if not root.is_dir():
        return [root.name], 0
    relative = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    visible = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    names = sorted(path.as_posix() for path in visible if path.suffix.lower() == ".parquet")
    for name in names:
        if not (root / name).resolve().is_relative_to(root.resolve()):
            raise UserError(f"{root / name} is a symbolic link out of the source's folder: put the file itself there")
    if not names:
        raise UserError(
            f"{root} has no .parquet file: export the data set there, as `datasets` does with `to_parquet`, "
            "or let the source's path name another folder"
        )
    return names, len(visible) - len(names)


def _read_columns(base: Path, name: str, params: ParquetParams) -> _File:
    """All but the images of one file. Raises UserError when it is damaged or laid out otherwise."""
    path = base / name
    with _opening(path):
        file = pq.ParquetFile(path)
        _check_columns(path, file, params)
        has_id = _ID in file.schema_arrow.names
        wanted = {params.label_column, params.group_column, _ID if has_id else None}
        table = _read_texts(path, sorted(filter(None, wanted)))
        class_names = _class_names(file.schema_arrow, params.label_column)
        labels, groups, ids = (
            table[column].to_pylist() if column in table.column_names else [None] * len(table)
            for column in (params.label_column, params.group_column, _ID)
        )
    return _File(
        name=name,
        split=_split(name),
        labels=labels,
        class_names=class_names,
        groups=[None if group is None else str(group) for group in groups],
        ids=None if None in ids else [str(each) for each in ids],
    )


def _read_texts(path: Path, columns: list[str]) -> pa.Table:
    """Labels, groups and ids. Raises UserError when they would not fit in memory."""
    with pq.ParquetFile(path, read_dictionary=columns) as file:
        if sum(file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)) > MOST_ROWS:
            raise UserError(f"{path} has more than {MOST_ROWS:,} rows: spread them over several files")
        table = file.read(columns=columns, use_threads=False)
    for column, values in zip(table.column_names, table.columns, strict=True):
        texts = [chunk.dictionary for chunk in values.chunks if pa.types.is_dictionary(chunk.type)]
        longest = max((pc.max(pc.binary_length(each)).as_py() or 0 for each in texts), default=0)
        if longest * len(table) > LARGEST_TEXT:
            raise UserError(f"{path}: the column {column!r} has a value of {longest:,} characters: shorten it")
    return table


def _check_names_and_texts(path: Path, schema: pa.Schema, params: ParquetParams) -> None:
    """Raises UserError when a column is missing or there twice, or groups or ids are no plain values."""
    for column in filter(None, (params.image_column, params.label_column, params.group_column)):
        if column not in schema.names:
            raise UserError(f"{path} has no column {column!r}; it has {', '.join(schema.names)}")
    for column in filter(None, (params.image_column, params.label_column, params.group_column, _ID)):
        if schema.names.count(column) > 1:
            raise UserError(f"{path} has several columns named {column!r}: rename all but one")
    for column in filter(None, (params.group_column, _ID)):
        if column in schema.names and pa.types.is_nested(_type(schema, column)):
            raise UserError(f"{path}: the column {column!r} must hold integers or strings, one in each row")


def _check_columns(path: Path, file: pq.ParquetFile, params: ParquetParams) -> None:
    """Raises UserError when a column is missing or of a type that cannot be used."""
    schema = file.schema_arrow
    _check_names_and_texts(path, schema, params)
    label = _type(schema, params.label_column)
    if not (pa.types.is_integer(label) or _is_string(label)):
        raise UserError(
            f"{path}: the label column {params.label_column!r} has the type {label}: it must hold integers or strings"
        )
    image = _type(schema, params.image_column)
    is_encoded = _is_binary(image) or (
        pa.types.is_struct(image) and image.get_field_index("bytes") >= 0 and _is_binary(image.field("bytes").type)
    )
    if not is_encoded:
        raise UserError(
            f"{path}: the image column {params.image_column!r} has the type {image}: it must hold the bytes of image "
            "files, plain or in a struct as `datasets` writes them"
        )
    if _holds_nothing(file, _leaf(schema, params.image_column)):
        raise UserError(
            f"{path}: the image column {params.image_column!r} holds no bytes, at most paths to images: export the "
            "data set with its images in it (in `datasets`: `embed_table_storage`), or read them by kind: folder"
        )


def _holds_nothing(file: pq.ParquetFile, leaf: str) -> bool:
    """Whether each value of the leaf column is null by the file's own statistics."""
    position = _position(file, leaf)
    chunks = [file.metadata.row_group(index).column(position) for index in range(file.num_row_groups)]
    return bool(chunks) and all(
        chunk.statistics is not None and chunk.statistics.null_count == chunk.num_values for chunk in chunks
    )


def _position(file: pq.ParquetFile, leaf: str) -> int:
    return [file.schema.column(index).path for index in range(len(file.schema))].index(leaf)


def _split(name: str) -> str:
    """The split that a file's own name says, or else its nearest folder, or ''."""
    path = PurePosixPath(name)
    for part in (path.stem, *(folder.name for folder in path.parents)):
        word = re.match("[a-z]*", part.lower())
        if word and word.group() in _SPLITS:
            return _SPLITS[word.group()]
    return ""


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Names of the ClassLabel that `datasets` notes in the metadata, for an integer column."""
    if not pa.types.is_integer(schema.field(column).type):
        return None
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
    except (AttributeError, RecursionError):  # whatever JSON may hold in place of a dictionary
        names = False
    is_sound = names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))
    if not is_sound or len(set(names or ())) < len(names or ()):
        raise ValueError("its metadata `huggingface` do not name the classes as `datasets` does")
    return tuple(names) if names else None


def _encode_labels(root: Path, files: Sequence[_File]) -> tuple[list[str], NDArray[np.int64]]:
    """Class names and the label of every row, int64 (N,). Raises UserError when the files contradict each other."""
    first = files[0]
    for file in files:
        if file.class_names != first.class_names:
            raise UserError(
                f"{root}: {file.name} names other classes than {first.name}: "
                "let the source's path name the folder of one configuration"
            )
    values = {value for file in files for value in file.labels if value is not None}
    if len({type(value) for value in values}) > 1:
        raise UserError(f"{root}: the labels are integers in some files and strings in others: export them alike")
    if first.class_names:
        names = list(first.class_names)
        code: dict[Any, int] = {None: UNLABELLED, UNLABELLED: UNLABELLED} | {
            label: label for label in range(len(names))
        }
    else:
        ordered = sorted(values)
        names = [str(value) for value in ordered]
        code = {value: label for label, value in enumerate(ordered)}
    code[None] = UNLABELLED
    for file in files:
        row = next((row for row, value in enumerate(file.labels) if value not in code), None)
        if row is not None:
            raise UserError(
                f"{root}: {file.name}, row {row}, has the label {file.labels[row]}, but the schema names the classes "
                f"0 to {len(names) - 1}: mend the label or the names"
            )
    return names, np.array([code[value] for file in files for value in file.labels], dtype=np.int64)


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


def _ids(files: Sequence[_File]) -> NDArray[np.str_]:
    """The column `id` when all files have it and its values differ, else file and row."""
    given = [each for file in files for each in file.ids or []]
    if len(set(given)) == sum(len(file.labels) for file in files):
        return np.array(given, dtype=np.str_)
    stems = [str(PurePosixPath(file.name).with_suffix("")) for file in files]
    return np.array(
        [f"{stem}:{row}" for stem, file in zip(stems, files, strict=True) for row in range(len(file.labels))],
        dtype=np.str_,
    )


@lru_cache(maxsize=1)
def _row_group_ends(path: Path) -> NDArray[np.int64]:
    """Number of the row after the last one of every row group."""
    with _opening(path):
        metadata = pq.read_metadata(path)
    return np.cumsum([metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)])


@lru_cache(maxsize=1)  # chunks follow one another within a row group; one, because it may be large
def _row_group(path: Path, column: str, index: int) -> pa.ChunkedArray:
    """Encoded images of one row group, null where a row has none. Raises UserError when they are too large."""
    with _opening(path):
        leaf = _leaf(pq.read_schema(path), column)
        with pq.ParquetFile(path, read_dictionary=[leaf]) as file:
            size = file.metadata.row_group(index).column(_position(file, leaf)).total_uncompressed_size
            if size > LARGEST_ROW_GROUP:
                raise UserError(
                    f"{path}: row group {index} has {size / 2**30:.1f} GiB of images, unpacked: write the file with "
                    "fewer rows in each (row_group_size=1000)"
                )
            images = file.read_row_group(index, columns=[leaf], use_threads=False)[column]
    return pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turns what pyarrow raises into words."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing: put a Parquet file there, or let the source's path name another") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"{path} cannot be read as Parquet ({reason}): export or download it again "
            "(after a git clone, `git lfs pull` fetches what such a file stands for)"
        ) from None


def _leaf(schema: pa.Schema, column: str) -> str:
    """Path of the column that has the bytes."""
    return f"{column}.bytes" if pa.types.is_struct(schema.field(column).type) else column


def _type(schema: pa.Schema, column: str) -> pa.DataType:
    """Type of the values, whether or not they are stored as a dictionary."""
    kind = schema.field(column).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
