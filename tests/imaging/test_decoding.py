import contextlib
import io
import pickle
import resource
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from stages.imaging.decoding import LARGEST_PIXELS, BadItem, decode

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8))
LOSSLESS = ["BMP", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF"]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def empty_png(width: int, height: int) -> bytes:
    """A PNG whose header promises pixels that its few bytes do not hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def fault_of(data: bytes) -> str:
    with pytest.raises(BadItem) as caught:
        decode(data)
    assert ": " in caught.value.reason  # what is wrong: the remedy
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason  # noqa: S301
    return caught.value.fault


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_come_back_pixel_for_pixel(kind: str) -> None:
    assert np.array_equal(np.asarray(decode(encoded(NOISE, kind))), np.asarray(NOISE))


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "JPEG", "JPEG2000", "WEBP"])
def test_other_formats_are_read_as_pillow_reads_them(kind: str) -> None:
    data = encoded(NOISE, kind)
    assert np.array_equal(np.asarray(decode(data)), np.asarray(Image.open(io.BytesIO(data))))


def test_modes_are_kept() -> None:
    assert decode(encoded(NOISE.convert("CMYK"), "TIFF")).mode == "CMYK"
    assert decode(encoded(NOISE.convert("P"), "PNG")).mode == "P"


def test_no_bytes() -> None:
    assert fault_of(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"name,label\na.png,1\n",
        b"\x00" * 500,
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",  # Pillow would start ghostscript
        bytes(np.random.default_rng(1).integers(0, 256, 500, dtype=np.uint8)),
    ],
)
def test_what_is_no_image_is_not_decoded(data: bytes) -> None:
    assert fault_of(data) == "undecodable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_cut_off_in_its_pixels_is_truncated(kind: str) -> None:
    data = encoded(NOISE, kind)
    assert {fault_of(data[: int(len(data) * share)]) for share in (0.6, 0.8, 0.95)} == {"truncated"}


@pytest.mark.parametrize("kind", [*LOSSLESS, "AVIF", "GIF", "JPEG", "JPEG2000", "WEBP"])
def test_no_cut_gives_wrong_pixels(kind: str) -> None:
    data = encoded(NOISE, kind)
    whole = np.asarray(decode(data))
    for length in np.linspace(1, len(data) - 1, 60).astype(int):
        with contextlib.suppress(BadItem):
            # Where it can be decoded at all, only what follows the pixels was missing.
            assert np.array_equal(np.asarray(decode(data[:length])), whole)


@pytest.mark.parametrize("side", [10_000, 50_000])  # Pillow warns of the first and refuses the second
def test_a_bomb_costs_no_memory_and_shows_no_warning(side: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert fault_of(empty_png(side, side)) == "too_large"
    assert shown == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB


def test_the_limit_is_exact() -> None:
    height = LARGEST_PIXELS // 1024
    assert fault_of(empty_png(1024, height + 1)) == "too_large"
    assert fault_of(empty_png(1024, height)) == "truncated"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_frames_are_refused_and_one_is_not(kind: str) -> None:
    frames = [NOISE, NOISE.rotate(180)]
    assert fault_of(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == "animated"
    assert decode(encoded(frames[0], kind, save_all=True)).size == NOISE.size


def test_a_photograph_with_a_preview_is_its_first_picture() -> None:
    data = encoded(NOISE, "MPO", save_all=True, append_images=[NOISE.rotate(180)])
    assert np.array_equal(np.asarray(decode(data)), np.asarray(decode(encoded(NOISE, "JPEG"))))
