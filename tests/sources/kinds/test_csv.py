"""A table of file and class beside the images: what it gives, and what a wrong one is told."""

from pathlib import Path

import pytest
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources import registry
from stages.sources.listing import Listing
from stages.sources.params import CsvParams


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "deep/b.png", "c.png", "d.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 10 * number).save(tmp_path / name)
    return tmp_path


def find(folder: Path, text: str, group: str | None = None) -> Listing:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return registry.find(params(folder, group))


def params(folder: Path, group: str | None = None) -> CsvParams:
    columns = {"file_column": "file", "label_column": "class", "group_column": group}
    return CsvParams(kind="csv", path=str(folder), table="labels.csv", **columns)


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_table_tells_class_and_group_of_each_file(folder: Path, sign: str) -> None:
    lines = ["\ufefffile,class,patient", "c.png, no ,p1", "deep\\b.png,yes,p2", "a.png,,p1", "a.png,,p1", ""]
    found = find(folder, "\r\n".join(lines).replace(",", sign), group="patient")
    assert found.class_names == ["no", "yes"]
    assert found.ids.tolist() == ["a.png", "c.png", "deep/b.png"]
    assert found.labels.tolist() == [UNLABELLED, 0, 1]
    assert found.groups == ["p1", "p1", "p2"]
    assert found.ignored == {"image that labels.csv does not name": 1}
    values = [image.getpixel((0, 0)) for image in registry.read(params(folder), found.locators)]
    assert values == [0, 20, 10]


def test_a_file_that_is_not_there_is_one_that_cannot_be_read(folder: Path) -> None:
    found = find(folder, "file,class\na.png,x\nc.png,y\ngone.png,y\n")
    assert found.ids.tolist() == ["a.png", "c.png", "gone.png"]
    *_, last = registry.read(params(folder), found.locators)
    assert isinstance(last, BadItem)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("file,label\na.png,x\n", "has no column 'class'; its columns are 'file', 'label'"),
        ("file,class\n", "has no rows"),
        ("file,class\na.png,x\na.png,y\n", "gives 'a.png' two classes, 'x' and 'y': each image has one class"),
        ("file,class\na.png,x|y\nc.png,x\n", "gives several classes, as in 'x|y', to 1 file ('a.png')"),
        ("file,class\na.png,x\nc.png,NaN\n", "the class 'NaN', which looks like a missing value"),
        ("file,class\na.png,x\nc.png,\n", "has one class only, 'x'"),
        ("file,class\na,x\nb,y\n", "names 2 files ('a', 'b'), and none of its files is there"),
    ],
)
def test_a_wrong_table_is_told_in_words(folder: Path, rows: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        find(folder, rows)
    assert words in str(error.value)


def test_a_file_in_two_groups_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="in two groups, 'p' and 'q'"):
        find(folder, "file,class,patient\na.png,x,p\na.png,x,q\n", group="patient")


def test_other_text_than_utf_8_and_a_missing_table_are_told(folder: Path) -> None:
    with pytest.raises(UserError, match="is missing: "):
        registry.find(params(folder))
    (folder / "labels.csv").write_bytes("file,class\nä,x\n".encode("latin-1"))
    with pytest.raises(UserError, match="no UTF-8 text"):
        registry.find(params(folder))
