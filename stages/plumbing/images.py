"""The one format in which a set of images lies on disk: Parquet with PNG bytes, readable by pandas and `datasets`."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from stages.plumbing.errors import reading

UNLABELLED = -1
ROW_GROUP = 4096  # images that are read or written at a time
_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_EXTRA_TYPES = {
    "replicate": pa.int64(),
    "seed": pa.int64(),
    "index": pa.int64(),
    "synthetic": pa.bool_(),
    "realness": pa.float32(),
    "latent_norm": pa.float32(),
    "generator": pa.string(),
    "source_id": pa.string(),
    "mask_id": pa.string(),
    "probabilities": pa.list_(pa.float32()),
}


@dataclass(frozen=True)
class ImageSet:
    """Images with what is known of each.

    ids: (N,) strings, stable and unique. pixels: uint8 (N, C, H, W), C 1 (grey) or 3 (RGB). labels: int64 (N,),
    index into the class names or `UNLABELLED`. groups: patient, speaker, ... of each image, or None.
    extra: further columns of synthetic sets, each (N,): replicate, seed, index, synthetic, generator (its name),
    source_id (the real image that it was drawn from, '' where there is none), mask_id (that whose region was drawn
    anew); probabilities (N, K) where labels are a teacher's; and, as long as they are not published, realness and
    latent_norm where `generate.scores` asks for them.
    """

    ids: NDArray[np.str_]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: Sequence[str | None] | None = None
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[Any]) -> "ImageSet":
        """The images at `rows` (indices or a boolean mask), in that order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        groups = None if self.groups is None else [self.groups[row] for row in rows.tolist()]
        extra = {name: column[rows] for name, column in self.extra.items()}
        return ImageSet(self.ids[rows], self.pixels[rows], self.labels[rows], groups, extra)

    def by_id(self, ids: Sequence[str]) -> "ImageSet":
        """The images with these ids, in that order. Raises KeyError for an id that is not there."""
        row = {each: index for index, each in enumerate(self.ids.tolist())}
        return self.take(np.array([row[each] for each in ids], dtype=np.int64))


def concatenate(sets: Sequence[ImageSet]) -> ImageSet:
    """All images of several sets that have the same extra columns and no groups."""
    return ImageSet(
        ids=np.concatenate([each.ids for each in sets]),
        pixels=np.concatenate([each.pixels for each in sets]),
        labels=np.concatenate([each.labels for each in sets]),
        extra={name: np.concatenate([each.extra[name] for each in sets]) for name in sets[0].extra},
    )


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of one image, uint8 (C, H, W) with C 1 or 3."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The reverse of `encode_png`."""
    array = np.asarray(Image.open(io.BytesIO(data)))
    return array[None] if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, -1, 0))


def as_table(images: ImageSet, class_names: Sequence[str]) -> pa.Table:
    """The set as it lies on disk; the schema's metadata name the classes, as `datasets` wants it."""
    columns: dict[str, pa.Array] = {
        "id": pa.array(images.ids.tolist(), pa.string()),
        "image": pa.array([{"bytes": encode_png(each), "path": None} for each in images.pixels], _IMAGE_TYPE),
        "label": _label_column(images.labels),
        "group": _group_column(images.groups, len(images)),
    }
    columns |= {name: _extra_column(name, column) for name, column in images.extra.items()}
    table = pa.table(columns)
    features: dict[str, dict[str, Any]] = {
        name: {"dtype": str(table.schema.field(name).type), "_type": "Value"} for name in columns
    }
    if "probabilities" in columns:
        features["probabilities"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(class_names), "_type": "ClassLabel"}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def relabelled(table: pa.Table, labels: NDArray[np.int64], groups: Sequence[str | None] | None) -> pa.Table:
    """A set's table with other labels (N,) and groups."""
    columns = {"label": _label_column(labels), "group": _group_column(groups, len(table))}
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table


def _label_column(labels: NDArray[np.int64]) -> pa.Array:
    return pa.array(labels, mask=labels == UNLABELLED)


def _group_column(groups: Sequence[str | None] | None, size: int) -> pa.Array:
    return pa.array([None] * size if groups is None else groups, pa.string())


def from_table(table: pa.Table) -> ImageSet:
    """The reverse of `as_table`; raises KeyError or ValueError for a table that is none of its making."""
    pixels = [decode_png(each["bytes"]) for each in table["image"].to_pylist()]
    groups = table["group"].to_pylist()
    return ImageSet(
        ids=np.array(table["id"].to_pylist(), dtype=np.str_),
        pixels=np.stack(pixels) if pixels else np.empty((0, 1, 0, 0), np.uint8),
        labels=labels_of(table),
        groups=groups if any(group is not None for group in groups) else None,
        extra={name: _extra_values(table[name]) for name in table.column_names if name in _EXTRA_TYPES},
    )


def _extra_column(name: str, values: NDArray[Any]) -> pa.Array:
    """Empty strings lie on disk as null."""
    kind = _EXTRA_TYPES[name]
    return pa.array([each or None for each in values.tolist()] if kind == pa.string() else list(values), kind)


def _extra_values(column: pa.ChunkedArray) -> NDArray[Any]:
    """The reverse of `_extra_column`."""
    if column.type == pa.string():
        return np.array(column.fill_null("").to_pylist(), dtype=np.str_)
    if pa.types.is_list(column.type):
        return pc.list_flatten(column).to_numpy().reshape(len(column), -1 if len(column) else 0)
    return column.to_numpy()


def labels_of(table: pa.Table) -> NDArray[np.int64]:
    """The labels (N,) of a set's table, `UNLABELLED` where it has none."""
    return table["label"].fill_null(UNLABELLED).to_numpy().astype(np.int64)


def write(path: Path, images: ImageSet, class_names: Sequence[str]) -> None:
    """Writes the set beside `path` and renames it into place; the same content gives the same bytes."""
    write_tables(path, [as_table(images, class_names)])


def read(path: Path) -> ImageSet:
    """Reads a set that `write` wrote. Raises UserError when it is missing or damaged."""
    table = read_table(path)
    with reading(path):
        return from_table(table)


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a Parquet table beside `path` and renames it into place."""
    write_tables(path, [table])


def write_tables(path: Path, tables: Iterable[pa.Table]) -> None:
    """Writes tables of one schema, at least one, as one Parquet file that never lies in memory as a whole.

    How the rows are spread over the tables changes no byte. Every page has a check sum, which readers here hold it
    against. The file appears beside `path` and is renamed into place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    groups = _row_groups(tables)
    first = next(groups)
    try:
        with pq.ParquetWriter(partial, first.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(first)
            for group in groups:
                writer.write_table(group)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of the tables in tables of ROW_GROUP rows, the last one of what is left; at least one."""
    waiting: pa.Table | None = None
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while len(waiting) > ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP)
            waiting = waiting.slice(ROW_GROUP)
    yield waiting


def join(path: Path, parts: Sequence[Path]) -> None:
    """Makes one set of several, at least one, and removes these: the same bytes as if it had been written in one go."""
    write_tables(path, map(read_table, parts))
    for part in parts:
        part.unlink()


def read_blocks(path: Path, blocks: range | None = None) -> Iterator[ImageSet]:
    """The images of a set that `write` wrote, in blocks of at most ROW_GROUP that lie in memory one at a time.

    `blocks`: which of them, counted from 0; else all. Raises UserError when the set is missing or damaged.
    """
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(ROW_GROUP, None if blocks is None else list(blocks)):
            yield from_table(pa.Table.from_batches([batch]))


def read_pixels(path: Path, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The images at these rows, at least one, ascending: uint8 (n, C, H, W); of the others, none is decoded.

    Raises UserError when the set is missing or damaged.
    """
    found, start = [], 0
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(ROW_GROUP):
            own = rows[(rows >= start) & (rows < start + len(batch))] - start
            found.append(from_table(pa.Table.from_batches([batch.take(own)])))
            start += len(batch)
    return np.concatenate([each.pixels for each in found if len(each)])


def count(path: Path) -> int:
    """How many images a set has. Raises UserError when it is missing or damaged."""
    with reading(path):
        return int(pq.read_metadata(path).num_rows)


def read_table(path: Path) -> pa.Table:
    """Reads a Parquet table. Raises UserError when it is missing or damaged."""
    with reading(path):
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()  # pq.read_table would import pandas, for .4 CPU seconds in every process
        return table.select(table.column_names)  # damaged names are noticed here: no check sum covers them
