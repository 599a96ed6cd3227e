import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from stages.imaging.disturbances import gaussian_blur, jpeg


def random_images(count: int, seed: int, size: tuple[int, int, int] = (3, 9, 14)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


@pytest.mark.parametrize("deviation", [0.3, 0.5, 1.0, 2.4])
def test_it_is_scipys_gaussian_filter(deviation: float) -> None:
    images = random_images(4, 0)
    reach = max(1, round(3 * deviation))
    expected = gaussian_filter(images.double().numpy(), (0, 0, deviation, deviation), mode="nearest", radius=reach)
    np.testing.assert_allclose(gaussian_blur(images, deviation), expected, atol=0.5 + 1e-9)


def test_it_leaves_its_input_alone_and_gives_bytes_of_the_same_shape() -> None:
    images = random_images(2, 1)
    before = images.clone()
    blurred = gaussian_blur(images, 1.0)
    assert torch.equal(images, before)
    assert blurred.dtype == torch.uint8
    assert blurred.shape == images.shape


@pytest.mark.parametrize("level", [0, 77, 255])
def test_an_image_of_one_grey_level_stays_as_it_is(level: int) -> None:
    even = torch.full((1, 1, 6, 6), level, dtype=torch.uint8)
    assert torch.equal(gaussian_blur(even, 1.5), even)


def test_each_images_blur_depends_on_it_alone_and_takes_noise_away() -> None:
    images = random_images(5, 2)
    assert torch.equal(gaussian_blur(images, 1.0)[2:3], gaussian_blur(images[2:3], 1.0))
    deviations = [gaussian_blur(images, deviation).double().std() for deviation in (0.3, 0.6, 1.2)]
    assert images.double().std() > deviations[0] > deviations[1] > deviations[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_lossy_by_its_quality_and_treats_each_image_alone(channels: int) -> None:
    images = random_images(4, 3, (channels, 9, 14))
    errors = [(jpeg(images, quality).double() - images).square().mean() for quality in (10, 50, 90)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert torch.equal(jpeg(images, 50)[2:3], jpeg(images[2:3], 50))
    smooth = torch.arange(9 * 14, dtype=torch.uint8).view(1, 1, 9, 14).expand(1, channels, 9, 14)
    assert (jpeg(smooth, 90).int() - smooth.int()).abs().max() < 16
