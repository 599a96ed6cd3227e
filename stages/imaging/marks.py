"""The mark of a synthetic image: machine-readable words, in the file itself, that it was generated, by what and when.

It is JSON under `KEY`, in a text chunk of each PNG and in the schema of a Parquet file of them. As in a C2PA manifest
the software is `claim_generator`, and `digitalSourceType` is one of IPTC's NewsCodes. `digest` is SHA-256 over all else
and the pixels: a mark that was altered, or that lies on other pixels, is told. It is no signature: who wants to can
take a mark off, or write a sound one anew.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from PIL import Image
from PIL.PngImagePlugin import PngInfo

KEY = "understudy.provenance"
_SCHEMA_KEY = KEY.encode()
REMEDY = (
    "leave such images out, or let a section of kind `external` in train_gan.generators name them: they were generated "
    "and must not count as real"
)
Manifest = Mapping[str, Any]  # what JSON can hold


@dataclass(frozen=True)
class Mark:
    """What a mark says; is_sound: whether it is as it was written, on the pixels that it was written for."""

    manifest: Manifest
    is_sound: bool


def marked(png: bytes, manifest: Manifest) -> bytes:
    """The image as PNG with a mark; the same bytes for the same pixels and manifest."""
    image, file = Image.open(io.BytesIO(png)), io.BytesIO()
    chunk = PngInfo()
    chunk.add_text(KEY, _sealed(manifest, _content(image)))
    image.save(file, "PNG", pnginfo=chunk)
    return file.getvalue()


def is_marked(image: Image.Image) -> bool:
    """Whether an image that was loaded from a file has a mark, sound or not."""
    return KEY in image.info


def of_image(image: Image.Image) -> Mark | None:
    """The mark of an image that was loaded from a file."""
    return _read(image.info[KEY], _content(image)) if is_marked(image) else None


def marked_table(table: pa.Table, manifest: Manifest) -> pa.Table:
    """A set of PNGs, as `plumbing.images` lays it out, with a mark in its schema and one on each image.

    Those of the images also say of which replicate they are.
    """
    images = [each["bytes"] for each in table["image"].to_pylist()]
    replicates = table["replicate"].to_pylist()
    new = [
        {"bytes": marked(png, {**manifest, "replicate": replicate}), "path": None}
        for png, replicate in zip(images, replicates, strict=True)
    ]
    column = table.schema.field("image")
    table = table.set_column(table.schema.get_field_index("image"), column, pa.array(new, column.type))
    metadata = table.schema.metadata or {}
    return table.replace_schema_metadata({**metadata, KEY: _sealed(manifest, _contents(table))})


def is_marked_schema(schema: pa.Schema) -> bool:
    """Whether a Parquet file with this schema has a mark, sound or not."""
    return _SCHEMA_KEY in (schema.metadata or {})


def of_table(table: pa.Table) -> Mark | None:
    """The mark of a set; it is sound where its images are those that it was written for, in their order."""
    if not is_marked_schema(table.schema):
        return None
    return _read(table.schema.metadata[_SCHEMA_KEY].decode(errors="replace"), _contents(table))


def _content(image: Image.Image) -> bytes:
    """What a mark on this image is held against: its pixels as they are shown, however a program stores them."""
    return f"{image.width} {image.height}\n".encode() + image.convert("RGB").tobytes()


def _contents(table: pa.Table) -> bytes:
    """Of all images of a set."""
    pngs = (each["bytes"] for each in table["image"].to_pylist())
    return b"".join(hashlib.sha256(_content(Image.open(io.BytesIO(png)))).digest() for png in pngs)


def _sealed(manifest: Manifest, content: bytes) -> str:
    """The manifest with its digest, as ASCII."""
    return json.dumps({**manifest, "digest": _digest(manifest, content)}, sort_keys=True)


def _digest(manifest: Manifest, content: bytes) -> str:
    return hashlib.sha256(json.dumps(dict(manifest), sort_keys=True).encode() + b"\n" + content).hexdigest()


def _read(text: Any, content: bytes) -> Mark:
    try:
        manifest = dict(json.loads(text))
    except (TypeError, ValueError, RecursionError):  # whatever stands there instead
        return Mark({}, is_sound=False)
    digest = manifest.pop("digest", None)
    return Mark(manifest, is_sound=digest == _digest(manifest, content))
