"""Which kind of source a folder is, and what in it must stay together by the headers of its files."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from stages.imaging.decoding import BadItem, checked, image_suffixes
from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.tables import opened

_LABELS = "labels.csv"  # what a table of classes in the folder is called,
_COLUMNS = (  # and its columns: file, class, and perhaps the patient
    ("file", "filename", "file_name", "image", "path"),
    ("class", "label", "category", "diagnosis"),
    ("group", "patient", "patient_id", "subject"),
)
_NIFTI = (".nii", ".nii.gz")
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
    """What most files in the folder are: images in class folders or named by a table, DICOM files, NIfTI volumes.

    Raises UserError for a table that tells no classes of images.
    """
    found = Counter(_kinds(folder))
    most = max(("folder", "dicom", "nifti"), key=lambda kind: found[kind])
    if (folder / _LABELS).is_file():
        return _of_table(folder / _LABELS, most)
    return {"folder": Source("folder", [], ""), "dicom": dicom("patient", ""), "nifti": _nifti()}[most]


def dicom(groups: str, why: str) -> Source:
    """DICOM files, of which those of a patient, study or series stay together, or the frames of a file."""
    fields = [
        Field("groups", groups, "what stays together: patient, study, series, or file (its frames)"),
        Field("window", "header", "header (the file's own, where it has one), full, or {center: 40, width: 400}"),
    ]
    return Source("dicom", fields, f"chosen: most files are DICOM; {why}")


def dicom_groups(find: Callable[[Source], Listing]) -> Source:
    """DICOM files with the widest groups that their headers tell apart: patients, else studies, else series.

    One group for a whole class is what anonymisation leaves, and no group. find: the listing of a source.
    """
    for groups, word in (("patient", "patients"), ("study", "studies"), ("series", "series")):
        listing = find(dicom(groups, ""))
        of_class: dict[int, set[str | None]] = {label: set() for label in range(len(listing.class_names))}
        for label, group in zip(listing.labels.tolist(), listing.groups or (), strict=True):
            of_class.setdefault(label, set()).add(group)
        told = set().union(*of_class.values()) - {None}
        if told and min(len(of_class[label]) for label in range(len(listing.class_names))) > 1:
            return dicom(groups, f"the headers tell {len(told)} {word} apart")
    why = "the headers do not tell the patients of each class apart: a table groups.csv in the folder could"
    return dicom("file", why)


def _nifti() -> Source:
    fields = [
        Field("plane", "axial", "in which volumes are cut: axial, coronal or sagittal"),
        Field("every", "4", "each so many-th slice is taken"),
        Field("skip_ends", "0.2", "share of the slices that is left out at either end, where there is little to see"),
        Field("window", "header", "header (the file's own, where it has one), full, or {center: 40, width: 400}"),
    ]
    return Source("nifti", fields, "chosen: most files are NIfTI volumes, whose slices stay together")


def _kinds(folder: Path) -> Iterator[str]:
    """By kind of source, the files in the folder that it could read."""
    unknown, images = [], tuple(image_suffixes())
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(images):
                yield "folder"
            elif name.lower().endswith(_NIFTI):
                yield "nifti"
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


def _of_table(table: Path, most: str) -> Source:
    """Images whose classes a table tells."""
    if most != "folder":
        raise UserError(
            f"{table} cannot tell the classes of {most.upper()} files: put those of each class into a folder"
        )
    with opened(table, "table of classes", "") as lines:
        head = lines.readline()
    columns = [each.strip('" \r\n') for each in re.split("[,;\t]", head)]
    file, label, group = (next((each for each in columns if each.casefold() in own), None) for own in _COLUMNS)
    if file is None or label is None:
        raise UserError(
            f"{table} needs a column of files ({', '.join(_COLUMNS[0])}) and one of classes "
            f"({', '.join(_COLUMNS[1])}), and has {', '.join(map(repr, columns))}: rename them. Where each class has a "
            "column of its own, write one column with the class's name; each image has one class here"
        )
    fields = [
        Field("table", table.name, "the table of classes, in that folder"),
        Field("file_column", file, "its column of files"),
        Field("label_column", label, "its column of classes"),
        Field("group_column", group or "null", "its column of patients, or null"),
    ]
    return Source("csv", fields, f"chosen: {_LABELS} lies in the folder")
