import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.imaging import decoding
from stages.imaging.decoding import BadItem, read_bytes
from stages.plumbing.errors import UserError
from stages.sources.listing import Listing
from stages.sources.tree import list_tree

SUFFIXES = frozenset({".png", ".jpg"})


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def listing_of(root: Path) -> Listing:
    return list_tree(root, SUFFIXES, "image")


def test_each_folder_is_a_class_with_files_at_any_depth(tmp_path: Path) -> None:
    found = listing_of(make(tmp_path, "b/2.png", "b/deep/er/1.JPG", "a/3.png"))
    assert found.class_names == ["a", "b"]
    assert found.ids.tolist() == found.locators == ["a/3.png", "b/2.png", "b/deep/er/1.JPG"]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.splits.tolist() == ["", "", ""]
    assert found.groups is None
    assert found.ignored == {}


def test_files_and_labels_are_those_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    root = make(tmp_path, "b/2.png", "b/10.png", "b/x/1.jpg", "B/4.png", "a b/3.PNG", "ä/1.png", "10/1.png", "9/1.png")
    reference, found = ImageFolder(str(root)), listing_of(root)
    assert found.class_names == reference.classes
    assert {
        (str(root / path), label) for path, label in zip(found.locators, found.labels.tolist(), strict=True)
    } == set(reference.samples)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Valid", "Testing")])
def test_given_splits_are_kept(tmp_path: Path, names: tuple[str, str, str]) -> None:
    train, validation, test = names
    found = listing_of(
        make(tmp_path, *(f"{split}/{name}/1.png" for split in names for name in "ab"), f"{train}/b/2.png")
    )
    assert found.class_names == ["a", "b"]
    split = dict(zip(found.ids.tolist(), found.splits.tolist(), strict=True))
    assert split[f"{train}/b/2.png"] == "train"
    assert split[f"{validation}/a/1.png"] == "validation"
    assert split[f"{test}/a/1.png"] == "test"
    assert found.labels.sum() == 4


@pytest.mark.parametrize("folder", ["unlabelled", "unlabeled"])
@pytest.mark.parametrize("prefixes", [[""], ["train/", "test/"]])
def test_the_pool_has_neither_label_nor_split(tmp_path: Path, folder: str, prefixes: list[str]) -> None:
    labelled = [f"{prefix}{name}/1.png" for prefix in prefixes for name in "ab"]
    found = listing_of(make(tmp_path, *labelled, f"{folder}/1.png", f"{folder}/deep/2.png"))
    pool = np.char.startswith(found.ids, folder)
    assert pool.sum() == 2
    assert set(found.labels[pool]) == {-1}
    assert set(found.splits[pool]) == {""}
    assert set(found.labels[~pool]) == {0, 1}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert listing_of(make(tmp_path, "train/1.png", "car/1.png")).class_names == ["car", "train"]


def test_hidden_system_and_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    root = make(tmp_path, "a/1.png", "b/1.png", "a/.2.png", ".git/x/3.png", "__MACOSX/a/4.png", "a/Thumbs.db")
    found = listing_of(make(root, "a/notes.txt", "README", "5.png", "a/.cache/6.png", "png/.7.png", "png/8.png"))
    assert found.ids.tolist() == ["a/1.png", "b/1.png", "png/8.png"]
    assert found.ignored == {
        "hidden or system file": 6,
        "no image by its suffix .txt": 1,
        "no image by its suffix": 1,
        "image outside the class folders": 1,
    }


def test_names_are_composed_but_locators_as_on_disk(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Löwe")
    found = listing_of(make(tmp_path, f"{decomposed}/ein Bild, ü.png", "猫 1/図.png"))
    assert found.class_names == ["Löwe", "猫 1"]
    assert found.ids.tolist() == ["Löwe/ein Bild, ü.png", "猫 1/図.png"]
    assert found.locators[0] == f"{decomposed}/ein Bild, ü.png"
    assert all(read_bytes(tmp_path, locator) == locator.encode() for locator in found.locators)


@settings(max_examples=25)
@given(
    st.sets(st.tuples(st.sampled_from("abc"), st.text("ab. é", min_size=1, max_size=6)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_the_listing_depends_on_the_names_alone(
    tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str, str]], random: object
) -> None:
    files = ["a/1.png", "b/1.png", "c/1.png", *(f"{folder}/{name}.png" for folder, name in names)]
    listings = []
    for _ in range(2):
        random.shuffle(files)  # type: ignore[attr-defined]
        listings.append(listing_of(make(tmp_path_factory.mktemp("tree"), *files)))
    one, other = listings
    assert one.ids.tolist() == other.ids.tolist() == sorted(one.ids.tolist())
    assert one.labels.tolist() == other.labels.tolist() == ["abc".index(each[0]) for each in one.ids.tolist()]
    assert set(one.locators) == {file for file in files if not file[2:].startswith(".")}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "has no images and no folder for a class: put each class's images into a folder of its own"),
        (["1.png", "2.png"], "has 2 images, but no folder for a class"),
        (["unlabelled/1.png"], "no folder for a class"),
        (["a/1.png"], "one class only, 'a'.*let the source's path name it"),
        (["a/1.png", "b/notes.txt"], r"no image in 'b' \(1 passed over: .* \.txt\): fill the folder"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png"], "no folder in 'test' for 'b'"),
        (["train/a/1.png", "test/a/1.png", "test/b/1.png"], "no folder in 'train' for 'b'"),
        (["train/a/1.png", "train/b/1.png", "test/1.png"], "no folder in 'test' for 'a', 'b'"),
        (["train/a/1.png", "test/b/1.png"], "no folder in 'test' for 'a'"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.txt"], "no image in 'test/b'"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"], "has 'train', 'val', but no 'test'"),
        (["train/a/1.png", "test/a/1.png", "cats/1.png"], "has 'test', 'train' and also 'cats'"),
        (["train/1.png", "test/1.png"], "has 2 images, but no folder for a class"),
        (["a/\u00e9.png", "a/e\u0301.png", "b/1.png"], "2 files named 'a/é.png', written differently in Unicode"),
        ([os.fsdecode(b"a/\xff.png"), "b/1.png"], r"not valid UTF-8, 'a/\\udcff.png': rename it"),
    ],
)
def test_a_tree_that_makes_no_labelled_set_is_told_in_words(tmp_path: Path, files: list[str], words: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(UserError, match=words) as caught:
        listing_of(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_no_folder_where_one_should_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing cannot be read .No such file or directory.: put a folder there"):
        listing_of(tmp_path / "missing")
    (tmp_path / "set.zip").touch()
    with pytest.raises(UserError, match=r"set.zip cannot be read .Not a directory.*archive must be unpacked"):
        listing_of(tmp_path / "set.zip")


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.png", "b/1.png")
    scan = os.scandir

    def guarded(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"b cannot be read .Permission denied.: give yourself permission"):
        listing_of(tmp_path)


@pytest.mark.parametrize("link", ["c", "train/c", "train"])
def test_a_linked_folder_for_a_class_or_split_is_refused(tmp_path: Path, link: str) -> None:
    make(tmp_path / "elsewhere", "c/1.png")
    root = tmp_path / "root"
    inner = "train/" if link == "train/c" else ""
    make(root, f"{inner}a/1.png", f"{inner}b/1.png", *(["test/a/1.png", "test/b/1.png"] if inner else []))
    (root / link).symlink_to(tmp_path / "elsewhere" / "c")
    with pytest.raises(UserError, match=f"{root / link} is a symbolic link: put the folder itself there"):
        listing_of(root)


def test_linked_folders_further_down_are_not_entered(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a/1.png", "b/1.png")
    make(tmp_path / "elsewhere", "2.png")
    (root / "a" / "loop").symlink_to(root)
    (root / "b" / "out").symlink_to(tmp_path / "elsewhere")
    found = listing_of(root)
    assert found.ids.tolist() == ["a/1.png", "b/1.png"]
    assert found.ignored == {"symbolic link to a folder": 2}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    make(tmp_path / "disk", "a/1.png", "b/1.png")
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    found = listing_of(tmp_path / "root")
    assert [read_bytes(tmp_path / "root", each) for each in found.locators] == [b"a/1.png", b"b/1.png"]


def fault_of(root: Path, locator: str) -> tuple[str, str]:
    with pytest.raises(BadItem) as caught:
        read_bytes(root, locator)
    return caught.value.fault, caught.value.reason


def test_links_are_read_where_they_stay_inside(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a/1.png", "b/1.png")
    make(tmp_path, "outside/1.png")
    for name, target in {
        "inside": root / "b" / "1.png",
        "out": tmp_path / "outside" / "1.png",
        "relative": Path("../../outside/1.png"),
        "nothing": root / "none",
        "loop": root / "a" / "loop.png",
    }.items():
        (root / "a" / f"{name}.png").symlink_to(target)
    (root / "a" / "folder").symlink_to(tmp_path / "outside")
    assert read_bytes(root, "a/inside.png") == b"b/1.png"
    for locator in ("a/out.png", "a/relative.png", "a/folder/1.png"):
        assert fault_of(root, locator) == (
            "outside",
            "a symbolic link out of the folder: put the file itself there",
        )
    assert fault_of(root, "a/nothing.png") == (
        "outside",
        "gone, or a symbolic link to nothing: put the file itself there",
    )
    fault, reason = fault_of(root, "a/loop.png")
    assert fault == "forbidden"
    assert "loop" in reason.lower()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert fault_of(tmp_path, "pipe.png")[0] == "undecodable"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(decoding.LARGEST_FILE + 1)  # sparse
    assert fault_of(tmp_path, "huge.png") == ("too_large", "has more than 1024 MiB: make it smaller or remove it")


def test_a_file_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    fault, reason = fault_of(make(tmp_path, "a.png"), "a.png")
    assert fault == "forbidden"
    assert "give yourself permission" in reason
