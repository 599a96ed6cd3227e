"""Image files in a folder, with a table in it that tells the class of each."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from stages.imaging.decoding import BadItem, image_suffixes
from stages.imaging.files import check_names
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.listing import Listing
from stages.sources.params import CsvParams
from stages.sources.tables import examples, opened
from stages.sources.tree import composed
from stages.sources.unfolding import Locator, read_pictures, with_pages

_DELIMITERS = ",;\t"
_MISSING = frozenset({"nan", "nat", "<na>", "#n/a", "null"})  # what programs write where there is no class
_SEVERAL = "|;"  # what lists of classes are parted by

Row = tuple[str, str | None]  # class, '' where there is none, and group


def find(params: CsvParams) -> Listing:
    """All files that the table names, sorted by name; a file without a class belongs to the pool.

    Each page of a TIFF is an image. Ids are the names in Unicode's composed form. Images that the table does not name
    are passed over and counted.
    Raises UserError where the table cannot be read, gives a file two classes or several in one, names no file that is
    there, and for fewer than two classes.
    """
    root, path = Path(params.path), Path(params.path) / params.table
    rows = _read(path, params)
    there = {composed(each.relative_to(root).as_posix()): each for each in root.rglob("*") if each.is_file()}
    unknown = [name for name in rows if name not in there]
    if len(unknown) == len(rows):
        raise UserError(
            f"{path} names {examples(unknown)}, and none of its files is there: its column {params.file_column!r} "
            f"must hold paths relative to {root}, with / and the ending, as in {_example_of(there, path)}"
        )
    names = sorted({label for label, _ in rows.values() if label})
    _check_classes(path, rows, names)
    check_names(root, [*names, *rows])
    number = {name: index for index, name in enumerate(names)} | {"": UNLABELLED}
    images = [name for name in there if name.lower().endswith(tuple(image_suffixes()))]
    ignored = Counter({f"image that {params.table} does not name": len(set(images) - set(rows))})
    ids = sorted(rows)
    files = Listing(
        class_names=names,
        ids=np.array(ids, dtype=np.str_),
        labels=np.array([number[rows[name][0]] for name in ids], dtype=np.int64),
        splits=np.full(len(ids), "", dtype=np.str_),
        groups=[rows[name][1] for name in ids] if params.group_column else None,
        locators=[there[name].relative_to(root).as_posix() if name in there else name for name in ids],
        ignored=dict(+ignored),
    )
    return with_pages(root, files)


def read(params: CsvParams, locators: Sequence[Locator]) -> Iterator[Image.Image | BadItem]:
    """The images at `locators` in order, each wholly loaded; for one that cannot be used, what is wrong with it."""
    return read_pictures(Path(params.path), locators)


def _read(path: Path, params: CsvParams) -> dict[str, Row]:
    """Class and group by file. Raises UserError."""
    rows: dict[str, Row] = {}
    wanted = [each for each in (params.file_column, params.label_column, params.group_column) if each]
    remedy = "prepare.source.table names the CSV of file and class, relative to prepare.source.path"
    with opened(path, "table of classes", remedy) as lines:
        head = lines.readline()
        lines.seek(0)
        reader = csv.DictReader(lines, restval="", delimiter=max(_DELIMITERS, key=head.count))
        columns = list(reader.fieldnames or [])
        if missing := [each for each in wanted if each not in columns]:
            raise UserError(
                f"{path} has no column {' and '.join(map(repr, missing))}; its columns are "
                f"{', '.join(map(repr, columns))}: name those of file and class under prepare.source"
            )
        for row in reader:
            name = composed(PurePosixPath(row[params.file_column].strip().replace("\\", "/")).as_posix())
            told = (row[params.label_column].strip(), params.group_column and row[params.group_column].strip())
            if rows.setdefault(name, told) != told:
                raise UserError(_twice(path, name, rows[name], told))
    if not rows:
        raise UserError(f"{path} has no rows: it needs one for each file, with its class")
    return rows


def _twice(path: Path, name: str, first: Row, second: Row) -> str:
    if first[0] != second[0]:
        return (
            f"{path} gives {name!r} two classes, {first[0]!r} and {second[0]!r}: each image has one class here. Keep "
            "one row, or leave the image out"
        )
    return f"{path} puts {name!r} in two groups, {first[1]!r} and {second[1]!r}: keep one row"


def _check_classes(path: Path, rows: dict[str, Row], names: Sequence[str]) -> None:
    several = [name for name in rows if any(sign in rows[name][0] for sign in _SEVERAL)]
    if several:
        raise UserError(
            f"{path} gives several classes, as in {rows[several[0]][0]!r}, to {examples(several)}: each image has one "
            "class here. Write one of them, or leave these rows out"
        )
    missing = [name for name in rows if rows[name][0].casefold() in _MISSING]
    if missing:
        raise UserError(
            f"{path} gives {examples(missing)} the class {rows[missing[0]][0]!r}, which looks like a missing value: "
            "leave the cell empty, and the image belongs to the unlabelled pool"
        )
    if len(names) < 2:
        held = f"one class only, {names[0]!r}" if names else "no class in any row"
        raise UserError(f"{path} has {held}: a classifier needs two classes or more")


def _example_of(there: dict[str, Path], table: Path) -> str:
    return next((repr(name) for name, path in there.items() if path != table), "'CLASS/FILE.png'")
