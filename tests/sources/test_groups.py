import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.plumbing.errors import UserError
from stages.sources.groups import find_groups
from stages.sources.listing import Listing
from stages.sources.params import CsvGroups, NoGroups, PatternGroups

IDS = ["a/p1 left.png", "a/p1 right.png", "b/p2.png", "unlabelled/p3.png"]
CSV = CsvGroups(kind="csv", path="groups.csv")


def make_listing(ids: list[str], groups: list[str | None] | None = None) -> Listing:
    return Listing(
        class_names=["a", "b"],
        ids=np.array(ids),
        labels=np.full(len(ids), -1),
        splits=np.full(len(ids), ""),
        groups=groups,
        locators=ids,
        ignored={},
    )


def from_csv(folder: Path, content: str | bytes, ids: list[str] = IDS) -> list[str | None]:
    data = content.encode() if isinstance(content, str) else content
    (folder / "groups.csv").write_bytes(data)
    return list(find_groups(CSV, folder, make_listing(ids)) or [])


def from_pattern(pattern: str) -> list[str | None]:
    params = PatternGroups(kind="pattern", pattern=pattern)
    return list(find_groups(params, Path("nowhere"), make_listing(IDS)) or [])


def rows(*groups: str, ids: list[str] = IDS) -> str:
    return "file,group\n" + "".join(f"{file},{group}\n" for file, group in zip(ids, groups, strict=True))


def test_names_are_compared_in_the_composed_form_that_ids_have(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Käse/1.png") for form in ("NFC", "NFD"))
    assert from_csv(tmp_path, f"file,group\n{decomposed},x\n", [composed]) == ["x"]


def test_a_row_may_speak_of_all_images_of_a_file(tmp_path: Path) -> None:
    ids = ["a/film#0001", "a/film#0002", "b/1.tif"]
    assert from_csv(tmp_path, "file,group\na/film,x\nb/1.tif,y\n", ids) == ["x", "x", "y"]
    with pytest.raises(UserError, match=r"no group for 1 file \('a/film'\)"):
        from_csv(tmp_path, "file,group\nb/1.tif,y\n", ids)


@pytest.mark.parametrize("groups", [None, ["x", None, "y", "y"]])
def test_without_parameter_the_source_knows_best(groups: list[str | None] | None) -> None:
    listing = make_listing(IDS, groups)
    assert find_groups(NoGroups(kind="none"), Path("nowhere"), listing) == groups


def test_csv_gives_each_item_its_group_in_the_order_of_the_listing(tmp_path: Path) -> None:
    header, *lines = rows("p1", "p1", "p2", "p3").splitlines()
    shuffled = "\n".join([header, *lines[::-1], lines[0]])
    assert from_csv(tmp_path, shuffled) == ["p1", "p1", "p2", "p3"]


def test_csv_may_hold_other_columns_quotes_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    lines = ["age,group,file", *(f'41,"Müller, A.","./{file}"' for file in IDS), "", ""]
    assert from_csv(tmp_path, "\ufeff" + "\r\n".join(lines)) == ["Müller, A."] * 4


def test_csv_of_a_source_that_is_a_file_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "images.parquet").touch()
    (tmp_path / "groups.csv").write_text(rows("p1", "p1", "p2", "p3"))
    assert find_groups(CSV, tmp_path / "images.parquet", make_listing(IDS)) == ["p1", "p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,patient\nx,y\n", r"needs the columns 'file' and 'group'.*has 'file, patient'"),
        ("file;group\nx;y\n", r"separated by commas, and has 'file;group'"),
        ("", r"needs the columns"),
        (b"file,group\n\xff\xfe,p1\n", r"no UTF-8 text"),
        (f"file,group\n{'x' * 200_000},p1\n", r"cannot be read: field larger than"),
        (
            rows("p1", "p1", "p2", "p3") + "z1,a\nz2,a\nz3,a\nz4,a\n",
            r"names 4 files \('z1', 'z2', 'z3', \.\.\.\) that the source does not have",
        ),
        (rows("p1", "p1", "p2", "p3") + "z1,a\n", r"names 1 file \('z1'\) that"),
        (rows("p1", ids=IDS[:1]), r"gives no group for 3 files \('a/p1 right.png', 'b/p2.png', 'unlabelled/p3.png'\)"),
        (rows("p1", "p1", "p2", ""), r"gives no group for 1 file \('unlabelled/p3.png'\)"),
        ("file,group\na/p1 left.png\n", r"gives no group for 4 files"),
        (rows("p1", "p1", "p2", "p3") + f"{IDS[2]},p3\n", r"puts 'b/p2.png' in two groups, 'p2' and 'p3'"),
    ],
)
def test_a_csv_that_does_not_fit_is_told_in_words(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        from_csv(tmp_path, content)
    assert str(tmp_path / "groups.csv") in str(raised.value)


def test_a_missing_csv_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"groups.csv is missing: prepare.groups.path is relative to"):
        find_groups(CSV, tmp_path, make_listing(IDS))
    (tmp_path / "groups.csv").mkdir()
    with pytest.raises(UserError, match=r"groups.csv, the CSV of groups, cannot be read"):
        find_groups(CSV, tmp_path, make_listing(IDS))


def test_pattern_takes_the_bracket() -> None:
    assert from_pattern(r"/(p\d+)") == ["p1", "p1", "p2", "p3"]
    assert from_pattern(r"^(\w+)/") == ["a", "a", "b", "unlabelled"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"a/(p\d)", r"pattern 'a/\(p.*' finds no group in 2 files \('b/p2.png', 'unlabelled/p3.png'\)"),
        (r"p\d( left)?", r"finds no group in 3 files \('a/p1 right.png', "),
        (r"(q*)", r"finds no group in 4 files"),
    ],
)
def test_items_that_a_pattern_leaves_without_a_group_are_told(pattern: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        from_pattern(pattern)


@given(speakers=st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_csv_and_pattern_agree(tmp_path_factory: pytest.TempPathFactory, speakers: list[int]) -> None:
    ids = [f"{index}_speaker{speaker}.wav" for index, speaker in enumerate(speakers)]
    expected = [f"speaker{speaker}" for speaker in speakers]
    by_pattern = find_groups(
        PatternGroups(kind="pattern", pattern=r"_(speaker\d)\."), Path("nowhere"), make_listing(ids)
    )
    assert by_pattern == expected == from_csv(tmp_path_factory.mktemp("csv"), rows(*expected, ids=ids), ids)
