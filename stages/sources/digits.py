"""The 1,797 handwritten digits that scikit-learn carries: 8x8, grey, ten classes (Alpaydin and Kaynak 1998, UCI)."""

import numpy as np

from stages.plumbing.images import ImageSet

CLASS_NAMES = [str(digit) for digit in range(10)]


def load() -> ImageSet:
    """All digits at their native size, their 17 grey levels spread over 0..255, without groups: writers are unknown."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return ImageSet(
        ids=np.array([f"digits-{index:04d}" for index in range(len(pixels))]),
        pixels=pixels[:, None],
        labels=digits.target.astype(np.int64),
    )
