"""Images are brought into line by what they have in common, and what is drawn goes back to poses that were seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.generators import alignment, quality
from stages.generators.alignment import Poses, aligned, congeal, matrices, resample
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.requests import requests
from stages.generators.training import train
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool
from stages.labelling.data import TrustedImages
from tests.generators.toy import Memory, toy_params
from tests.labelling.toy import hasty_fit, toy_data

SIDE, DEGREE, PIXEL = 20, torch.pi / 180, 2 / 20


def shapes() -> Tensor:
    """Two shapes without any symmetry, uint8 (2, 1, 20, 20): a thick F, and one lying down with a dot."""
    images = torch.zeros(2, 1, SIDE, SIDE)
    images[0, 0, 4:16, 6:9] = images[0, 0, 4:7, 6:15] = images[0, 0, 9:11, 6:12] = 220
    images[1, 0, 11:14, 4:16] = images[1, 0, 5:14, 4:7] = images[1, 0, 6:8, 12:15] = 250
    return images.to(torch.uint8)


def posed(each: int, seed: int = 0, degrees: float = 30, pixels: float = 2) -> tuple[TrustedImages, Tensor]:
    """`each` copies of both shapes, turned and shifted at random, and the poses (N, 4) that undo it."""
    random, labels = torch.Generator().manual_seed(seed), torch.arange(2).repeat_interleave(each)
    spread = torch.tensor([degrees * DEGREE, 0, pixels * PIXEL, pixels * PIXEL])
    numbers = (2 * torch.rand(len(labels), 4, generator=random) - 1) * spread
    images = resample(to_network_range(shapes()[labels]), matrices(numbers).inverse())
    return TrustedImages(to_bytes(images), labels, torch.ones(len(labels))), numbers


def unlike(found: Tensor, planted: Tensor, labels: Tensor) -> Tensor:
    """How far the poses found are from the planted ones, once one transform common to a class is left out: the largest
    change (4,) of what each places where, in degrees, share of the size and pixels."""
    errors = []
    for label in labels.unique():
        apart = matrices(planted[labels == label]).inverse() @ matrices(found[labels == label])
        cos, sin, right, down = (apart[:, row, column] for row, column in ((0, 0), (1, 0), (0, 2), (1, 2)))
        each = torch.stack([torch.atan2(sin, cos) / DEGREE, torch.hypot(sin, cos), right / PIXEL, down / PIXEL], dim=1)
        errors.append((each - each.mean(dim=0)).abs())
    return torch.cat(errors).amax(dim=0)


def test_planted_poses_are_found_to_four_degrees_and_half_a_pixel() -> None:
    real, planted = posed(8)
    left = unlike(congeal(real), planted, real.labels)
    assert (left < torch.tensor([4.0, 0.06, 0.5, 0.5])).all(), left
    assert (unlike(torch.zeros_like(planted), planted, real.labels)[[0, 2, 3]] > torch.tensor([20, 1, 1])).all()


def test_aligned_images_of_a_class_are_alike() -> None:
    real, _ = posed(8)
    _, _, together = aligned(
        replace(toy_data(0), images=real.images, labels=real.labels, unlabelled=real.images[:0]), real
    )

    def spread(images: Tensor) -> float:
        return float(torch.stack([part.float().std(dim=0).mean() for part in images.chunk(2)]).mean())

    assert spread(together.images) < 0.35 * spread(real.images)


def test_images_of_other_classes_are_brought_into_line_and_change_nothing_for_the_own() -> None:
    (real, _), (others, _) = posed(4), posed(4, seed=1)
    data = replace(toy_data(0), images=real.images, labels=real.labels, unlabelled=real.images[:0])
    data = replace(data, other_images=others.images, other_labels=others.labels + data.classes)
    poses, together, _ = aligned(data, real)
    assert torch.equal(poses.numbers, congeal(real))
    alone = Poses(congeal(others), others.labels, others.trust)
    assert torch.equal(together.other_images, alone.align(others.images, torch.arange(8)))
    assert not torch.equal(together.other_images, others.images)


def test_a_class_as_a_whole_stays_where_it_is() -> None:
    real, _ = posed(6, seed=1)
    real = replace(real, trust=torch.linspace(1, 0.2, 12))
    weighted = congeal(real) * real.trust[:, None]
    assert weighted.view(2, 6, 4).sum(dim=1).abs().max() < 1e-5


def test_what_is_in_line_or_alone_stays_as_it_is() -> None:
    """Two copies of a shape; and one of another, a class of its own."""
    images, labels = shapes()[[0, 0, 1]], torch.tensor([0, 0, 1])
    real = TrustedImages(images, labels, torch.ones(3))
    poses = Poses(congeal(real), labels, real.trust)
    assert poses.numbers.abs().max() < 1e-4
    assert (poses.numbers[2] == 0).all()
    assert torch.equal(poses.align(images, torch.arange(3)), images)


def test_images_that_are_not_trusted_move_no_other() -> None:
    real, _ = posed(5)
    noise = torch.randint(256, (4, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    beside = TrustedImages(
        torch.cat([real.images, noise]),
        torch.cat([real.labels, torch.arange(4) % 2]),
        torch.tensor([1.0] * 10 + [0.0] * 4),
    )
    torch.testing.assert_close(congeal(beside)[:10], congeal(real), atol=1e-3, rtol=0)


def test_turned_back_an_image_has_a_seen_pose_of_its_class_whatever_is_drawn_beside_it() -> None:
    real, numbers = posed(3)
    poses = Poses(numbers, real.labels, torch.tensor([1.0, 1, 0, 1, 1, 1]))
    wanted = np.array([0, 1] * 40)
    plain = to_network_range(shapes()[torch.from_numpy(wanted)])
    turned = to_bytes(poses.turn_back(plain, wanted, seed=5))
    assert torch.equal(to_bytes(poses.turn_back(plain[:7], wanted[:7], seed=5)), turned[:7])
    nearest = (turned.float()[:, None] - real.images.float()).abs().mean(dim=(2, 3, 4)).min(dim=1)
    assert nearest.values.max() < 1, "of 255 levels, which rounding explains"
    assert set(nearest.indices[::2].tolist()) == {0, 1}, "and never the pose of an image that is not trusted"
    assert set(nearest.indices[1::2].tolist()) == {3, 4, 5}


@pytest.mark.parametrize("kind", ["gaussian", "image_conditioned"])
def test_an_aligned_generator_draws_poses_repeats_itself_and_comes_back_from_disk(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(alignment, "STEPS", 4)
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    monkeypatch.setattr(quality, "SAMPLES", 60)
    data, memory = toy_data(6, validation=0), Memory()
    fields = {} if kind == "gaussian" else {"steps": 4, "checkpoint_every": 2}

    def made(align: bool, checkpoint: Memory) -> TrainedGenerator:
        section = toy_params(kind, align=align, **fields)
        return train(data, pool.unguessed(data), section, 0, lambda _: None, checkpoint)

    whole = made(True, memory)
    resumed = made(True, Memory(memory.history[0]) if memory.history else Memory())
    whole.save(tmp_path)
    assert whole.poses is not None
    again = TrainedGenerator.open(tmp_path, torch.device("cpu"))
    for asked in requests([range(3)] * 3, 1, 0, sources_of(whole.generator, data)):
        one, *others = (each.draw(asked, data.images, 1.0, scores=True) for each in (whole, resumed, again))
        assert all(np.array_equal(one.images, other.images) for other in others)
        first = whole.draw(replace(asked, wanted=2), data.images, 1.0, scores=False).images
        assert np.array_equal(first, one.images[:2])
        inline = replace(whole, poses=replace(whole.poses, numbers=torch.zeros_like(whole.poses.numbers)))
        assert not np.array_equal(inline.draw(asked, data.images, 1.0, scores=False).images, one.images)
    assert made(False, Memory()).poses is None
