import numpy as np
import pytest
import torch

from stages.imaging.distance import unit_vectors
from stages.memorization.planted import CROP, KINDS, MIRRORED, planted, softened


def smooth_images(count: int, channels: int, height: int = 12, width: int = 16) -> torch.Tensor:
    """Blobs of middling brightness: no disguise cuts their values off."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(60, 190, (count, channels, 4, 4)))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear").round().to(torch.uint8)


def disguised(kind: str, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return KINDS[kind](images, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_is_a_pure_seeded_function_of_bytes_that_stays_near_its_image(kind: str, channels: int) -> None:
    images = smooth_images(6, channels)
    before = images.clone()
    copies = disguised(kind, images)
    assert torch.equal(images, before)
    assert copies.shape == images.shape
    assert copies.dtype == torch.uint8
    assert torch.equal(copies, disguised(kind, images))
    assert torch.equal(copies, images) == (kind == "exact")
    if kind not in MIRRORED:
        own = (unit_vectors(copies) - unit_vectors(images)).norm(dim=1)
        other = (unit_vectors(copies) - unit_vectors(images.roll(1, 0))).norm(dim=1)
        assert (own < other).all()


def test_mirrored_copies_only_where_allowed_and_they_change_no_other_kind() -> None:
    images = smooth_images(4, 1)
    without = planted(images, False, np.random.SeedSequence(1))
    with_flip = planted(images, True, np.random.SeedSequence(1))
    assert set(with_flip) - set(without) == {"flip", "flip_contrast"}
    assert all(torch.equal(without[kind], with_flip[kind]) for kind in without)
    assert torch.equal(with_flip["flip"].flip(-1), images)


def test_shifts_go_in_all_eight_directions_and_the_edge_fills_what_they_lay_bare() -> None:
    image = smooth_images(1, 3)
    copies = disguised("shift", image.expand(200, -1, -1, -1))
    padded = torch.nn.functional.pad(image.double(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    expected = {
        padded[0, :, down : down + 12, right : right + 16].numpy().tobytes()
        for down in range(3)
        for right in range(3)
        if (down, right) != (1, 1)
    }
    assert {copy.numpy().tobytes() for copy in copies} == expected


def test_a_large_image_is_shifted_by_three_percent_of_its_side() -> None:
    ramp = torch.arange(100, dtype=torch.uint8).expand(40, 1, 100, 100)
    assert set((disguised("shift", ramp)[:, 0, 50, 50].int() - 50).tolist()) == {-3, 0, 3}


def test_brightness_scales_and_contrast_keeps_the_mean() -> None:
    images = smooth_images(30, 1)
    ratio = disguised("brightness", images).double().mean((1, 2, 3)) / images.double().mean((1, 2, 3))
    assert {round(float(value), 1) for value in ratio} == {0.7, 1.3}
    stretched = disguised("contrast", images).double()
    torch.testing.assert_close(stretched.mean((1, 2, 3)), images.double().mean((1, 2, 3)), atol=0.2, rtol=0)
    ratio = stretched.std((1, 2, 3)) / images.double().std((1, 2, 3))
    assert {round(float(value), 1) for value in ratio} == {0.7, 1.3}


def test_noise_has_the_stated_deviation() -> None:
    grey = torch.full((50, 1, 20, 20), 128, dtype=torch.uint8)
    assert disguised("noise", grey).double().std() == pytest.approx(25.5, rel=0.03)


def test_blur_and_jpeg_and_rotation_leave_an_even_image_as_it_is() -> None:
    grey = torch.full((3, 3, 16, 12), 77, dtype=torch.uint8)
    for kind in ("blur", "rotation", "jpeg"):
        assert (disguised(kind, grey).int() - 77).abs().max() <= 1


def test_blur_equals_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    images = smooth_images(2, 3, 40, 50)
    expected = gaussian_filter(images.double().numpy(), (0, 0, 0.8, 0.8), mode="nearest", radius=(0, 0, 2, 2))
    assert np.abs(disguised("blur", images).numpy() - expected).max() <= 0.51


def test_rotation_turns_by_five_degrees_in_an_oblong_image_too() -> None:
    """The centre of a far spot moves along the circle around the image's centre."""
    image = torch.zeros(20, 1, 41, 81, dtype=torch.uint8)
    image[:, :, 19:22, 69:72] = 200
    moved = disguised("rotation", image).double()
    weights = moved / moved.sum((1, 2, 3), keepdim=True)
    down = (weights * torch.arange(41.0)[:, None]).sum((1, 2, 3)) - 20
    right = (weights * torch.arange(81.0)).sum((1, 2, 3)) - 40
    degrees = torch.rad2deg(torch.atan2(down, right))
    torch.testing.assert_close(degrees.abs(), torch.full_like(degrees, 5.0), atol=0.1, rtol=0)
    torch.testing.assert_close(torch.hypot(down, right), torch.full_like(degrees, 30.0), atol=0.2, rtol=0)
    assert set(degrees.sign().tolist()) == {-1.0, 1.0}


def test_a_mix_is_four_fifths_of_one_image() -> None:
    black_and_white = torch.tensor([0, 250], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    assert disguised("mix", black_and_white)[:, 0, 0, 0].tolist() == [50, 200]


def test_a_crop_shows_an_enlarged_window_of_its_image() -> None:
    """On two ramps, across and down, a window's place and size can be read off its grey levels."""
    height, width = 40, 60
    across = torch.arange(width).expand(height, width)
    down = torch.arange(height)[:, None].expand(height, width)
    copies = disguised("crop", (4 * torch.stack([across, down])).to(torch.uint8).expand(200, -1, -1, -1)).double() / 4
    inner = copies[:, :, 5:-5, 5:-5]
    steps = torch.stack([inner[:, 0].diff(dim=2).mean((1, 2)), inner[:, 1].diff(dim=1).mean((1, 2))])
    torch.testing.assert_close(steps, torch.full_like(steps, 1 - CROP), atol=0.01, rtol=0)
    middle = torch.stack([(inner[:, 0].mean((1, 2)) - (width - 1) / 2) / width, (inner[:, 1].mean((1, 2)) - 19.5) / 40])
    assert middle.abs().max() <= CROP / 2 + 0.005  # the window stays inside the image
    assert (middle.amin(dim=1) < -0.4 * CROP).all()  # and comes to lie anywhere in it
    assert (middle.amax(dim=1) > 0.4 * CROP).all()


def test_combinations_disguise_in_the_stated_order() -> None:
    images = smooth_images(8, 3)
    rng = np.random.default_rng(5)
    expected = images
    for kind in ("shift", "brightness", "noise"):
        expected = KINDS[kind](expected, rng)
    assert torch.equal(disguised("shift_brightness_noise", images, 5), expected)
    assert torch.equal(disguised("flip_contrast", images, 5), disguised("contrast", images.flip(-1), 5))


def test_fresh_images_are_softened_as_copies_are_blurred() -> None:
    images = smooth_images(5, 1)
    assert torch.equal(softened(images), disguised("blur", images))
    assert not torch.equal(softened(images), images)


def test_the_kinds_of_before_keep_their_streams() -> None:
    """A copy is a function of the seed and its kind's place, so that a new kind at the end changes no other."""
    images = smooth_images(3, 1)
    copies = planted(images, True, np.random.SeedSequence(1))
    for kind, stream in zip(("exact", "noise", "shift"), np.random.SeedSequence(1).spawn(3), strict=True):
        assert torch.equal(copies[kind], KINDS[kind](images, np.random.default_rng(stream)))
