"""Nothing is left out in silence: a line for each thing that a user should know of a source."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.sources.findings import Finding
from stages.sources.listing import Listing
from stages.sources.notes import left_out, notes, summary
from stages.sources.tree import list_tree


def listing(tmp_path: Path, names: Sequence[str], groups: Sequence[str | None] | None = None) -> Listing:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return replace(list_tree(tmp_path, frozenset({".png"}), "image"), groups=groups)


def test_files_of_other_kinds_are_told_by_their_suffix(tmp_path: Path) -> None:
    scans = [f"b/{number}.DCM" for number in range(20)]
    said = notes(listing(tmp_path, ["a/1.png", "b/1.png", *scans, "b/1.2.840", "b/scan.Mrs Smith"]))
    assert said == [
        "20 images or files passed over: no image by its suffix .dcm",
        "2 images or files passed over: no image by its suffix",
    ]


def test_a_tidy_source_needs_no_word(tmp_path: Path) -> None:
    assert notes(listing(tmp_path, ["cat/1.png", "dog/1.png"], ["anna", "ben"])) == []
    assert notes(listing(tmp_path, ["cat/1.png", "dog/1.png"])) == []


@pytest.mark.parametrize("other", ["Cat", "CAT", "ca t"])
def test_classes_that_differ_in_case_or_spaces_alone_are_told(tmp_path: Path, other: str) -> None:
    (said,) = notes(listing(tmp_path, ["cat/1.png", f"{other}/1.png", "dog/1.png"]))
    assert "'cat'" in said
    assert repr(other) in said
    assert "dog" not in said


@pytest.mark.parametrize("name", ["nan", "NaN", "None", " n/a ", "<NA>", "null"])
def test_groups_that_stand_for_a_missing_value_are_told(tmp_path: Path, name: str) -> None:
    (said,) = notes(listing(tmp_path, ["a/1.png", "a/2.png", "b/1.png"], [name, name, "nancy"]))
    assert said.startswith(f"2 images or files in the group {name!r}")


def test_images_without_a_group_beside_others_with_one_are_told(tmp_path: Path) -> None:
    (said,) = notes(listing(tmp_path, ["a/1.png", "a/2.png", "b/1.png"], [None, None, "nancy"]))
    assert said.startswith("2 images or files without a group")


def test_findings_count_where_images_were_left_out() -> None:
    found = [Finding("duplicate", name, "c", "dropped", f"the same {name}") for name in "ab"]
    found += [Finding("constant", "c", "", "kept", "")]
    assert left_out(found) == ["2 images or files left out: duplicate, such as a: the same a"]


def test_the_summary_tells_what_was_read_and_what_of_it_is_used() -> None:
    labels = np.array([0, 0, 0, 1, -1])
    assert summary(9, labels, ["a", "b"]) == "9 images read, 5 used: 2 classes of 1 to 3, 1 without a label"
    assert summary(2, np.array([0, 1]), ["a", "b"]) == "2 images read, 2 used: 2 classes of 1"
