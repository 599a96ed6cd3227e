import numpy as np
from sklearn.datasets import load_digits

from stages.sources import digits, duplicates


def test_digits_are_those_of_scikit_learn() -> None:
    images = digits.load()
    original = load_digits()
    assert images.pixels.shape == (1797, 1, 8, 8)
    assert images.pixels.max() == 255
    assert np.abs(images.pixels[:, 0] * (16 / 255) - original.images).max() < 0.05
    assert np.array_equal(images.labels, original.target)
    assert len(set(images.ids)) == 1797


def test_one_of_every_set_of_identical_images_stays() -> None:
    random = np.random.default_rng(0)
    different = random.integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
    assert duplicates.first_of_each(different[[0, 1, 0, 2, 1, 3, 4, 4]]).tolist() == [0, 1, 3, 5, 6]
    assert duplicates.first_of_each(different).tolist() == [0, 1, 2, 3, 4]
