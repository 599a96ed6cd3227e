"""Drawn characters: each image a function of its own number, and legible."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from stages.imaging.normalise import to_pixels
from stages.plumbing.errors import UserError
from stages.sources.kinds import drawn
from stages.sources.params import DrawnParams, ImageParams

SMALL = ImageParams(size=8, channels="grey", fit="pad", flip_ok=False)


def _params(**changes: Any) -> DrawnParams:
    plain = {"least_height": 0.9, "greatest_height": 0.9, "slant_degrees": 0, "stroke": 0, "place": 0}
    fields = {"kind": "drawn", "path": "any", "characters": "0123456789", "per_class": 30, "seed": 0, "ink": "bright"}
    return DrawnParams.model_validate(fields | plain | changes)


VARIED = {"least_height": 0.7, "greatest_height": 1.0, "slant_degrees": 15, "stroke": 0.06, "place": 0.05}


def _pixels(params: DrawnParams, locators: list[tuple[int, int]]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(image) for image in drawn.read(params, locators)])


def test_every_character_is_a_class_with_as_many_images_as_asked_for() -> None:
    listing = drawn.find(_params(per_class=3))
    assert listing.class_names == list("0123456789")
    assert listing.labels.tolist() == np.arange(10).repeat(3).tolist()
    assert len(set(listing.ids.tolist())) == 30


def test_names_stand_for_characters() -> None:
    params = _params(characters={"seven": "7", "one": "1"})
    assert drawn.find(params).class_names == ["seven", "one"]
    row = [(0, 4), (1, 4)]
    np.testing.assert_array_equal(_pixels(params, row), _pixels(_params(characters="71"), row))


def test_an_image_depends_on_its_class_and_number_alone() -> None:
    few, many = _params(per_class=5, **VARIED), _params(per_class=9, **VARIED)
    alone = _pixels(few, [(3, 4)])[0]
    np.testing.assert_array_equal(alone, _pixels(many, [(8, 8), (3, 4)])[1])
    assert (alone != _pixels(few, [(3, 3)])[0]).any()
    assert (alone != _pixels(_params(seed=1, **VARIED), [(3, 4)])[0]).any()
    ids = drawn.find(many).ids.tolist()
    assert set(drawn.find(few).ids.tolist()) <= set(ids)


@pytest.mark.parametrize("field", VARIED)
def test_each_field_changes_the_images(field: str) -> None:
    row = [(4, number) for number in range(4)]
    assert (_pixels(_params(), row) != _pixels(_params(**{field: VARIED[field]}), row)).any(axis=(1, 2)).all()


def test_fonts_differ_from_image_to_image() -> None:
    assert len({image.tobytes() for image in _pixels(_params(), [(2, number) for number in range(60)])}) > 12


def test_height_is_that_of_the_tallest_and_ink_lies_in_the_middle() -> None:
    for image in _pixels(
        _params(characters="8.", least_height=0.5, greatest_height=0.5, stroke=0.1),
        [(0, number) for number in range(9)],
    ):
        rows, columns = np.flatnonzero(image.max(axis=1) > 127), np.flatnonzero(image.max(axis=0) > 127)
        assert np.ptp(rows) == pytest.approx(drawn.CANVAS * 0.5, abs=12)
        assert rows.mean() == pytest.approx(drawn.CANVAS / 2, abs=12)
        assert columns.mean() == pytest.approx(drawn.CANVAS / 2, abs=2)
    dot = _pixels(_params(characters="8."), [(1, 0)])[0]
    assert np.ptp(np.flatnonzero(dot.max(axis=1) > 127)) < drawn.CANVAS / 4, "a dot stays small beside an eight"


@pytest.mark.parametrize("characters", ["MW", "gÅ", "αβ"])
def test_nothing_reaches_over_the_edge(characters: str) -> None:
    for image in _pixels(
        _params(characters=characters, least_height=1, greatest_height=1), [(label, 0) for label in (0, 1)]
    ):
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (edge > 127).mean() < 0.2
        assert image.max() == 255


def test_dark_ink_is_the_negative_of_bright_ink() -> None:
    bright, dark = (_pixels(_params(ink=ink, **VARIED), [(5, 0)]) for ink in ("bright", "dark"))
    np.testing.assert_array_equal(dark, 255 - bright)
    assert bright.mean() < 127


def test_small_images_can_still_be_told_apart() -> None:
    params = _params(**VARIED)
    listing = drawn.find(params)
    pixels = np.stack([to_pixels(image, SMALL).ravel() / 255 for image in drawn.read(params, listing.locators)])
    odd = np.arange(len(pixels)) % 2 == 1
    classifier = LogisticRegression(max_iter=500).fit(pixels[odd], listing.labels[odd])
    assert classifier.score(pixels[~odd], listing.labels[~odd]) > 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"characters": "00"}, "0 is there more often"),
        ({"characters": {"a": "0", "b": "0"}}, "0 is there more often"),
        ({"characters": "0 1"}, "pattern"),
        ({"characters": {"a": "12", "b": "3"}}, "at most 1 character"),
        ({"characters": "1"}, "at least 2 characters"),
        ({"characters": 123}, "valid string"),
        ({"least_height": 0.95}, "least_height: 0.95 is above greatest_height: 0.9"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        _params(**changes)


@pytest.mark.parametrize(("characters", "words"), [("1漢", "漢"), ("1字漢", "字, 漢")])
def test_characters_that_no_font_holds_are_named(characters: str, words: str) -> None:
    with pytest.raises(UserError, match=f"holds {words};"):
        drawn.find(_params(characters=characters))
