"""Another scanner, simulated: a function of image and id alone, under which shapes are kept and classifiers fail."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from stages.sources.simulation import DISTURBANCES, disturb

KINDS = sorted(DISTURBANCES)


def pictures(count: int, channels: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(size).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def names(count: int) -> list[str]:
    return [f"cat/{number}.png" for number in range(count)]


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (1, 28), (3, 128)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_the_same_bytes_whatever_else_is_there(kind: str, channels: int, size: int) -> None:
    images, ids = pictures(5, channels, size), names(5)
    together = disturb(kind, images, ids)
    assert (together.shape, together.dtype) == (images.shape, np.uint8)
    order = [3, 1, 4]
    assert np.array_equal(disturb(kind, images[order], [ids[row] for row in order]), together[order])
    assert np.array_equal(disturb(kind, images[2:3], ids[2:3]), together[2:3])
    assert disturb(kind, images[:0], []).shape == (0, channels, size, size)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"inversion"}))
def test_noise_and_light_are_each_ids_and_each_disturbances_own(kind: str) -> None:
    image = np.full((2, 1, 16, 16), 90, dtype=np.uint8)
    one, other = (each.astype(float) for each in disturb(kind, image, ["a", "b"]))
    noise = [each - each.mean() for each in (one, other)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.9
    assert not np.array_equal(one, other)


def test_inversion_is_a_negative_with_gamma() -> None:
    assert disturb("inversion", np.array([[[[0, 255, 51]]]], dtype=np.uint8), ["a"]).tolist() == [[[[255, 0, 178]]]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_of_the_source_fails_where_one_of_the_target_succeeds(kind: str) -> None:
    digits, labels = load_digits(return_X_y=True)
    source = np.rint(digits.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)
    target = disturb(kind, source, names(len(source)))

    def accuracy(seen: NDArray[np.uint8]) -> float:
        model = KNeighborsClassifier(3).fit(seen[:900].reshape(900, -1) / 255, labels[:900])
        return float(model.score(target[900:].reshape(len(target) - 900, -1) / 255, labels[900:]))

    assert accuracy(target) > 0.8
    assert accuracy(source) < 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_a_disc_can_be_told_from_its_surroundings_at_every_size(kind: str, size: int) -> None:
    down, across = np.mgrid[:size, :size] / (size - 1) - 0.5
    radius = np.hypot(down, across)
    image = np.where(radius < 0.3, 140, 0).astype(np.uint8)[None, None]
    changed = disturb(kind, image, ["disc"])[0, 0] / 255
    place = np.abs(radius - 0.3) < 0.02 if kind == "edges" else radius < 0.25
    assert abs(changed[place].mean() - changed[radius > 0.4].mean()) > 0.25
    assert abs(np.diff(changed[radius > 0.4].reshape(-1))).mean() < 0.1
