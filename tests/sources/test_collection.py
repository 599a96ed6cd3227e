"""One listing of all images: the source's own, and those of a second source under domain shift."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages.plumbing.dataset import SHIFTED, TEST, TRAIN, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources import collection
from stages.sources.params import PrepareParams
from tests.conftest import DEFAULT_PARAMS


def make_tree(root: Path, folders: dict[str, int]) -> dict[str, str]:
    """Folders with so many images each, every image of a grey value of its own; returns a source's parameters."""
    value = sum(map(ord, root.name))
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            value += 1
            Image.new("L", (8, 8), value % 256).save(root / folder / f"{index}.png")
    return {"kind": "folder", "path": str(root)}


def params(source: dict[str, str], shift: dict[str, Any] | None = None, **changes: Any) -> PrepareParams:
    values = YAML(typ="safe", pure=True).load(DEFAULT_PARAMS)["prepare"]
    shift = shift or {"source": {"kind": "none", "path": "data/raw/none"}, "simulate": "none", "pool": False}
    return PrepareParams.model_validate(values | {"source": source, "shift": shift} | changes)


def test_without_shift_the_source_is_listed_as_it_is(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "a", {"train/x": 2, "train/y": 2, "val/x": 1, "val/y": 1, "test/x": 1, "test/y": 1})
    listing = collection.find(params(source))
    assert sorted(listing.splits) == [TEST, TEST, *[TRAIN] * 4, VALIDATION, VALIDATION]
    assert listing.ids.tolist() == sorted(listing.ids)


def test_a_second_source_may_do_without_images_to_train_on_and_the_first_may_not(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "a", {"x": 3, "y": 3})
    folders = {"test/x": 1, "test/y": 1, "val/x": 1, "val/y": 1, "unlabelled": 2}
    second = make_tree(tmp_path / "b", folders)
    listing = collection.find(params(source, {"source": second, "simulate": "none", "pool": True}))
    assert sorted(listing.splits[collection.of_second(listing)]) == ["", "", TEST, TEST, VALIDATION, VALIDATION]
    with pytest.raises(UserError, match="has a test set, but no images to train on"):
        collection.find(params(second))


def test_a_class_is_left_out_of_both_sources_and_the_others_are_numbered_anew(tmp_path: Path) -> None:
    """Also where the second source does not have it; its images are not there, rather than without a label."""
    source = make_tree(tmp_path / "a", {"w": 1, "x": 3, "y": 2, "z": 2, "unlabelled": 2})
    shift = {"source": make_tree(tmp_path / "b", {"x": 2, "z": 2}), "simulate": "none", "pool": True}
    with pytest.raises(UserError, match="it lacks w, y"):
        collection.find(params(source, shift))
    everything = params(source, shift, leave_out=["w", "y"])
    listing = collection.find(everything)
    assert listing.class_names == ["x", "z"]
    of_class = [name.removeprefix(SHIFTED).split("/")[0] for name in listing.ids.tolist()]
    assert [["x", "z", "unlabelled"][label] for label in listing.labels] == of_class
    assert len(list(collection.read(everything, listing.locators))) == 3 + 2 + 2 + 4
    assert listing.ignored["of a class in prepare.leave_out"] == 3


@pytest.mark.parametrize(
    ("left_out", "words"),
    [(["beningn"], "did you mean 'benign'"), (["q"], "the classes are 'benign', 'else', 'fine'"), (["else"], "")],
)
def test_only_classes_that_are_there_can_be_left_out(tmp_path: Path, left_out: list[str], words: str) -> None:
    source = make_tree(tmp_path / "a", {"benign": 3, "else": 3, "fine": 1})
    if words:
        with pytest.raises(UserError, match=words):
            collection.find(params(source, leave_out=left_out))
    else:
        assert collection.find(params(source, leave_out=left_out)).class_names == ["benign", "fine"]
        with pytest.raises(UserError, match="leaves 1 of 3 classes"):
            collection.find(params(source, leave_out=["else", "fine"]))


def test_groups_that_a_source_numbers_are_not_those_of_the_other(tmp_path: Path) -> None:
    sources = [make_tree(tmp_path / name, {"x": 2, "y": 2}) for name in "ab"]
    for name in "ab":
        pages = [Image.new("L", (8, 8), value) for value in (1, 2)]
        pages[0].save(tmp_path / name / "x" / "stack.tif", save_all=True, append_images=pages[1:])
    listing = collection.find(params(sources[0], {"source": sources[1], "simulate": "none", "pool": True}))
    groups = [group for group in listing.groups or [] if group]
    assert len(groups) == 4
    assert len(set(groups)) == 2


def test_every_locator_leads_to_its_image(tmp_path: Path) -> None:
    source, second = make_tree(tmp_path / "a", {"x": 3, "y": 2}), make_tree(tmp_path / "b", {"x": 2, "y": 2})
    everything = params(source, {"source": second, "simulate": "none", "pool": False})
    listing = collection.find(everything)
    order = np.random.default_rng(0).permutation(len(listing))
    shuffled = listing.take(order)
    found = [np.asarray(image)[0, 0] for image in collection.read(everything, shuffled.locators)]
    roots = [tmp_path / ("b" if name.startswith(SHIFTED) else "a") for name in shuffled.ids]
    names = [name.removeprefix(SHIFTED) for name in shuffled.ids]
    expected = [np.asarray(Image.open(root / name))[0, 0] for root, name in zip(roots, names, strict=True)]
    assert found == expected


def test_a_second_source_that_may_not_be_seen_is_the_test_set_alone(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "a", {"x": 3, "y": 3, "unlabelled": 2})
    second = make_tree(tmp_path / "b", {"y": 2, "x": 4, "unlabelled": 5})
    listing = collection.find(params(source, {"source": second, "simulate": "none", "pool": False}))
    shifted = np.char.startswith(listing.ids, SHIFTED)
    test = listing.splits == TEST
    assert test.sum() == 6
    assert np.all(shifted[test])
    assert [listing.class_names[label] for label in listing.labels[test]] == ["x"] * 4 + ["y"] * 2
    assert np.array_equal(shifted, test)
    assert np.array_equal(collection.of_second(listing), shifted)
    assert np.sum(~shifted) == 8


def test_a_second_source_that_may_be_seen_is_whole_and_keeps_its_labels(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "a", {"x": 3, "y": 3, "unlabelled": 2})
    second = make_tree(tmp_path / "b", {"y": 2, "x": 4, "unlabelled": 5})
    listing = collection.find(params(source, {"source": second, "simulate": "none", "pool": True}))
    own = listing.take(np.flatnonzero(collection.of_second(listing)))
    assert len(listing) == 8 + len(own)
    assert np.bincount(own.labels + 1).tolist() == [5, 4, 2]
    assert all(
        path.split("/")[1] == ["unlabelled", "x", "y"][label + 1]
        for path, label in zip(own.ids, own.labels, strict=True)
    )
    assert set(listing.splits) == {""}


def test_a_given_test_set_of_the_second_source_is_kept_and_that_of_the_first_gives_way(tmp_path: Path) -> None:
    given = {"train/x": 2, "train/y": 2, "test/x": 1, "test/y": 1}
    source, second = make_tree(tmp_path / "a", given), make_tree(tmp_path / "b", given)
    listing = collection.find(params(source, {"source": second, "simulate": "none", "pool": True}))
    assert listing.ids[listing.splits == TEST].tolist() == ["shifted/test/x/0.png", "shifted/test/y/0.png"]
    assert not np.any(np.char.startswith(listing.ids, "test/"))
    assert set(listing.splits[~collection.of_second(listing)]) == {""}
    assert np.sum(~collection.of_second(listing)) == 4
    assert UNLABELLED not in listing.labels
    assert sum(listing.ignored.values()) == 2


def test_groups_of_the_two_sources_with_one_name_are_one_group(tmp_path: Path) -> None:
    source, second = make_tree(tmp_path / "a", {"x": 2, "y": 2}), make_tree(tmp_path / "b", {"x": 2, "y": 2})
    groups = {"kind": "pattern", "pattern": r"(\d)\.png$"}
    listing = collection.find(params(source, {"source": second, "simulate": "none", "pool": False}, groups=groups))
    assert listing.groups == ["0", "1"] * 4


def test_classes_must_be_the_same(tmp_path: Path) -> None:
    source, second = make_tree(tmp_path / "a", {"x": 2, "y": 2}), make_tree(tmp_path / "b", {"x": 2, "z": 2})
    with pytest.raises(UserError, match=r"prepare.shift.source.*lacks y.*beside them z"):
        collection.find(params(source, {"source": second, "simulate": "none", "pool": False}))
