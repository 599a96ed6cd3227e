"""Real images that are there without a download."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@pytest.fixture(scope="session")
def labelled_digits() -> tuple[torch.Tensor, NDArray[np.int64]]:
    """The digits outside the default test set, in random order, and their classes."""
    bunch = load_digits()
    rest, _ = train_test_split(np.arange(1797), test_size=0.5, stratify=bunch.target, random_state=0)
    rows = np.random.default_rng(0).permutation(rest)
    images = np.rint(bunch.images[rows] * 255 / 16).astype(np.uint8)
    return torch.from_numpy(images)[:, None], bunch.target[rows].astype(np.int64)


@pytest.fixture(scope="session")
def digits(labelled_digits: tuple[torch.Tensor, NDArray[np.int64]]) -> torch.Tensor:
    """Their images alone."""
    return labelled_digits[0]
