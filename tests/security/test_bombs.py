"""A few kB that stand for gigabytes of pixels or rows are refused in words, or cost no more than is allowed."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.imaging import parquet as files
from stages.imaging.decoding import LARGEST_PIXELS, BadItem, decode
from stages.plumbing.errors import UserError
from stages.sources.kinds import parquet
from stages.sources.params import ParquetParams
from tests.security.conftest import Limits

MUCH = 10**8  # bytes of zero: more than any limit here, and quickly compressed
WIDE_WEBP = bytes.fromhex("524946461a000000574542505650384c0e0000002ffebfff0f071011fd0f4444ff03")  # 16,383 squared


def png(width: int, height: int, data: bytes, *chunks: bytes, bits: int = 1, colour: int = 0) -> bytes:
    """A PNG of any header, with these chunks before its compressed pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(count: int) -> bytes:
    """So many bytes of zero, compressed as zlib does, about a thousandth of it."""
    packer = zlib.compressobj(9)
    block = bytes(10**6)
    return b"".join(packer.compress(block[: min(10**6, count - done)]) for done in range(0, count, 10**6)) + (
        packer.flush()
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def fault_of(data: bytes) -> str:
    with pytest.raises(BadItem) as caught:
        decode(data)
    assert ": " in caught.value.reason  # what is wrong: the remedy
    return caught.value.fault


def wide_tiff() -> bytes:
    data = encoded(Image.new("1", (8, 8)), "TIFF")
    width, height = (struct.pack("<HHII", tag, 4, 1, 8) for tag in (256, 257))
    return data.replace(width, width[:8] + struct.pack("<I", 50_000)).replace(
        height, height[:8] + struct.pack("<I", 50_000)
    )


def many_frames(kind: str) -> bytes:
    frames = [Image.new("L", (8, 8), value % 250) for value in range(300)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def wide_gif() -> bytes:
    data = bytearray(many_frames("GIF"))
    data[6:10] = struct.pack("<HH", 65535, 65535)
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: png(50_000, 50_000, zeros(MUCH)), "too_large"),
        (wide_tiff, "too_large"),
        (lambda: WIDE_WEBP, "too_large"),
        (wide_gif, "too_large"),
        (lambda: many_frames("GIF"), "animated"),
        (lambda: many_frames("TIFF"), "animated"),
        (lambda: png(8, 8, zeros(8 * 2), chunk(b"iCCP", b"x\0\0" + zeros(MUCH))), "truncated"),
        (lambda: png(8, 8, zeros(8 * 2), *[chunk(b"zTXt", b"x\0\0" + zeros(10**6))] * 80), "truncated"),
    ],
    ids=["png", "tiff", "webp", "gif canvas", "gif frames", "tiff pages", "png profile", "png texts"],
)
def test_image_bombs_are_refused_and_cost_nothing(make: object, fault: str, within: Limits) -> None:
    data = make()  # type: ignore[operator]
    assert len(data) < 2 * 10**6
    with within(2, 150):  # 64 MiB are what Pillow allows for texts
        assert fault_of(data) == fault


def test_pixels_beyond_the_header_are_not_unpacked(within: Limits) -> None:
    data = png(8, 8, zeros(MUCH))
    with within(1, 20):
        assert decode(data).size == (8, 8)


@pytest.mark.drill
def test_the_largest_image_allowed_costs_its_pixels(within: Limits) -> None:
    side = 8192
    assert side * side == LARGEST_PIXELS
    data = png(side, side, zeros(side * (4 * side + 1)), bits=8, colour=6)
    with within(20, 300):
        assert decode(data).size == (side, side)


def test_a_jpeg_of_ever_more_scans_is_refused(within: Limits) -> None:
    data = encoded(Image.new("L", (8192, 8192)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]  # the last scan and its table: about 100 bytes that take 0.1 s
    with within(1, 50):
        assert fault_of(data[:-2] + last * 10_000 + data[-2:]) == "too_large"
    small = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    assert decode(small[:-2] + small[small.rindex(b"\xff\xc4") : -2] * 100 + small[-2:]).size == (64, 64)


def params_of(path: Path) -> ParquetParams:
    fields = {"image_column": "image", "label_column": "label", "group_column": None}
    return ParquetParams.model_validate({"kind": "parquet", "path": str(path)} | fields)


def dot() -> bytes:
    return encoded(Image.fromarray(np.zeros((2, 2), np.uint8)), "PNG")


def test_a_value_repeated_is_held_once(tmp_path: Path, within: Limits) -> None:
    path = tmp_path / "a.parquet"
    large = dot() + bytes(2**20)
    images = pa.DictionaryArray.from_arrays(np.zeros(1000, np.int32), [large])
    table = pa.table({"image": images, "label": [0, 1] * 500})
    pq.write_table(table, path, compression="zstd", store_schema=False, dictionary_pagesize_limit=2**22)
    assert path.stat().st_size < 10**4
    with within(2, 50):  # 1 GB, if each were held
        locators = parquet.find(params_of(path)).locators
        (image,) = parquet.read(params_of(path), locators[-1:])
        assert isinstance(image, Image.Image)


def test_a_row_group_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, within: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST_ROW_GROUP", 10**8)
    path = tmp_path / "a.parquet"
    images = [dot() + bytes(10**6 + row) for row in range(120)]
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 60}), path, compression="zstd", use_dictionary=False)
    del images
    assert path.stat().st_size < 10**5
    locators = parquet.find(params_of(path)).locators
    with within(1, 20), pytest.raises(UserError, match=r"row group 0 has 0.1 GiB of images, unpacked: write"):
        list(parquet.read(params_of(path), locators))


def test_rows_without_end_are_refused(tmp_path: Path, within: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_ROWS", 10**5)
    path = tmp_path / "a.parquet"
    rows = 2 * 10**6
    pq.write_table(
        pa.table({"image": pa.array([b""]).take(np.zeros(rows, np.int8)), "label": np.zeros(rows, np.int64)}), path
    )
    assert path.stat().st_size < 20_000
    with within(1, 20), pytest.raises(UserError, match=r"has more than 100,000 rows: spread them"):
        parquet.find(params_of(path))


@pytest.mark.parametrize("column", ["label", "id"])
def test_a_long_name_in_many_rows_is_refused(tmp_path: Path, within: Limits, column: str) -> None:
    path = tmp_path / "a.parquet"
    rows = 3000
    names = pa.DictionaryArray.from_arrays(np.arange(rows, dtype=np.int32) % 2, ["x" * 10**5, "y" * 10**5])
    labels = pa.array(np.arange(rows) % 2)
    pq.write_table(pa.table({"image": [dot()] * rows, "label": labels} | {column: names}), path)
    assert path.stat().st_size < 10**5
    with within(2, 50), pytest.raises(UserError, match=f"column '{column}' has a value of 100,000 characters: shorten"):
        parquet.find(params_of(path))


@pytest.mark.parametrize("column", ["group", "id"])
def test_lists_in_place_of_names_are_refused(tmp_path: Path, column: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [dot()] * 2, "label": [0, 1], column: [["a"], ["b"]]}), path)
    params = params_of(path).model_copy(update={"group_column": "group"} if column == "group" else {})
    with pytest.raises(UserError, match=f"column '{column}' must hold integers or strings"):
        parquet.find(params)


@pytest.mark.parametrize(
    "names",
    [
        "[" * 10_000,
        json.dumps(5),
        json.dumps({"info": []}),
        json.dumps({"info": {"features": {"label": {"names": "ab"}}}}),
        json.dumps({"info": {"features": {"label": {"names": [1, 2]}}}}),
        json.dumps({"info": {"features": {"label": {"names": ["a", "a"]}}}}),
        json.dumps({"info": {"features": {"label": {"names": {"a": 0}}}}}),
    ],
    ids=range(7),
)
def test_metadata_of_another_form_are_told_in_words(tmp_path: Path, names: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [dot()] * 2, "label": [0, 1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": names}), path)
    with pytest.raises(UserError, match="do not name the classes as `datasets` does"):
        parquet.find(params_of(path))
