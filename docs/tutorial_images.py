"""Writes the images of the tutorial to data/raw/my_images: handwritten digits that are easily confused.

They come with scikit-learn. Of each of four classes, 12 go into `train`, 60 into `test`, and the others into
`unlabelled`, as if nobody had looked at them.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path("data/raw/my_images")
CLASSES = {3: "three", 5: "five", 8: "eight", 9: "nine"}
TRAIN, TEST = 12, 60  # images of each class


def main() -> None:
    """Writes PNG files of 8 x 8 grey pixels."""
    images, digits = load_digits(return_X_y=True)
    for digit, name in CLASSES.items():
        for place, row in enumerate(np.flatnonzero(digits == digit)):
            part = f"train/{name}" if place < TRAIN else f"test/{name}" if place < TRAIN + TEST else "unlabelled"
            file = FOLDER / part / f"{row:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(images[row].reshape(8, 8) * 255 / 16).astype(np.uint8)).save(file)


if __name__ == "__main__":
    main()
