"""What is missing by alpha, by NaN or by a mask is filled; everything else comes back as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.imputation import folder as files
from stages.impute import impute
from stages.plumbing.errors import UserError

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(1, 255, (6, 9, 8), dtype=np.uint8)
GAPS = RANDOM.random((6, 9, 8)) < 0.3
GAPS[5] = False


def _save(folder: Path, kind: str) -> None:
    (folder / "class").mkdir(parents=True)
    for number, (pixels, gaps) in enumerate(zip(PIXELS, GAPS, strict=True)):
        if kind == "alpha":
            alpha = np.where(gaps, 0, 255).astype(np.uint8)
            Image.merge("LA", [Image.fromarray(pixels), Image.fromarray(alpha)]).save(folder / f"class/{number}.png")
        elif kind == "nan":
            Image.fromarray(np.where(gaps, np.nan, pixels).astype(np.float32)).save(folder / f"class/{number}.tif")
        else:
            Image.fromarray(pixels).save(folder / f"class/{number}.png")
            (folder.parent / "masks/class").mkdir(parents=True, exist_ok=True)
            Image.fromarray(gaps).save(folder.parent / f"masks/class/{number}.png")


@pytest.mark.parametrize("kind", ["alpha", "nan", "mask"])
def test_gaps_are_found_and_filled_and_the_rest_comes_back(tmp_path: Path, kind: str) -> None:
    _save(tmp_path / "own", kind)
    masks = tmp_path / "masks" if kind == "mask" else None
    names, given = files.read(tmp_path / "own", masks)
    assert np.array_equal(given.missing[:, 0].numpy(), GAPS)
    said = impute(tmp_path / "own", tmp_path / "filled", masks, steps=2, seed=0)
    written = sorted((tmp_path / "filled/class").iterdir())
    assert len(written) == len(names) == 6
    for path, pixels, gaps in zip(written, PIXELS, GAPS, strict=True):
        image = Image.open(path)
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image)[~gaps], pixels[~gaps])
    assert "1 of them had no gap" in said[1]


def test_colour_stays_colour(tmp_path: Path) -> None:
    rgba = RANDOM.integers(0, 2, (3, 8, 8, 4), dtype=np.uint8) * np.uint8(255)
    for number, image in enumerate(rgba):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    _, given = files.read(tmp_path, None)
    assert torch.equal(given.images, torch.from_numpy(rgba[..., :3].transpose(0, 3, 1, 2).copy()))
    assert np.array_equal(given.missing[:, 0].numpy(), rgba[..., 3] == 0)


@pytest.mark.parametrize(
    ("sizes", "mask", "told"),
    [
        ([], None, "has no images"),
        ([(8, 8), (8, 9)], None, "2 sizes"),
        ([(8, 200)], None, "8 x 200 pixels, at most 128"),
        ([(8, 8)], (9, 8), "has 9 x 8 pixels, but its image 8 x 8"),
        ([(8, 8)], (), "each image needs a mask"),
        ([(8, 8)], None, "no image has a missing pixel"),
    ],
)
def test_what_cannot_be_filled_is_told_and_nothing_written(
    tmp_path: Path, sizes: list[tuple[int, int]], mask: tuple[int, int] | tuple[()] | None, told: str
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "masks").mkdir()
    for number, size in enumerate(sizes):
        Image.new("L", size).save(tmp_path / f"own/{number}.png")
    if mask:
        Image.new("L", mask).save(tmp_path / "masks/0.png")
    with pytest.raises(UserError, match=told):
        impute(tmp_path / "own", tmp_path / "filled", None if mask is None else tmp_path / "masks", steps=1, seed=0)
    assert not (tmp_path / "filled").exists()
