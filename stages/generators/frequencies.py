"""A basis for images that no image has a say in: the low frequencies of the cosine transform."""

import torch
from torch import Tensor


def cosine_basis(channels: int, size: int, frequencies: int) -> Tensor:
    """Orthonormal rows (channels * f * f, channels * size * size), f the lesser of `frequencies` and size.

    The type-II transform along rows, columns and channels, of which three are brightness and two differences of colour.
    """
    along = _transform(size)[:frequencies]
    return torch.kron(_transform(channels), torch.kron(along, along)).float()


def _transform(size: int) -> Tensor:
    """The whole transform of so many numbers, float64 (size, size), a frequency in each row."""
    from scipy.fft import dct  # of which only kinds with a privacy budget have need

    return torch.from_numpy(dct(torch.eye(size, dtype=torch.float64).numpy(), axis=0, norm="ortho"))
