"""Ways of filling gaps are scored on the missing pixels of images that they did not learn from."""

import numpy as np
import pytest

from benchmarks import imputation


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch):
    """Of images of one level each, so that pixels tell each other, of three classes by brightness."""
    monkeypatch.setattr(imputation, "IMAGES", 80)
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    levels = 40 + 80 * labels + random.integers(-30, 30, 90)
    images = (levels[:, None, None, None] + random.integers(-3, 4, (90, 1, 4, 4))).astype(np.uint8)
    return images, imputation.measure(images, labels, rate=0.3, seed=5, steps=2)


def test_what_the_mean_gets_is_what_one_computes_by_hand(table) -> None:
    images, found = table
    random = np.random.default_rng(5)
    learned, held_out = np.split(random.permutation(90)[:80], 2)
    missing = random.random(images.shape) < 0.3
    means = np.ma.array(images[learned], mask=missing[learned]).mean(axis=0).filled(0)
    apart = np.where(missing[held_out], np.rint(means) - images[held_out].astype(float), 0) / 255
    assert found.loc["mean", "rmse"] == pytest.approx(
        np.sqrt(np.square(apart).sum() / missing[held_out].sum()), rel=1e-6
    )


def test_what_sees_other_pixels_beats_the_mean_and_nothing_beats_complete_images(table) -> None:
    _, found = table
    assert list(found.index) == ["mean", "nearest", "iterative", "gain", "complete"]
    assert found.loc["nearest", "rmse"] < 0.5 * found.loc["mean", "rmse"]
    assert found.loc["iterative", "rmse"] < 0.5 * found.loc["mean", "rmse"]
    assert found.loc["complete", "rmse"] == 0
    assert found.loc["complete", "accuracy"] == found["accuracy"].max()
