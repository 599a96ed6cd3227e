"""Styles carry over what they say, and leave the rest."""

import pytest
import torch
from torch import Generator, Tensor

from stages.downstream.styles import (
    DRAWS,
    fit_curve,
    match_histograms,
    match_low_frequencies,
    restyled,
    sliced_wasserstein,
)
from stages.downstream.tone_curves import curve
from stages.imaging.pixels import to_bytes, to_network_range


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def bars(count: int, seed: int, channels: int = 1) -> Tensor:
    """Blurred bars at random places on a dark ground, uint8 of 8x8 pixels."""
    generator, images = seeded(seed), torch.zeros(count, channels, 8, 8)
    place = torch.randint(1, 7, (count,), generator=generator)
    for shift, level in ((-1, 90), (0, 230), (1, 90)):
        images[torch.arange(count), :, place + shift] = level
    noise = torch.randint(0, 20, images.shape, generator=generator)
    return (images + noise).to(torch.uint8)


def random_images(count: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=seeded(seed)).to(torch.uint8)


def test_a_matched_image_has_exactly_the_levels_of_its_reference_in_its_own_order() -> None:
    images, references = bars(20, 0, channels=3), random_images(20, 1)
    matched = match_histograms(images, references, seeded())
    assert torch.equal(matched.flatten(2).sort(dim=2).values, references.flatten(2).sort(dim=2).values)
    before, after = images.flatten(2).int(), matched.flatten(2).int()
    order = before.argsort(dim=2)
    rises = before.gather(2, order).diff(dim=2) > 0
    assert (after.gather(2, order).diff(dim=2)[rises] >= 0).all()


def test_equally_bright_pixels_are_ranked_by_chance() -> None:
    flat = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    matched = match_histograms(flat, random_images(50, 0)[:, :1], seeded()).float()
    halves = matched[..., :4].mean(), matched[..., 4:].mean()
    assert float(halves[0] - halves[1]) == pytest.approx(0, abs=10)


def test_fourier_takes_the_mean_of_the_reference_and_keeps_the_rest() -> None:
    images, references = (each // 4 + 96 for each in (random_images(20, 0), random_images(20, 1)))
    mixed = match_low_frequencies(images, references, seeded())
    torch.testing.assert_close(mixed.float().mean((2, 3)), references.float().mean((2, 3)), rtol=0, atol=0.5)
    assert torch.equal(match_low_frequencies(images, images, seeded()), images)
    high = (torch.fft.fft2(each.float())[..., 3:6, 3:6] for each in (images, mixed))
    torch.testing.assert_close(*high, rtol=0, atol=8)  # rounding to whole levels


@pytest.mark.parametrize("knots", [[0.9, -0.6, -0.2], [-0.9, 0.8, -0.1]], ids=["inverted", "not monotone"])
def test_the_fitted_curve_is_found_again(knots: list[float]) -> None:
    source, pool = bars(150, 0), bars(150, 1)
    true = torch.tensor(knots).view(1, 1, -1)
    target = to_bytes(curve(to_network_range(pool), true))
    fitted = curve(to_network_range(source), fit_curve(source, target, seeded()))
    wanted = curve(to_network_range(source), true)
    assert float((fitted - wanted).abs().mean()) < 0.1


def test_sliced_wasserstein_compares_sets_whatever_their_order() -> None:
    first, second = (torch.randn(64, 5, generator=seeded(seed)) for seed in (0, 1))
    assert float(sliced_wasserstein(first, first.flip(0), seeded())) == 0
    assert sliced_wasserstein(first, second + 1, seeded()) > 5 * sliced_wasserstein(first, second, seeded())


@pytest.mark.parametrize(("style", "versions"), [("histogram", DRAWS), ("fourier", DRAWS), ("tone_curve", 1)])
def test_versions_of_all_images_follow_each_other_and_repeat(style: str, versions: int) -> None:
    images, pool = bars(12, 0), 255 - bars(30, 1)
    first, again = (restyled(style, images, pool, seed=3) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(first, again)
    assert (first.shape, first.dtype) == ((12 * versions, 1, 8, 8), torch.uint8)
    assert float(first.float().mean()) > float(images.float().mean()) + 50
