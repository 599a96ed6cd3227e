"""Other projects' GANs draw what ours are compared with: images of the set's own form, the same ones for a seed."""

import pytest
import torch
from torch import Tensor

from benchmarks import public_gans
from stages.imaging.pixels import to_network_range
from stages.labelling.data import ReplicateData


@pytest.mark.parametrize(("channels", "side"), [(1, 27), (1, 32), (3, 28)])
def test_what_is_framed_for_a_network_is_cut_back_to_the_same_pixels(channels: int, side: int) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, channels, side, side), dtype=torch.uint8, generator=random)
    nothing, labels = images[:0], torch.arange(6) // 3
    data = ReplicateData(images, labels, nothing, nothing, labels[:0], classes=2, flip_ok=False)

    def draw(label: int, count: int) -> Tensor:
        assert count == 3
        framed = public_gans._framed(to_network_range(images[labels == label]), 32)
        assert framed.shape[-2:] == (32, 32)
        return framed.expand(-1, 3, -1, -1)

    drawn, names = public_gans._sampler(data, draw)(3, 0)
    assert torch.equal(drawn, images)
    assert names.tolist() == labels.tolist()


def test_a_seed_decides_the_images_and_leaves_the_global_generator_as_it_was() -> None:
    images, labels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2)
    data = ReplicateData(images, labels, images[:0], images[:0], labels[:0], classes=2, flip_ok=False)
    sample = public_gans._sampler(data, lambda _label, count: torch.rand(count, 1, 8, 8))
    before = torch.get_rng_state()
    first, same, other = (sample(2, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_nobody_else_is_asked_for_who_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_gans, "find_spec", lambda package: object() if package == "torch_mimicry" else None)
    assert public_gans.installed() == {"mimicry": public_gans.train_mimicry}
