import io
from functools import partial

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from stages.comparison.figures import comparison_figure, confusion_figure, finding_pairs, nearest_pairs, sample_grid
from stages.comparison.scores import align, score
from stages.comparison.verdict import compare


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _images(n: int, side: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(n, channels, side, side), dtype=np.uint8)


@pytest.fixture
def draw_comparison(make_tables, make_params):
    def draw(replicates):
        tables, truth = make_tables({"classic": 0.6, "gan": 0.7, "real": 0.5}, replicates=replicates)
        predictions, params = align(tables, truth, 3), make_params()
        scores = score(predictions)
        return partial(comparison_figure, scores, compare(predictions, scores, {}, params), params)

    return draw


def _same_bytes_and_settings(draw):
    before = dict(mpl.rcParams)
    first = draw()
    assert first == draw()
    assert dict(mpl.rcParams) == before
    return first


@pytest.mark.parametrize("replicates", [1, 5])
def test_comparison_is_deterministic_and_leaves_matplotlib_alone(draw_comparison, replicates):
    draw = draw_comparison(replicates)
    png = _same_bytes_and_settings(draw)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20}):
        assert draw() == png, "the user's own settings must not show"


@pytest.mark.parametrize("classes", [2, 15])
def test_confusion_is_deterministic_whatever_the_names(classes):
    counts = np.eye(classes, dtype=np.int64) * 5
    names = [f"$class_{k}^ of a long name" for k in range(classes)]
    _same_bytes_and_settings(lambda: confusion_figure(counts, names, "gan"))


def test_small_images_are_enlarged_by_whole_pixels():
    image = _images(1)
    page = _pixels(sample_grid(image, np.array([0]), ["a"], 1))
    assert _shows(page, image[0], 48)


def _shows(page: np.ndarray, image: np.ndarray, row: int) -> bool:
    """Whether the 8 x 8 grey image lies, twelve times as large, on the page with its top in this row of pixels."""
    expected = np.repeat(np.repeat(image[0], 12, axis=0), 12, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(page[:, :, 0], expected.shape)[row]
    return any((window == expected).all() for window in windows)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 3), (200, 3)])
def test_grids_take_grey_and_colour_small_and_large(side, channels):
    images, labels = _images(6, side, channels), np.array([0, 0, 0, 1, 1, 2])
    names = ["benign", "malignant", "$\\unclosed and a long name", "never seen"]
    alone = _same_bytes_and_settings(lambda: sample_grid(images, labels, names, 2))
    beside = sample_grid(images, labels, names, 2, images, labels)
    assert _pixels(beside).shape[1] > _pixels(alone).shape[1]
    _same_bytes_and_settings(lambda: nearest_pairs(images, images[::-1], ["class 0"] * 6))


def test_a_grid_of_nothing_is_blank_but_drawn():
    assert _pixels(sample_grid(_images(0), np.zeros(0, dtype=np.int64), ["a", "b"], 3)).min() < 128


def test_findings_stand_beside_what_they_resemble_or_alone():
    one, other, third = _images(3)
    pictures = [(one, other), (third, None)]
    page = _pixels(_same_bytes_and_settings(lambda: finding_pairs(pictures, ["1: dropped", "2: kept"])))
    assert all(_shows(page, image, 42) for image in (one, other, third))
    swapped = _pixels(finding_pairs([(None, other), (third, None)], ["1: dropped", "2: kept"]))
    assert not _shows(swapped, one, 42)
    assert swapped.shape == page.shape
