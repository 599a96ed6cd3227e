"""The generators that ours are held against: each keeps to its class and its range, and is fixed by its seed."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import Tensor

from benchmarks import reference_generators
from benchmarks.reference_generators import Sampler, _Discriminator, _Generator, fit_pca_mixture, fit_smote, train_dcgan
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError
from tests.benchmarks.toy import make_data

Fit = Callable[[ReplicateData], Sampler]
FITS = {
    "dcgan": lambda data: train_dcgan(data, 0, 0)[0],
    "pca_mixture": lambda data: fit_pca_mixture(data, 0),
    "smote": lambda data: fit_smote(data),
}


def means(images: Tensor, labels: Tensor) -> Tensor:
    """The mean image of both classes, (2, C, H, W)."""
    return torch.stack([images[labels == label].float().mean(dim=0) for label in (0, 1)])


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
class TestEveryGenerator:
    @pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 16), (1, 28)])
    def test_draws_as_many_images_of_each_class_as_it_is_asked_for(self, fit: Fit, channels: int, side: int) -> None:
        images, labels = fit(make_data(4, channels, side))(3, 0)
        assert images.shape == (6, channels, side, side)
        assert images.dtype == torch.uint8
        assert labels.tolist() == [0, 0, 0, 1, 1, 1]

    def test_is_fixed_by_its_seed_alone(self, fit: Fit) -> None:
        sample = fit(make_data())
        torch.manual_seed(1)
        first, _ = sample(20, 0)
        torch.manual_seed(2)
        again, _ = sample(20, 0)
        other, _ = sample(20, 1)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_leaves_the_global_generator_alone(self, fit: Fit) -> None:
        before = torch.random.get_rng_state()
        fit(make_data())(2, 0)
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes with each step, and networks are narrower."""
    monkeypatch.setattr(reference_generators, "process_time", count().__next__)
    monkeypatch.setattr(reference_generators, "WIDTH", 32)


@pytest.mark.usefixtures("clock")
class TestDcgan:
    @pytest.mark.parametrize("side", [8, 12, 16, 28, 32, 64])
    def test_both_networks_take_images_of_any_size(self, side: int) -> None:
        classes = torch.eye(2)
        images = _Generator(3, side, 2)(torch.zeros(2, 64), classes)
        assert images.shape == (2, 3, side, side)
        assert _Discriminator(3, side, 2)(images, classes).shape == (2,)

    def test_both_networks_have_four_convolutions(self) -> None:
        for network in (_Generator(1, 16, 2), _Discriminator(1, 16, 2)):
            assert sum("Conv" in type(layer).__name__ for layer in network.layers) == 4

    def test_learns_what_tells_two_classes_apart(self) -> None:
        data = make_data(per_class=8)
        drawn = means(*train_dcgan(data, 150, 0)[0](100, 0))
        real = means(data.images, data.labels)
        assert (drawn - real).abs().mean() < 0.6 * (drawn - real.flip(0)).abs().mean()

    def test_as_many_steps_give_the_same_images(self) -> None:
        data = make_data(per_class=8)
        first, again, more, other = (
            train_dcgan(data, steps, seed)[0](4, 0)[0] for steps, seed in [(3, 0), (3, 0), (4, 0), (3, 1)]
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, more)
        assert not torch.equal(first, other)

    def test_the_number_of_threads_is_what_it_was(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        train_dcgan(make_data(), 0, 0)
        after = torch.get_num_threads()
        torch.set_num_threads(before)
        assert after == 2


class TestPcaMixture:
    def test_has_the_mean_and_the_spread_of_each_class(self) -> None:
        data = make_data(per_class=200)
        images, labels = fit_pca_mixture(data, 0)(2000, 0)
        assert torch.allclose(means(images, labels), means(data.images, data.labels), atol=2)
        spread, real = images[labels == 0].float().std(dim=0), data.images[:200].float().std(dim=0)
        assert torch.allclose(spread, real, rtol=0.1)

    def test_finds_modes(self) -> None:
        data = make_data(per_class=200)
        both = replace(data, classes=1, labels=torch.zeros(400, dtype=torch.int64))
        images, _ = fit_pca_mixture(both, 0)(500, 0)
        contrast = images[:, :, :4].float().mean(dim=(1, 2, 3)) - images[:, :, 4:].float().mean(dim=(1, 2, 3))
        assert contrast.abs().min() > 30  # one Gaussian over both would draw images between the two


class TestSmote:
    def test_every_image_lies_between_two_real_ones_of_its_class(self) -> None:
        data = make_data(per_class=10)
        images, labels = fit_smote(data)(15, 0)
        for image, label in zip(images.flatten(1).double(), labels, strict=True):
            real = data.images[data.labels == label].flatten(1).double()
            detour = torch.cdist(image[None], real) + torch.cdist(image[None], real).T - torch.cdist(real, real)
            detour.fill_diagonal_(torch.inf)
            # A point on the way from one to the other makes no detour; rounding moves it by at most half a grey value.
            assert detour.min() <= 2 * 0.5 * 8 + 1e-6

    def test_two_images_are_enough(self) -> None:
        images, _ = fit_smote(make_data(per_class=2))(5, 0)
        assert len(images) == 10


@pytest.mark.parametrize(
    "fit", [lambda *args: fit_pca_mixture(args[0], 0, *args[1:]), fit_smote], ids=["pca_mixture", "smote"]
)
class TestPool:
    def test_pool_images_join_the_class_they_are_taken_for(self, fit: Callable[..., Sampler]) -> None:
        data = make_data(per_class=10, pool=200)
        wrong = torch.zeros(200, dtype=torch.int64)
        drawn = means(*fit(data, wrong)(500, 0))
        alone = means(*fit(data)(500, 0))
        assert torch.equal(drawn[1], alone[1])
        assert torch.allclose(drawn[0], means(data.images, data.labels).flip(0)[0], atol=40)

    def test_pool_images_without_a_class_change_nothing(self, fit: Callable[..., Sampler]) -> None:
        data = make_data(per_class=10, pool=20)
        left_out, _ = fit(data, torch.full((20,), -1))(5, 0)
        alone, _ = fit(data)(5, 0)
        assert torch.equal(left_out, alone)

    def test_a_class_with_one_image_is_named(self, fit: Callable[..., Sampler]) -> None:
        with pytest.raises(UserError, match="class 0 needs two images that differ"):
            fit(make_data(per_class=1))
