"""Images with gaps, from a folder and back into one: what is transparent, no number, or marked by a mask is missing."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import BadItem, decode, image_suffixes, read_bytes
from stages.imaging.marks import REMEDY, is_marked
from stages.imaging.normalise import eight_bits
from stages.imputation.gain import Incomplete
from stages.plumbing.errors import UserError

LARGEST = 128  # pixels a side


def read(folder: Path, masks: Path | None) -> tuple[list[str], Incomplete]:
    """Names, relative to the folder, and images with their gaps, in the order of the names; grey where all are grey.

    masks: a folder of images of the same names and sizes, not black where a pixel is missing; else a pixel is missing
    where it is wholly transparent, or no number (NaN, in a TIFF of floats).

    Raises:
        UserError: nothing is there, an image cannot be read or is too large, sizes differ, or masks do not fit.
    """
    names = sorted(
        each.relative_to(folder).as_posix()
        for each in folder.rglob("*")
        if each.is_file() and each.name.lower().endswith(tuple(image_suffixes()))
    )
    if not names:
        raise UserError(f"{folder} has no images")
    pairs = [_with_gaps(folder, name) for name in names]
    sizes = {image.size for image, _ in pairs}
    if len(sizes) > 1:
        raise UserError(f"the images of {folder} are of {len(sizes)} sizes: bring them to one first")
    (size,) = sizes
    if max(size) > LARGEST:
        raise UserError(
            f"the images of {folder} have {size[0]} x {size[1]} pixels, at most {LARGEST} a side are filled"
        )
    mode = "L" if all(image.mode == "L" for image, _ in pairs) else "RGB"
    pixels = np.stack([np.atleast_3d(np.asarray(image.convert(mode))) for image, _ in pairs]).transpose(0, 3, 1, 2)
    gaps = [gap for _, gap in pairs] if masks is None else [_mask(masks, name, size) for name in names]
    return names, Incomplete(torch.from_numpy(pixels.copy()), torch.from_numpy(np.stack(gaps)[:, None]))


def write(folder: Path, names: list[str], images: torch.Tensor) -> None:
    """PNG files of images uint8 (N, C, H, W) under these names."""
    for name, image in zip(names, images.numpy(), strict=True):
        path = folder / (name if name.lower().endswith(".png") else f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(path)


def _opened(folder: Path, name: str) -> Image.Image:
    try:
        image = decode(read_bytes(folder, name))
    except BadItem as bad:
        raise UserError(f"{folder / name} {bad.reason}") from None
    if is_marked(image):  # what is written here has no mark any more
        raise UserError(f"{folder / name} has the mark of a synthetic image: {REMEDY}")
    return image


def _with_gaps(folder: Path, name: str) -> tuple[Image.Image, NDArray[np.bool_]]:
    """An image of mode L or RGB, and its missing pixels (H, W)."""
    image = _opened(folder, name)
    if image.mode == "F":
        values = np.array(image)
        missing = np.isnan(values)
        try:
            return eight_bits(Image.fromarray(np.where(missing, 0, values).astype(np.float32))), missing
        except BadItem as bad:
            raise UserError(f"{folder / name} {bad.reason}") from None
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = eight_bits(image)
    missing = np.zeros(image.size[::-1], dtype=bool)
    if image.has_transparency_data:
        missing = np.asarray(image.convert("RGBA"))[..., 3] == 0
    return image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"), missing


def _mask(folder: Path, name: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    if not (folder / name).is_file():
        raise UserError(f"{folder / name} is missing: each image needs a mask of its name")
    mask = _opened(folder, name).convert("L")
    if mask.size != size:
        raise UserError(
            f"the mask {folder / name} has {mask.width} x {mask.height} pixels, but its image {size[0]} x {size[1]}"
        )
    return np.asarray(mask) > 0
