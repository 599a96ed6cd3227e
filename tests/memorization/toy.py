"""Parameters, images without meaning, and a filter for them."""

import numpy as np
import torch

from stages.memorization.filtering import MemorizationFilter, Originals
from stages.memorization.params import FilterMemorizedParams

PARAMS = FilterMemorizedParams(
    alpha=0.05,
    guarantee="on_average",
    thresholds="pooled",
    too_few="stop",
    by_group=True,
    neighbours=5,
    shift_pixels=1,
    blurred_view=False,
    backbone=None,
    planted_copies=20,
    seed=0,
    device="cpu",
)


def random_images(count: int, seed: int, size: tuple[int, int, int] = (1, 8, 8)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


def make(seen: torch.Tensor, calibration: torch.Tensor, flip_ok: bool = False, **changes: object) -> MemorizationFilter:
    """A filter for originals without groups and labels."""
    return MemorizationFilter(Originals(seen, calibration, flip_ok), PARAMS.model_copy(update=changes))
