"""Sources are told apart by their fingerprints, at the stated error rate, and strangers are told by several images."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.memorization.conformal import p_values
from stages.memorization.provenance import (
    DISTURBANCES,
    HELD_OUT,
    Attributor,
    accuracies,
    check_counts,
    disturbed,
    fit,
    split,
    together,
)
from stages.plumbing.errors import UserError

ALPHA = 0.05


def images_of(source: int, count: int, seed: int) -> Tensor:
    """Blobs that differ from image to image, under a faint pattern of the source."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(60, 190, (count, 1, 4, 4)))
    blobs = torch.nn.functional.interpolate(coarse, (8, 8), mode="bilinear")
    pattern = torch.from_numpy(np.random.default_rng(1000 + source).normal(0, 12, (1, 1, 8, 8)))
    return (blobs + pattern).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def made() -> Attributor:
    return fit([images_of(source, 240, source) for source in range(3)], seed=0, steps=40)


def test_fingerprints_are_found_in_images_that_were_not_learned_from(made: Attributor) -> None:
    fresh = [images_of(source, 200, 50 + source) for source in range(3)]
    found = [made.scores(images).argmax(axis=1) for images in fresh]
    assert all(np.mean(each == source) > 0.8 for source, each in enumerate(found))
    shares = accuracies(made, [images_of(source, 240, source) for source in range(3)], np.array([0, 0, 1]), seed=0)
    assert set(shares) == set(DISTURBANCES)
    assert shares["none"]["source"] == pytest.approx(
        np.mean([np.mean(each == s) for s, each in enumerate(found)]), abs=0.1
    )
    assert all(each["generator"] >= each["source"] for each in shares.values())


def test_a_source_is_missed_as_seldom_as_stated_and_a_stranger_told_by_several_images(made: Attributor) -> None:
    counts = [len(each) for each in made.calibration]
    assert counts == [60] * 3
    random = np.random.default_rng(0)
    for source in range(3):
        p = made.p_values(disturbed(images_of(source, 600, 90 + source), random))
        assert np.mean(p[:, source] <= ALPHA) < 0.11, "three standard deviations of Beta(3, 58) above .05"
        assert together(p[:20], counts, ALPHA)[source] > ALPHA
    stranger = made.p_values(disturbed(images_of(7, 40, 99), random))
    assert together(stranger, counts, ALPHA).max() <= ALPHA


def test_images_of_one_source_together_are_missed_as_seldom_as_stated() -> None:
    random, calibration, images = np.random.default_rng(0), 39, 20

    def p() -> NDArray[np.float64]:
        return p_values(random.random(images), random.random(calibration))[:, None]

    missed = [together(p(), [calibration], 0.1)[0] <= ALPHA for _ in range(2000)]
    assert 0.02 < np.mean(missed) < 0.06, "a binomial law, blind to the calibration images shared, has .08"


def test_every_disturbance_falls_on_about_as_many_images() -> None:
    images = images_of(0, 400, 0)
    same = (disturbed(images, np.random.default_rng(0)) == images).flatten(1).all(dim=1)
    assert 1 / len(DISTURBANCES) - 0.08 < float(same.float().mean()) < 1 / len(DISTURBANCES) + 0.08
    for name, disturb in DISTURBANCES.items():
        result = disturb(images, np.random.default_rng(0))
        assert result.shape == images.shape
        assert result.dtype == torch.uint8
        assert torch.equal(result, images) == (name == "none")


def test_what_calibrates_is_not_learned_from() -> None:
    learned, held = split(101, seed=3)
    assert sorted([*learned, *held]) == list(range(101))
    assert len(held) == 101 // HELD_OUT


def test_too_few_images_are_told_with_the_number_needed() -> None:
    check_counts({"gan, replicate 0": 76}, ALPHA)
    with pytest.raises(UserError, match=r"gan, replicate 0: 75 images are too few .* 76 are needed"):
        check_counts({"a real image": 500, "gan, replicate 0": 75}, ALPHA)
