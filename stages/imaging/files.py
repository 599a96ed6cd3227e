"""Images made elsewhere: by a diffusion model, a collection of generators, a graphics program."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.imaging import parquet
from stages.imaging.decoding import BadItem, decode, image_suffixes, read_bytes
from stages.imaging.normalise import to_pixels
from stages.plumbing.errors import UserError
from stages.sources.params import ImageParams

# Ids, classes ('' for none) and ways to the bytes of all images found.
_Found = tuple[list[str], list[str], Sequence[Callable[[], bytes | None]]]
# What would break lines or steer a terminal where a name is shown (C0, C1, line separators), and half characters.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def labelled_images(
    path: Path, class_names: Sequence[str], image: ImageParams
) -> tuple[NDArray[np.str_], NDArray[np.uint8], NDArray[np.int64]]:
    """Ids (N,), pixels uint8 (N, C, S, S) and labels int64 (N,) of all images there, in the form of the real ones.

    `path` is a folder of image files, each in a folder with the name of its class, at any depth; or a Parquet file or
    a folder of such, with the columns `image` and `label` as `datasets` writes them. Labels are places of the classes'
    names in `class_names`. Hidden files and files of other kinds are passed over.

    Raises:
        UserError: nothing is there, an image cannot be read or has no class, or the classes are not those of the real
            images.
    """
    if not path.exists():
        raise UserError(f"path: {path} is missing: put the images there, or name another folder")
    files, _ = parquet.file_names(path)
    ids, given, contents = _in_parquet(path, files) if files else _in_folders(path)
    check_names(path, [*ids, *given])
    if "" in given:
        raise UserError(f"path: {ids[given.index('')]} in {path} has no class")
    if set(given) != set(class_names):
        held = f"the classes {', '.join(sorted(set(given)))}" if given else "no images"
        raise UserError(
            f"path: {path} has {held}, but the real images have {', '.join(class_names)}: give it one folder for each "
            "of them"
        )
    pixels = [_pixels(path / name, content, image) for name, content in zip(ids, contents, strict=True)]
    number = {name: label for label, name in enumerate(class_names)}
    return np.array(ids, np.str_), np.stack(pixels), np.array([number[name] for name in given], np.int64)


def _pixels(name: Path, content: Callable[[], bytes | None], image: ImageParams) -> NDArray[np.uint8]:
    try:
        return to_pixels(decode(content() or b""), image)
    except BadItem as bad:
        raise UserError(f"path: {name} cannot be used: {bad.reason}") from None


def _in_folders(root: Path) -> _Found:
    """Image files, each of the class that its folder is named after."""
    suffixes = image_suffixes()
    paths = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in suffixes)
    found = sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))
    ids = [path.as_posix() for path in found]
    classes = [unicodedata.normalize("NFC", path.parent.name) for path in found]
    return ids, classes, [partial(read_bytes, root, name) for name in ids]


def _in_parquet(root: Path, names: Sequence[str]) -> _Found:
    """Rows of Parquet files."""
    columns, base = parquet.Columns("image", "label"), parquet.base_of(root)
    files = [parquet.read_rows(root, name, columns) for name in names]
    classes, labels = parquet.encode_labels(root, files)
    rows = [(base / file.name, row) for file in files for row in range(len(file.labels))]
    return (
        parquet.ids_of(files).tolist(),
        [classes[label] if label >= 0 else "" for label in labels.tolist()],
        [partial(parquet.encoded_image, file, columns.image, row) for file, row in rows],
    )


def check_names(root: Path, names: Iterable[str]) -> None:
    """Raises UserError for a class or an item of the source at `root` whose name cannot be shown as it is."""
    for name in names:
        if _NO_TEXT.search(name):
            raise UserError(f"{root} has a name with control characters or not valid UTF-8, {name!a}: rename it")
