"""Drawn faces: who is who is known, and only the region shows it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stages.imaging.normalise import to_mask, to_pixels
from stages.sources.kinds import drawn_faces
from stages.sources.params import DrawnFacesParams, ImageParams

PARAMS = DrawnFacesParams(kind="drawn_faces", path="any", persons=6, per_person=4, seed=1, own_background=0.0)


def pixels(params: DrawnFacesParams, locators: list[tuple[int, int]]) -> np.ndarray:
    return np.stack([np.asarray(image) for image in drawn_faces.read(params, locators)])


def regions(params: DrawnFacesParams, locators: list[tuple[int, int]]) -> np.ndarray:
    return np.stack([np.asarray(mask) > 0 for mask in drawn_faces.masks(params, locators)])


def test_persons_are_groups_and_smile_every_other_time() -> None:
    listing = drawn_faces.find(PARAMS)
    assert len(set(listing.ids.tolist())) == len(listing) == 24
    assert listing.groups is not None
    assert {group: listing.groups.count(group) for group in listing.groups} == {f"person-{n:04d}": 4 for n in range(6)}
    assert listing.labels.tolist() == [0, 1] * 12


def test_an_image_depends_on_its_person_and_number_alone() -> None:
    more = PARAMS.model_copy(update={"persons": 9, "per_person": 7})
    assert np.array_equal(pixels(PARAMS, [(2, 1), (0, 3)]), pixels(more, [(2, 1), (0, 3)]))
    assert not np.array_equal(*pixels(PARAMS, [(2, 1), (2, 3)]))


def test_all_that_is_drawn_of_a_person_lies_in_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    params = PARAMS.model_copy(update={"persons": 60})
    locators = [(person, 0) for person in range(60)]
    drawn, inside = pixels(params, locators), regions(params, locators)
    monkeypatch.setattr(drawn_faces, "_draw", lambda *_: None)
    without = pixels(params, locators)
    assert np.array_equal(drawn[~inside], without[~inside])
    assert (drawn != without).any(axis=3)[inside].mean() > 0.5
    assert 0.2 < inside.mean() < 0.5


def test_one_place_and_dress_are_a_persons_own_where_asked_for() -> None:
    """But for light and noise."""
    home = PARAMS.model_copy(update={"own_background": 1.0})
    for params, expected in ((home, True), (PARAMS, False)):
        images = pixels(params, [(person, 0) for person in range(6)] + [(person, 2) for person in range(6)])
        corners = images[:, :20, :20].reshape(12, -1).astype(float)
        alike = np.corrcoef(corners - corners.mean(axis=1, keepdims=True))[:6, 6:]
        assert (np.diag(alike).mean() > 0.8) == expected


def test_a_smile_can_be_learned_at_the_size_of_the_preset() -> None:
    params = PARAMS.model_copy(update={"persons": 50})
    form = ImageParams(size=32, channels="rgb", fit="pad", flip_ok=True)
    locators = drawn_faces.find(params).locators
    images = np.stack([to_pixels(image, form) for image in drawn_faces.read(params, locators)])
    masks = np.stack([to_mask(mask, form) for mask in drawn_faces.masks(params, locators)])
    mouths = []
    for image, mask in zip(images, masks, strict=True):
        down, right = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        middle, bottom = (right[0] + right[-1]) // 2, down[-1]
        mouths.append(image[:, bottom - 8 : bottom - 1, middle - 5 : middle + 6].ravel() / 255)
    labels = np.array([number % 2 for _, number in locators])
    model = LogisticRegression(C=0.1, max_iter=500).fit(mouths[:120], labels[:120])
    assert model.score(mouths[120:], labels[120:]) > 0.8
