"""Gaussian blur."""

import torch
from torch.nn.functional import conv2d, pad


def gaussian_blur(images: torch.Tensor, deviation: float) -> torch.Tensor:
    """Images uint8 (N, C, H, W) blurred, rounded to uint8 again; `deviation` in pixels, above 0. The edge repeats."""
    channels, reach = images.shape[1], max(1, round(3 * deviation))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / deviation) ** 2)
    kernel = (weights / weights.sum()).to(images.device).expand(channels, 1, 1, -1)
    padded = pad(images.double(), (reach,) * 4, mode="replicate")
    across = conv2d(padded, kernel, groups=channels)
    return conv2d(across, kernel.transpose(2, 3), groups=channels).round().clamp(0, 255).to(torch.uint8)
