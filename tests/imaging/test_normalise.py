import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from stages.imaging.decoding import BadItem, decode
from stages.imaging.normalise import to_pixels
from stages.sources.params import ImageParams

FITS = ["pad", "crop", "stretch"]
MODES = ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16", "I;16B"]


def make_params(**changes: object) -> ImageParams:
    return ImageParams.model_validate({"size": 16, "channels": "rgb", "fit": "pad", "flip_ok": True} | changes)


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)


def grey(values: object, dtype: type = np.uint16, **changes: object) -> np.ndarray:
    """Pixels (N, N) of a native-size image of these values (N, N) or scalars repeated in it."""
    array = np.asarray(values, dtype)
    square = np.resize(array, (8, 8))
    return to_pixels(Image.fromarray(square), make_params(size=8, channels="grey", **changes))[0].ravel()[: array.size]


def through_file(image: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode(buffer.getvalue())


@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    size=st.integers(8, 33),
    channels=st.sampled_from(["grey", "rgb"]),
    fit=st.sampled_from(FITS),
    mode=st.sampled_from(MODES),
)
def test_every_image_gets_the_size_and_channels_asked_for(
    width: int, height: int, size: int, channels: str, fit: str, mode: str
) -> None:
    image = Image.new(mode, (width, height))
    pixels = to_pixels(image, make_params(size=size, channels=channels, fit=fit))
    assert pixels.shape == (3 if channels == "rgb" else 1, size, size)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_extreme_shapes_keep_their_colour(fit: str, shape: tuple[int, int]) -> None:
    assert np.all(to_pixels(Image.new("RGB", shape, (10, 20, 30)), make_params(fit=fit)).T == (10, 20, 30))


@pytest.mark.parametrize("fit", FITS)
def test_an_image_of_the_wanted_size_keeps_its_pixels(fit: str) -> None:
    colour, dark = noise(16, 16), noise(16, 16, channels=1)
    assert np.array_equal(np.moveaxis(to_pixels(colour, make_params(fit=fit)), 0, -1), np.asarray(colour))
    assert np.array_equal(to_pixels(dark, make_params(fit=fit, channels="grey"))[0], np.asarray(dark))


def test_colour_becomes_luma_and_grey_is_repeated() -> None:
    colour, dark = noise(16, 16), noise(16, 16, channels=1)
    red, green, blue = np.moveaxis(np.asarray(colour, dtype=float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    assert np.max(np.abs(to_pixels(colour, make_params(channels="grey"))[0] - luma)) <= 0.51
    assert all(np.array_equal(channel, np.asarray(dark)) for channel in to_pixels(dark, make_params()))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("flip", [ImageOps.mirror, ImageOps.flip])
@pytest.mark.parametrize("shape", [(40, 27), (27, 40), (9, 14), (16, 15), (17, 16)])
def test_a_flipped_image_gives_flipped_pixels(fit: str, flip: object, shape: tuple[int, int]) -> None:
    image, axis = noise(*shape), 2 if flip is ImageOps.mirror else 1
    straight = to_pixels(image, make_params(fit=fit)).astype(int)
    flipped = to_pixels(flip(image), make_params(fit=fit)).astype(int)  # type: ignore[operator]
    assert np.max(np.abs(np.flip(flipped, axis) - straight)) <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "transposed"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_270),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_exif_orientation_is_applied(fit: str, kind: str, orientation: int, transposed: Image.Transpose | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = through_file(noise(40, 24), kind, **options)
    upright = stored if transposed is None else stored.transpose(transposed)
    tagged = through_file(noise(40, 24), kind, exif=exif, **options)
    params = make_params(fit=fit)
    assert np.array_equal(to_pixels(tagged, params), to_pixels(upright, params))


def test_damaged_exif_leaves_the_image_as_stored() -> None:
    image = noise(16, 16)
    image.info["exif"] = b"Exif\x00\x00nonsense"
    assert np.array_equal(np.moveaxis(to_pixels(image, make_params()), 0, -1), np.asarray(image))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("side", [64, 160])
def test_a_fine_checkerboard_becomes_grey(fit: str, side: int) -> None:
    board = np.indices((side, side)).sum(axis=0) % 2 * 255
    pixels = to_pixels(Image.fromarray(board.astype(np.uint8)), make_params(fit=fit, channels="grey"))
    assert np.all(np.abs(pixels.astype(int) - 127) <= 3)


@pytest.mark.parametrize(("width", "height"), [(600, 200), (200, 600), (640, 480), (160, 80), (13, 17)])
def test_pad_shows_the_whole_image_in_proportion_and_centred(width: int, height: int) -> None:
    image = Image.new("L", (width, height), 50)
    image.paste(200, (width // 4, height // 4, width - width // 4, height - height // 4))
    pixels = to_pixels(image, make_params(channels="grey", size=32))[0]
    for axis, side in ((1, height), (0, width)):
        lit = np.flatnonzero(np.any(pixels > 125, axis=axis))
        assert lit[0] == 31 - lit[-1]
        assert abs(len(lit) - 32 * (side - 2 * (side // 4)) / max(width, height)) <= 1.5


def test_pad_continues_the_median_of_the_edge() -> None:
    image = Image.new("RGB", (32, 16), (250, 240, 230))
    image.paste((0, 0, 0), (4, 4, 28, 12))
    image.putpixel((0, 0), (0, 255, 0))
    pixels = to_pixels(image, make_params(size=32))
    assert np.all(pixels[:, :8].T == (250, 240, 230))
    assert np.all(pixels[:, 24:].T == (250, 240, 230))
    assert np.array_equal(np.moveaxis(pixels[:, 8:24], 0, -1), np.asarray(image))


def test_crop_keeps_the_central_square() -> None:
    image = noise(48, 16)
    pixels = to_pixels(image, make_params(fit="crop"))
    assert np.array_equal(np.moveaxis(pixels, 0, -1), np.asarray(image)[:, 16:32])


def test_stretch_shows_everything() -> None:
    halves = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 50, axis=1).repeat(20, axis=0))
    pixels = to_pixels(halves, make_params(fit="stretch", channels="grey"))[0]
    assert np.all(pixels[:, :6] == 0)
    assert np.all(pixels[:, 10:] == 255)


@pytest.mark.parametrize("channels", ["grey", "rgb"])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparency_shows_white_and_opacity_nothing_else(mode: str, channels: str) -> None:
    params = make_params(channels=channels)
    base = noise(16, 16, channels=1) if mode == "LA" else noise(16, 16).convert("P").convert("RGB")
    image = base.convert("RGB").convert(mode)
    opaque = image.copy()
    image.putalpha(0)
    assert np.all(to_pixels(image, params) == 255)
    assert np.array_equal(to_pixels(opaque, params), to_pixels(opaque.convert("RGB"), params))


def test_half_transparent_black_is_mid_grey() -> None:
    assert np.all(to_pixels(Image.new("RGBA", (16, 16), (0, 0, 0, 128)), make_params()) == 127)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_shows_white(kind: str) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 16, 8))
    pixels = to_pixels(through_file(image, kind, transparency=0), make_params())
    assert np.all(pixels[:, :8] == 255)
    assert np.all(pixels[:, 8:].T == (0, 0, 255))


def test_a_transparent_colour_without_palette_shows_white() -> None:
    image = Image.new("RGB", (16, 16), (1, 2, 3))
    assert np.all(to_pixels(through_file(image, "PNG", transparency=(1, 2, 3)), make_params()) == 255)


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.eye(16, dtype=bool))
    assert np.array_equal(to_pixels(image, make_params(channels="grey"))[0], np.eye(16) * 255)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces_show_the_same_colours(mode: str) -> None:
    for colour in ((255, 0, 0), (0, 128, 255), (255, 255, 255), (0, 0, 0)):
        image = Image.new("RGB", (16, 16), colour).convert(mode)
        assert np.max(np.abs(to_pixels(image, make_params()).T.astype(int) - colour)) <= 5


def test_lab_shows_the_same_colours() -> None:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    for colour in ((255, 0, 0), (200, 180, 40), (255, 255, 255), (0, 0, 0)):
        image = ImageCms.profileToProfile(Image.new("RGB", (16, 16), colour), srgb, lab, outputMode="LAB")
        assert image is not None
        assert np.max(np.abs(to_pixels(through_file(image, "TIFF"), make_params()).T.astype(int) - colour)) <= 6


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_each_depth_in_sixteen_bits_spans_black_to_white(bits: int) -> None:
    top = 2**bits - 1
    assert grey([0, top // 2, top]).tolist() == [0, 127, 255]


def test_eight_bits_in_sixteen_are_unchanged_and_sixteen_are_divided() -> None:
    eight = np.arange(192, 256)
    assert np.array_equal(grey(eight), eight)
    assert np.array_equal(grey(eight * 257), eight)


def test_brightness_is_kept_between_images_of_one_depth() -> None:
    assert grey([0, 1500]).tolist() == [0, round(1500 / 4095 * 255)]
    assert grey([500, 3000]).tolist() == [round(500 / 4095 * 255), round(3000 / 4095 * 255)]


def test_negative_and_larger_values_span_the_image_s_own_range() -> None:
    assert grey([-1000, 0, 1000], np.int32).tolist() == [0, 128, 255]
    assert grey([100_000, 200_000], np.int32).tolist() == [0, 255]
    assert grey([-5, -5], np.int32).tolist() == [0, 0]


def test_floats_from_0_to_1_keep_their_scale() -> None:
    assert grey([0.0, 0.2, 0.8], np.float32).tolist() == [0, 51, 204]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(BadItem, match="infinite or no numbers: mend or remove it") as caught:
        grey([0.5, value], np.float32)
    assert caught.value.fault == "not_a_number"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_files_are_read_in_depth(kind: str) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = to_pixels(through_file(Image.fromarray(ramp), kind), make_params(size=8, channels="grey"))[0]
    assert np.max(np.abs(pixels - ramp / 257)) <= 0.51


@pytest.mark.parametrize("mode", MODES)
def test_the_image_given_is_not_changed_and_nothing_warns(mode: str) -> None:
    image = Image.new(mode, (20, 30))
    before = image.tobytes()
    with warnings.catch_warnings(action="error"):
        first, second = (to_pixels(image, make_params()) for _ in range(2))
    assert image.tobytes() == before
    assert np.array_equal(first, second)
