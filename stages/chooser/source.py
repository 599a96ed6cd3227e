"""Which kind of source a folder is, and what in it must stay together by the headers of its files."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from stages.imaging.decoding import BadItem, checked, image_suffixes
from stages.sources.listing import Listing

_LABELS = "labels.csv"  # what a table of classes in the folder is called,
_COLUMNS = (  # and its columns: file, class, and perhaps the patient
    ("file", "filename", "file_name", "image", "path"),
    ("class", "label", "category", "diagnosis"),
    ("null", "group", "patient", "patient_id", "subject"),
)
_DICOM = b"DICM"  # after so many bytes:
_PREAMBLE = 128
_OPENED = 200  # files of unknown endings whose first bytes are looked at


class Field(NamedTuple):
    """Of prepare.source: its name, value and what it means."""

    name: str
    value: str
    meaning: str


class Source(NamedTuple):
    """A kind of source, its fields beside the path, and why it was chosen, '' where it is the usual one."""

    kind: str
    fields: list[Field]
    why: str

    @property
    def knows_groups(self) -> bool:
        """Whether the source itself tells patients."""
        values = {each.name: each.value for each in self.fields}
        return values.get("group_column", "null") != "null" or values.get("groups", "file") != "file"


def source_of(folder: Path) -> Source:
    """What most files in the folder are: images in class folders or named by a table, DICOM files."""
    if (folder / _LABELS).is_file():
        return Source("csv", _columns(folder / _LABELS), f"chosen: {_LABELS} lies in the folder")
    found = Counter(_kinds(folder))
    return dicom("patient") if found["dicom"] > found["folder"] else Source("folder", [], "")


def dicom(groups: str, why: str = "") -> Source:
    """DICOM files, of which those of a patient, study or series stay together, or the frames of a file."""
    meaning = f"what stays together: patient, study, series, or file (its frames){why and '; '}{why}"
    window = Field("window", "header", "header (the file's own, where it has one), full, or {center: 40, width: 400}")
    return Source("dicom", [Field("groups", groups, meaning), window], "chosen: most files are DICOM")


def dicom_groups(find: Callable[[Source], Listing]) -> Source:
    """DICOM files with the widest groups that their headers tell apart: patients, else studies, else series.

    One group for a whole class is what anonymisation leaves, and no group. find: the listing of a source.
    """
    for groups in ("patient", "study", "series"):
        listing = find(dicom(groups))
        of_class: dict[int, set[str | None]] = {label: set() for label in range(len(listing.class_names))}
        for label, group in zip(listing.labels.tolist(), listing.groups or (), strict=True):
            of_class.setdefault(label, set()).add(group)
        told = {group for groups in of_class.values() for group in groups if group}
        if told and min(len(of_class[label]) for label in range(len(listing.class_names))) > 1:
            return dicom(groups, f"chosen: the headers tell {len(told)} apart")
    return dicom("file", "chosen: the headers tell no patients apart; a table groups.csv in the folder could")


def _kinds(folder: Path) -> Iterator[str]:
    """By kind of source, the files in the folder that it could read."""
    unknown, images = [], tuple(image_suffixes())
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(images):
                yield "folder"
            else:
                unknown.append(Path(parent, name).relative_to(folder).as_posix())
    step = max(1, len(unknown) // _OPENED)
    for each in unknown[::step]:
        yield from ["dicom"] * step * _is_dicom(folder, each)


def _is_dicom(folder: Path, locator: str) -> bool:
    try:
        with checked(folder, locator).open("rb") as file:
            return file.read(_PREAMBLE + len(_DICOM)).endswith(_DICOM)
    except (BadItem, OSError):
        return False


def _columns(table: Path) -> list[Field]:
    head = table.read_text(encoding="utf-8-sig", errors="replace").split("\n", 1)[0]
    columns = [each.strip('" \r') for each in re.split("[,;\t]", head)]
    file, label, group = (next((each for each in columns if each.casefold() in own), own[0]) for own in _COLUMNS)
    return [
        Field("table", table.name, "the table of classes, in that folder"),
        Field("file_column", file, "its column of files"),
        Field("label_column", label, "its column of classes"),
        Field("group_column", group, "its column of patients, or null"),
    ]
