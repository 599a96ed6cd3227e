"""Augmentation changes the share of images it is told to, each by itself, in a way a gradient can follow."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from stages.imaging.augmentation import POLICIES, Policy, adapt, allowed, augment

UNIT = st.floats(0, 1)


def pictures(count: int = 64, channels: int = 3, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(count, channels, height, width, generator=seeded(9)) * 2 - 1


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def changed(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(dim=1)


@pytest.mark.parametrize("policies", [*[(policy,) for policy in POLICIES], POLICIES])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0, 0.0, torch.tensor(0.0)])
def test_at_strength_0_nothing_changes(policies: tuple[Policy, ...], channels: int, strength: Tensor | float) -> None:
    images = pictures(channels=channels)
    assert torch.equal(augment(images, policies, strength, seeded()), images)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_either_untouched_or_what_it_is_at_strength_1(policy: Policy, channels: int) -> None:
    images = pictures(4000, channels)
    full, half = augment(images, [policy], 1.0, seeded()), augment(images, [policy], 0.5, seeded())
    assert half.shape == images.shape
    assert half.dtype == torch.float32
    touched = changed(images, half)
    assert torch.equal(half, torch.where(touched.view(-1, 1, 1, 1), full, images))
    reached = changed(images, full).double().mean()  # a shift by 0 and the side that is not mirrored change nothing
    assert touched.double().mean() / reached == pytest.approx(0.5, abs=0.05)


def test_policies_fall_on_images_independently_of_one_another() -> None:
    images = pictures(4000)
    touched = {policy: changed(images, augment(images, [policy], 0.5, seeded())) for policy in ("colour", "cutout")}
    assert (touched["colour"] & touched["cutout"]).double().mean() == pytest.approx(0.25, abs=0.03)


def test_neither_strength_nor_policies_move_the_random_numbers_that_follow() -> None:
    states = []
    for policies, strength in [(POLICIES, 0.0), (POLICIES, torch.tensor(0.7)), (["cutout"], 1.0)]:
        generator = seeded()
        augment(pictures(), policies, strength, generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_the_generator_alone_decides_and_nothing_else_is_touched() -> None:
    images, state = pictures(), torch.get_rng_state()
    before = images.clone()
    first = augment(images, POLICIES, 0.8, seeded(1))
    assert torch.equal(first, augment(images, POLICIES[::-1], torch.tensor(0.8), seeded(1)))
    assert not torch.equal(first, augment(images, POLICIES, 0.8, seeded(2)))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    images = pictures()
    others = images.flip(0)
    others[10] = images[10]
    alone, among = augment(others, POLICIES, 1.0, seeded()), augment(images, POLICIES, 1.0, seeded())
    assert torch.equal(alone[10], among[10])
    assert not torch.equal(alone[11], among[11])


@pytest.mark.parametrize("policies", [*[(policy,) for policy in POLICIES], POLICIES])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_derivatives_equal_finite_differences(policies: tuple[Policy, ...], channels: int) -> None:
    images = pictures(4, channels).double().requires_grad_()

    def squares(inputs: Tensor) -> Tensor:  # so that there is a second derivative, which R1 and R2 need
        return augment(inputs, policies, 0.7, seeded()).square()

    assert gradcheck(squares, (images,), fast_mode=True)
    assert gradgradcheck(squares, (images,), fast_mode=True)


def test_translation_shifts_by_up_to_an_eighth_and_repeats_the_border() -> None:
    images = pictures(600, channels=3, height=16, width=8)
    shifts = set()
    for before, after in zip(images, augment(images, ["translation"], 1.0, seeded()), strict=True):
        padded = functional.pad(before, (1, 1, 2, 2), mode="replicate")
        candidates = {
            (2 - top, 1 - left): padded[:, top : top + 16, left : left + 8] for top in range(5) for left in range(3)
        }
        found = [shift for shift, candidate in candidates.items() if torch.equal(candidate, after)]
        assert len(found) == 1
        shifts.update(found)
    assert shifts == {(down, right) for down in range(-2, 3) for right in range(-1, 2)}


@pytest.mark.parametrize("side", [8, 10])
def test_cutout_blanks_one_square_of_half_the_side_that_the_border_may_clip(side: int) -> None:
    images = pictures(2000, 3, side, side)
    after = augment(images, ["cutout"], 1.0, seeded())
    hidden = (after == 0).all(dim=1)
    assert torch.equal(after, images.masked_fill(hidden.unsqueeze(1), 0))
    rows, columns = hidden.any(dim=2), hidden.any(dim=1)
    assert torch.equal(hidden, rows.unsqueeze(2) & columns.unsqueeze(1))
    half = side // 2
    for places in (rows, columns):
        assert places.int().diff(dim=1).abs().sum(dim=1).max() <= 2  # in one piece
        assert set(places.sum(dim=1).tolist()) == set(range(math.ceil(half / 2), half + 1))
        patterns = places.unique(dim=0)
        assert torch.equal(patterns, patterns.flip(1).unique(dim=0))  # clipped alike at either end
    assert hidden.any(dim=0).all()  # no pixel is spared for ever


def test_colour_of_a_grey_image_is_a_rising_line() -> None:
    images = pictures(500, channels=1)
    after = augment(images, ["colour"], 1.0, seeded())
    moved = after.mean(dim=(1, 2, 3)) - images.mean(dim=(1, 2, 3))
    contrast = after.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    line = after.mean(dim=(1, 2, 3), keepdim=True) + contrast.view(-1, 1, 1, 1) * centred
    torch.testing.assert_close(after, line, rtol=0, atol=1e-5)
    assert_fills(moved, -0.5, 0.5)
    assert_fills(contrast, 0.5, 1.5)


def test_colour_is_brightness_then_saturation_then_contrast() -> None:
    images = pictures(500)
    after = augment(images, ["colour"], 1.0, seeded())
    grey, grey_after = images.mean(dim=1, keepdim=True), after.mean(dim=1, keepdim=True)
    brightness = (after - images).mean(dim=(1, 2, 3), keepdim=True)
    contrast = (grey_after.std(dim=(1, 2, 3)) / grey.std(dim=(1, 2, 3))).view(-1, 1, 1, 1)
    saturation = (after - grey_after).flatten(1).norm(dim=1) / (images - grey).flatten(1).norm(dim=1)
    saturation = saturation.view(-1, 1, 1, 1) / contrast

    expected = images + brightness
    expected = (expected - expected.mean(dim=1, keepdim=True)) * saturation + expected.mean(dim=1, keepdim=True)
    mean = expected.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(after, (expected - mean) * contrast + mean, rtol=0, atol=1e-5)
    assert_fills(brightness, -0.5, 0.5)
    assert_fills(contrast, 0.5, 1.5)
    assert_fills(saturation, 0, 2)


def assert_fills(values: Tensor, low: float, high: float) -> None:
    """The values lie between the two, evenly."""
    assert values.min() > low - 1e-4
    assert values.max() < high + 1e-4
    counts = values.flatten().clamp(low, high).histc(4, low, high)
    assert counts.min() > 0.7 * values.numel() / 4


def test_flip_mirrors_half_of_the_images_left_to_right() -> None:
    images = pictures(2000)
    after = augment(images, ["flip"], 1.0, seeded())
    mirrored = changed(images, after)
    assert torch.equal(after[mirrored], images[mirrored].flip(3))
    assert mirrored.double().mean() == pytest.approx(0.5, abs=0.05)


def test_images_are_mirrored_only_where_that_is_allowed() -> None:
    assert allowed(["flip", "cutout", "translation"], flip_ok=True) == ("translation", "cutout", "flip")
    assert allowed(["flip", "cutout", "translation"], flip_ok=False) == ("translation", "cutout")
    assert allowed([], flip_ok=True) == ()


@given(strength=UNIT, signal=st.floats(-1, 1), target=UNIT, step=UNIT)
def test_the_strength_follows_the_signal_and_stays_a_probability(
    strength: float, signal: float, target: float, step: float
) -> None:
    moved = adapt(strength, signal, target, step)
    if signal > target:
        assert moved == min(strength + step, 1)
    elif signal < target:
        assert moved == max(strength - step, 0)
    else:
        assert moved == strength


@given(strength=UNIT, signals=st.tuples(UNIT, UNIT), target=UNIT, step=UNIT)
def test_more_overfitting_never_means_less_augmentation(
    strength: float, signals: tuple[float, float], target: float, step: float
) -> None:
    assert adapt(strength, min(signals), target, step) <= adapt(strength, max(signals), target, step)


def test_a_signal_that_is_no_number_changes_nothing() -> None:
    assert adapt(0.3, math.nan, 0.6, 0.1) == 0.3
