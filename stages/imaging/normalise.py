"""From an image as its file has it to pixels of one size and one number of channels."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from stages.imaging.decoding import BadItem
from stages.sources.params import ImageParams

# Antialiased in Pillow, and the least distorting of common filters (Parmar et al., "On Aliased Resizing and Surprising
# Subtleties in GAN Evaluation", CVPR 2022); it has no visible ringing, which LANCZOS has on drawings and digits.
_FILTER = Image.Resampling.BICUBIC
_CEILINGS = (1, 255, 1023, 4095, 16383, 65535)  # of masks and floats, and of 8, 10, 12, 14 and 16 bits


def to_pixels(image: Image.Image, params: ImageParams) -> NDArray[np.uint8]:
    """The image as uint8 (C, size, size), C 1 (grey, by luma) or 3 (RGB); a function of `image` and `params` alone.

    EXIF orientation is applied. What is transparent shows white, as on paper and in most viewers: on black, dark
    drawings would vanish. Grey of more than 8 bits and floats are scaled as `_eight_bits` says. An image that has the
    wanted size and 8-bit pixels keeps them bit for bit; every other one is resized with antialiasing:
    `pad` shows all of it, centred, beside its own median edge colour, since bars of another colour would tell a
    network each image's aspect; `crop` shows its central square; `stretch` shows all of it, out of proportion.
    Raises BadItem when pixels are infinite or no numbers.
    """
    plain = _plain(_upright(image))
    pixels = np.array(_fitted(plain.convert("L" if params.channels == "grey" else "RGB"), params, _FILTER))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def to_mask(mask: Image.Image, params: ImageParams) -> NDArray[np.bool_]:
    """Where a region lies in what `to_pixels` makes of an image of the same size: bool (size, size).

    mask: of mode L, black outside the region. Every pixel is in it that it touches; what is padded is outside.
    """
    white = mask.point(lambda value: 255 if value else 0)
    return np.array(_fitted(white, params, Image.Resampling.BOX, border=0)) > 0


def _fitted(
    plain: Image.Image, params: ImageParams, resampling: Image.Resampling, border: int | None = None
) -> Image.Image:
    """The image as a square of the wanted size; border: grey level of what is padded, else the edge's colour."""
    if params.fit == "pad":
        return _pad(plain, params.size, resampling, border)
    if params.fit == "crop":
        return ImageOps.fit(plain, (params.size, params.size), method=resampling)
    return plain.resize((params.size, params.size), resampling)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of any kind: damaged EXIF tells no orientation, and the pixels are as good without
        return image


def _plain(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # it is None only where the image itself is changed
        return converted
    return image if image.mode == "L" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of whole numbers or floats as 8-bit grey.

    Values are measurements, so 0 stays black and all images of a scanner get one scale: white is the largest value of
    the fewest of 8, 10, 12, 14 or 16 bits that hold the image (1 where none exceeds it). A 12-bit radiograph in
    16 bits would look black by the full range, and by its own least and largest value each image would have its own
    brightness. That is what remains for negative values and those above 65535 (Hounsfield units, heights).
    """
    values = np.array(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise BadItem("not_a_number", "has pixels that are infinite or no numbers: mend or remove it")
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= _CEILINGS[-1]:
        low, high = 0.0, next(ceiling for ceiling in _CEILINGS if high <= ceiling)
    values -= low
    values *= 255 / (high - low) if high > low else 0
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _pad(image: Image.Image, size: int, resampling: Image.Resampling, border: int | None) -> Image.Image:
    """The image resized in proportion, with equal borders on opposite sides, so that it is centred exactly."""
    wanted = [size * side / max(image.size) for side in image.size]
    across, above = (min(round((size - length) / 2), (size - 1) // 2) for length in wanted)
    inner = image.resize((size - 2 * across, size - 2 * above), resampling)
    if not across and not above:
        return inner
    return ImageOps.expand(inner, (across, above), _edge_colour(inner) if border is None else border)


def _edge_colour(image: Image.Image) -> int | tuple[int, ...]:
    """Median of each channel over the outermost pixels."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.rint(np.median(edge, axis=0)).astype(int).tolist()
    return tuple(colour) if isinstance(colour, list) else colour
