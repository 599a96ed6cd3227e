"""Classes that are learned from and never tested come behind the set's own, share no class with them, and no group."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.plumbing.dataset import OTHER, TEST, TRAIN
from stages.plumbing.errors import UserError
from stages.sources import collection, registry
from stages.sources.listing import Listing
from stages.sources.other_classes import with_others
from stages.sources.params import PrepareParams
from tests.sources.test_collection import make_tree, params


def beside(own: dict[str, str], others: dict[str, str], **changes: Any) -> PrepareParams:
    left_out = changes.pop("left_out", [])
    return params(own, other_classes={"source": others, "leave_out": left_out}, **changes)


def test_others_are_numbered_behind_and_none_of_them_is_test_or_without_a_label(tmp_path: Path) -> None:
    own = make_tree(tmp_path / "a", {"train/x": 2, "train/z": 2, "test/x": 1, "test/z": 1})
    others = make_tree(tmp_path / "b", {"train/w": 2, "train/y": 1, "test/w": 1, "test/y": 3, "unlabelled": 2})
    given = beside(own, others)
    listing = collection.find(given)
    assert (listing.own_classes, listing.class_names) == (["x", "z"], ["x", "z", "w", "y"])
    mask = collection.of_others(listing)
    assert np.bincount(listing.labels[mask], minlength=4).tolist() == [0, 0, 3, 4]
    assert np.bincount(listing.labels[~mask], minlength=4).tolist() == [3, 3, 0, 0]
    assert set(listing.splits[mask]) == {""}
    assert len(set(listing.ids)) == len(listing)
    values = [image.getpixel((0, 0)) for image in collection.read(given, listing.locators)]  # type: ignore[union-attr]
    first = sum(map(ord, "b")) + 1
    assert sorted(np.array(values)[mask]) == list(range(first, first + 7)), "each is read from its own source"


def test_a_shared_class_is_refused_and_may_be_left_out_of_either(tmp_path: Path) -> None:
    own = make_tree(tmp_path / "a", {"x": 2, "y": 2, "z": 2})
    others = make_tree(tmp_path / "b", {"v": 2, "w": 2, "y": 2})
    with pytest.raises(UserError, match=r"'y', which prepare\.source has too"):
        collection.find(beside(own, others))
    assert collection.find(beside(own, others, left_out=["y"])).class_names == ["x", "y", "z", "v", "w"]
    assert collection.find(beside(own, others, leave_out=["y"])).class_names == ["x", "z", "v", "w", "y"]
    with pytest.raises(UserError, match=r"prepare.other_classes.leave_out names 'x'"):
        collection.find(beside(own, others, left_out=["x", "y"]))


def test_one_source_may_be_parted_by_what_its_class_names_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Greek/a", "Greek/b", "Greekish/a", "Latin/a", "Latin/b"]
    ids = np.array([str(row) for row in range(10)])
    whole = Listing(names, ids, np.arange(10) % 5, np.full(10, ""), None, list(range(10)), {})
    monkeypatch.setattr(registry, "find", lambda source: whole if source.kind == "folder" else whole.take(np.arange(0)))
    letters = {"kind": "folder", "path": "letters"}
    listing = collection.find(beside(letters, letters, left_out=["Greek/*"], leave_out=["Greekish/a", "Latin/*"]))
    assert listing.own_classes == ["Greek/a", "Greek/b"]
    assert listing.class_names[2:] == ["Greekish/a", "Latin/a", "Latin/b"]
    assert [name for _, name in listing.locators] == [0, 1, 5, 6, 2, 3, 4, 7, 8, 9]


def test_who_shares_a_group_with_the_own_classes_plays_no_role() -> None:
    own = np.array([True, True, False, False, False])
    labels, groups = np.array([0, 1, 2, 2, -1]), np.array([0, 1, 1, 2, 3])
    roles = with_others([np.array([TRAIN, TEST]), np.array([TEST, ""])], own, labels, groups)
    assert [each.tolist() for each in roles] == [[TRAIN, TEST, "", OTHER, ""], [TEST, "", "", OTHER, ""]]


def test_there_is_no_second_domain_beside_other_classes() -> None:
    digits = {"kind": "digits", "path": "data/raw/digits"}
    shift = {"source": {"kind": "none", "path": "data/raw/none"}, "simulate": "edges", "pool": False}
    with pytest.raises(ValidationError, match="exclude each other"):
        params(digits, shift, other_classes={"source": digits, "leave_out": []})
