"""Parquet files laid out as Hugging Face's image data sets: images, labels, groups and ids, read within bounds."""

import json
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

from stages.imaging.marks import is_marked_schema
from stages.plumbing.errors import UserError

_ID = "id"
_STRINGS = (pa.string(), pa.large_string())
_BINARIES = (pa.binary(), pa.large_binary())
# A few kB of Parquet can stand for any number of bytes. Columns are read as dictionaries, in which repeated values cost
# nothing and which Arrow keeps below 2 GiB; these numbers bound the rest.
LARGEST_ROW_GROUP = 2**31 - 1  # bytes of images, unpacked
MOST_ROWS = 2**24  # in one file
LARGEST_TEXT = 2**28  # characters: rows times the longest value of a column


@dataclass(frozen=True)
class Columns:
    """Names of the columns with the encoded images, the labels and the groups; None where there are no groups."""

    image: str
    label: str
    group: str | None = None


@dataclass(frozen=True)
class Rows:
    """What is known of each row of the file `name`, without its images. class_names: where the schema has them.
    marked: whether it says that its images are synthetic."""

    name: str
    labels: list[Any]
    class_names: tuple[str, ...] | None
    groups: list[str | None]
    ids: list[str] | None
    marked: bool


def base_of(root: Path) -> Path:
    """What the names of `file_names` are relative to, where `root` is a folder or a file."""
    return root if root.is_dir() else root.parent


def file_names(root: Path) -> tuple[list[str], int]:
    """Names of the Parquet files relative to the base, sorted, and the number of other files. Hidden ones are none."""
    if not root.is_dir():
        return [root.name], 0
    relative = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    visible = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    names = sorted(path.as_posix() for path in visible if path.suffix.lower() == ".parquet")
    for name in names:
        if not (root / name).resolve().is_relative_to(root.resolve()):
            raise UserError(f"{root / name} is a symbolic link out of the folder: put the file itself there")
    return names, len(visible) - len(names)


def read_rows(root: Path, name: str, columns: Columns) -> Rows:
    """All but the images of one of the `file_names`. Raises UserError when it is damaged or laid out otherwise."""
    path = base_of(root) / name
    with _opening(path):
        file = pq.ParquetFile(path)
        _check_columns(path, file, columns)
        has_id = _ID in file.schema_arrow.names
        wanted = {columns.label, columns.group, _ID if has_id else None}
        table = _read_texts(path, sorted(filter(None, wanted)))
        class_names = _class_names(file.schema_arrow, columns.label)
        marked = is_marked_schema(file.schema_arrow)
        labels, groups, ids = (
            table[column].to_pylist() if column in table.column_names else [None] * len(table)
            for column in (columns.label, columns.group, _ID)
        )
    return Rows(
        name=name,
        labels=labels,
        class_names=class_names,
        groups=[None if group is None else str(group) for group in groups],
        ids=None if None in ids else [str(each) for each in ids],
        marked=marked,
    )


def encode_labels(root: Path, files: Sequence[Rows]) -> tuple[list[str], NDArray[np.int64]]:
    """Class names and the label of every row, int64 (N,), -1 where it has none.

    Raises UserError when the files contradict each other.
    """
    first = files[0]
    for file in files:
        if file.class_names != first.class_names:
            raise UserError(
                f"{root}: {file.name} names other classes than {first.name}: "
                "let `path` name the folder of one configuration"
            )
    values = {value for file in files for value in file.labels if value is not None}
    if len({type(value) for value in values}) > 1:
        raise UserError(f"{root}: the labels are integers in some files and strings in others: export them alike")
    if first.class_names:
        names = list(first.class_names)
        code: dict[Any, int] = {-1: -1} | {label: label for label in range(len(names))}
    else:
        ordered = sorted(values)
        names = [str(value) for value in ordered]
        code = {value: label for label, value in enumerate(ordered)}
    code[None] = -1
    for file in files:
        row = next((row for row, value in enumerate(file.labels) if value not in code), None)
        if row is not None:
            raise UserError(
                f"{root}: {file.name}, row {row}, has the label {file.labels[row]}, but the schema names the classes "
                f"0 to {len(names) - 1}: mend the label or the names"
            )
    return names, np.array([code[value] for file in files for value in file.labels], dtype=np.int64)


def ids_of(files: Sequence[Rows]) -> NDArray[np.str_]:
    """The column `id` when all files have it and its values differ, else file and row."""
    given = [each for file in files for each in file.ids or []]
    if len(set(given)) == sum(len(file.labels) for file in files):
        return np.array(given, dtype=np.str_)
    stems = [str(PurePosixPath(file.name).with_suffix("")) for file in files]
    return np.array(
        [f"{stem}:{row}" for stem, file in zip(stems, files, strict=True) for row in range(len(file.labels))],
        dtype=np.str_,
    )


def encoded_image(path: Path, column: str, row: int) -> bytes | None:
    """The bytes of the image in this row, or None; cheap where rows follow one another within a row group.

    One row group is in memory at a time. The field `path` that `datasets` keeps beside the bytes is never followed.
    Raises UserError when the file is missing or damaged, or the row group too large.
    """
    ends = _row_group_ends(path)
    index = int(np.searchsorted(ends, row, side="right"))
    start = int(ends[index - 1]) if index else 0
    with _opening(path):
        data: bytes | None = _row_group(path, column, index)[row - start].as_py()
    return data


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


def _check_names_and_texts(path: Path, schema: pa.Schema, columns: Columns) -> None:
    """Raises UserError when a column is missing or there twice, or groups or ids are no plain values."""
    for column in filter(None, (columns.image, columns.label, columns.group)):
        if column not in schema.names:
            raise UserError(f"{path} has no column {column!r}; it has {', '.join(schema.names)}")
    for column in filter(None, (columns.image, columns.label, columns.group, _ID)):
        if schema.names.count(column) > 1:
            raise UserError(f"{path} has several columns named {column!r}: rename all but one")
    for column in filter(None, (columns.group, _ID)):
        if column in schema.names and pa.types.is_nested(_type(schema, column)):
            raise UserError(f"{path}: the column {column!r} must hold integers or strings, one in each row")


def _check_columns(path: Path, file: pq.ParquetFile, columns: Columns) -> None:
    """Raises UserError when a column is missing or of a type that cannot be used."""
    schema = file.schema_arrow
    _check_names_and_texts(path, schema, columns)
    label = _type(schema, columns.label)
    if not (pa.types.is_integer(label) or label in _STRINGS):
        raise UserError(
            f"{path}: the label column {columns.label!r} has the type {label}: it must hold integers or strings"
        )
    image = _type(schema, columns.image)
    if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0:
        image = image.field("bytes").type
    if image not in _BINARIES:
        raise UserError(
            f"{path}: the image column {columns.image!r} has the type {image}: it must hold the bytes of image "
            "files, plain or in a struct as `datasets` writes them"
        )
    if _holds_nothing(file, _leaf(schema, columns.image)):
        raise UserError(
            f"{path}: the image column {columns.image!r} holds no bytes, at most paths to images: export the "
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
        raise UserError(f"{path} is missing: put a Parquet file there, or let `path` name another") from None
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
