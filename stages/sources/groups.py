"""Which patient, speaker, slide, ... each item of a source belongs to."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.params import CsvGroups, NoGroups, PatternGroups
from stages.sources.tables import examples, opened
from stages.sources.tree import composed
from stages.sources.unfolding import file_of

_COLUMNS = ("file", "group")


def find_groups(
    params: NoGroups | CsvGroups | PatternGroups, source_path: Path, listing: Listing
) -> Sequence[str | None] | None:
    """Group of each item, labelled or not, in the order of the listing; None where nothing is known.

    source_path: the source's file or folder, which a CSV's path is relative to. With `csv` or `pattern` every item has
    a group: one without would silently count as a group of its own. Raises UserError where that is not so, for a CSV
    that cannot be read, names files that are not there, or puts a file in two groups.
    """
    match params:
        case NoGroups():
            return listing.groups
        case CsvGroups():
            folder = source_path if source_path.is_dir() else source_path.parent
            return _from_csv(folder / params.path, listing.ids.tolist())
        case PatternGroups():
            return _from_pattern(params.pattern, listing.ids.tolist())


def _from_csv(path: Path, ids: list[str]) -> list[str]:
    group_of = _read_csv(path)
    keys = [each if each in group_of else file_of(each) for each in ids]  # a row may speak of a whole stack or film
    missing = group_of.keys() - set(ids) - set(keys)
    if missing:
        raise UserError(
            f"{path} names {examples(missing)} that the source does not have: correct the column 'file' "
            "(paths relative to prepare.source.path, with /) or remove these rows"
        )
    without = [each for each in dict.fromkeys(keys) if not group_of.get(each)]
    if without:
        raise UserError(
            f"{path} gives no group for {examples(without)}: add a row for each, because an image without a group "
            "could stand in train and test beside others of its group"
        )
    return [group_of[each] for each in keys]


def _read_csv(path: Path) -> dict[str, str]:
    """Group by file. Raises UserError."""
    group_of: dict[str, str] = {}
    remedy = "prepare.groups.path is relative to prepare.source.path and names the CSV of groups"
    with opened(path, "CSV of groups", remedy) as lines:
        reader = csv.DictReader(lines, restval="")
        columns = list(reader.fieldnames or [])
        if not set(_COLUMNS) <= set(columns):
            raise UserError(
                f"{path} needs the columns 'file' and 'group', separated by commas, and has {', '.join(columns)!r}"
            )
        for row in reader:
            file = composed(PurePosixPath(row["file"]).as_posix())  # as ids are
            if group_of.setdefault(file, row["group"]) != row["group"]:
                raise UserError(
                    f"{path} puts {file!r} in two groups, {group_of[file]!r} and {row['group']!r}: keep one row"
                )
    return group_of


def _from_pattern(pattern: str, ids: list[str]) -> list[str]:
    matches = [re.search(pattern, each) for each in ids]
    found = [match.group(1) if match else None for match in matches]
    without = [each for each, group in zip(ids, found, strict=True) if not group]
    if without:
        raise UserError(
            f"prepare.groups.pattern {pattern!r} finds no group in {examples(without)}: it must match the path "
            "of every file, because an image without a group could stand in train and test beside others of its group"
        )
    return [group for group in found if group]
