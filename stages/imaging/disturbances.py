"""What happens to images on their way through the world: blur and JPEG, on bytes."""

from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

from stages.imaging.pixels import rounded


def gaussian_blur(images: Tensor, deviation: float) -> Tensor:
    """Images uint8 (N, C, H, W) blurred, rounded to uint8 again; `deviation` in pixels, above 0. The edge repeats."""
    channels, reach = images.shape[1], max(1, round(3 * deviation))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / deviation) ** 2)
    kernel = (weights / weights.sum()).to(images.device).expand(channels, 1, 1, -1)
    padded = pad(images.double(), (reach,) * 4, mode="replicate")
    across = conv2d(padded, kernel, groups=channels)
    return rounded(conv2d(across, kernel.transpose(2, 3), groups=channels))


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Images uint8 (N, C, H, W), C 1 or 3, saved as JPEG of this quality, 1..95, and read again.

    By Pillow: torchvision's own way for images of one channel or on a GPU is deprecated.
    """
    pixels = images.movedim(1, 3).cpu().numpy()
    read = np.stack([_through_jpeg(image, quality) for image in pixels])
    return torch.from_numpy(read).movedim(3, 1).to(images.device)


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Of one image (H, W, C)."""
    file = BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)
