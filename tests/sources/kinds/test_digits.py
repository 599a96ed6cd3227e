import numpy as np
from sklearn.datasets import load_digits

from stages.plumbing.images import UNLABELLED
from stages.sources.kinds import digits
from stages.sources.params import DigitsParams

PARAMS = DigitsParams(kind="digits", path="anywhere")


def test_digits_are_those_of_scikit_learn() -> None:
    listing, original = digits.find(PARAMS), load_digits()
    pixels = np.stack([np.asarray(image) for image in digits.read(PARAMS, listing.locators)])
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1797, 8, 8)
    assert pixels.max() == 255
    assert np.abs(pixels * (16 / 255) - original.images).max() < 0.05
    assert np.array_equal(listing.labels, original.target)
    assert UNLABELLED not in listing.labels
    assert len(set(listing.ids.tolist())) == 1797


def test_some_digits_are_read_in_the_order_asked_for() -> None:
    every = [np.asarray(image) for image in digits.read(PARAMS, range(30))]
    some = [np.asarray(image) for image in digits.read(PARAMS, [20, 3, 29])]
    np.testing.assert_array_equal(some, [every[20], every[3], every[29]])
