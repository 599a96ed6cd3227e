"""Damaged and hostile inputs of every kind end in success or in words, in bounded time and memory: never a traceback.

A few hundred cases run in the suite, more than 10,000 in the drills; they are the same in every run.
"""

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from stages.imaging import parquet as files
from stages.imaging.decoding import BadItem, decode
from stages.imaging.files import labelled_images
from stages.plumbing import images, params
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.sources.ingest import ingest
from stages.sources.kinds import audio, parquet
from stages.sources.params import AudioParams, ImageParams, ParquetParams
from tests.conftest import DEFAULT_PARAMS
from tests.security.conftest import Limits

SECONDS, MEBIBYTES = 60, 1600  # for an image of the most pixels allowed
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8))
PARAMS_TEXT = DEFAULT_PARAMS.read_text()
PARAMS = YAML(typ="safe", pure=True).load(PARAMS_TEXT)
# What means something to YAML, to pydantic or to Python where it stands in a wrong place.
FRAGMENTS = [
    *(": ", "- ", "? ", "&a ", "*a", "<<: *a", "!!int ", "!!bool ", "!!timestamp ", "!!binary ", "!!python/name:os "),
    *(
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "|",
        ">",
        "#",
        "%",
        "\t",
        "\n",
        "\n---\n",
        "\x00",
        "\x85",
        "\u2028",
        "\\ud800",
        "é",
    ),
    *("0x" + "f" * 4000, "9" * 5000, "1e999", ".nan", ".inf", "-1", "2001-99-99", "1:99:99", "[" * 400, "(" * 2000),
]
SCALARS = [
    *(
        None,
        True,
        -1,
        0,
        2**63,
        10**4000,
        0.5,
        -0.0,
        float("inf"),
        "",
        "x",
        "\x1b[2J",
        "\ud800",
        "../x",
        "(a{9999999999})",
    ),
    *("none", "digits", "dask", [], {}, [[]], {"": None}, {"kind": "parquet"}, {"kind": []}, {"share": 1, "count": 1}),
]


def cases(few: int, many: int) -> pytest.MarkDecorator:
    """So many cases in the suite, and so many in the drills."""
    drill = pytest.param(many, marks=pytest.mark.drill)
    return pytest.mark.parametrize("count", [few, drill] if few else [drill])


def run(check: Callable[[], None], count: int) -> None:
    settings(max_examples=count, suppress_health_check=list(HealthCheck), database=None)(check)()


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """One of the samples with up to eight runs of bytes replaced, most of them within its header or near its end."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 8))):
        near = draw(st.sampled_from([40, len(data)]))
        at = draw(st.integers(0, min(near, len(data))))
        if draw(st.booleans()):
            at = len(data) - at
        removed = draw(st.sampled_from([0, 1, 1, 2, 4, 4, len(data)]))
        data[at : at + removed] = draw(st.binary(max_size=8))
    return bytes(data)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures() -> list[bytes]:
    kinds = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP")
    exif = Image.Exif()
    exif[0x0112] = 6
    modes = {"PNG": ["1", "L", "LA", "P", "RGBA", "I;16"], "TIFF": ["1", "CMYK", "F", "I", "LAB", "YCbCr"]}
    return [
        *(encoded(NOISE, kind) for kind in kinds),
        *(encoded(_in_mode(mode), kind) for kind, each in modes.items() for mode in each),
        *(encoded(NOISE, "TIFF", compression=each) for each in ("tiff_lzw", "jpeg", "tiff_deflate", "packbits")),
        encoded(NOISE, "JPEG", exif=exif, progressive=True),
        encoded(NOISE, "MPO", save_all=True, append_images=[NOISE]),
        encoded(NOISE.convert("P"), "PNG", transparency=3),
    ]


def _in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.merge("LAB", NOISE.split())
    return NOISE.convert("L").convert(mode) if mode in ("F", "I", "I;16") else NOISE.convert(mode)


@cases(200, 6000)
def test_images(count: int, within: Limits) -> None:
    @given(
        data=damaged(pictures()),
        channels=st.sampled_from(["grey", "rgb"]),
        fit=st.sampled_from(["pad", "crop", "stretch"]),
    )
    def check(data: bytes, channels: str, fit: str) -> None:
        wanted = ImageParams.model_validate({"size": 8, "channels": channels, "fit": fit, "flip_ok": False})
        with within(SECONDS, MEBIBYTES):
            try:
                item: Image.Image | BadItem = decode(data)
            except BadItem as bad:
                item = bad
            result = ingest(["a.png"], [item], wanted)
        assert len(result.pixels) + len(result.bad) == 1

    run(check, count)


@cases(0, 400)
def test_recordings(count: int, within: Limits) -> None:
    import soundfile

    fields = {"kind": "audio", "path": "x", "sample_rate": 8000, "clip_seconds": 1, "window_seconds": 0.032}
    wanted = AudioParams.model_validate(fields | {"hop_seconds": 0.016, "mel_bands": 16, "range_decibels": 80})
    samples = []
    for kind in ("WAV", "FLAC", "OGG", "AIFF", "AU", "CAF", "W64", "MP3"):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.random.default_rng(0).normal(size=2000) / 9, 8000, format=kind)
        samples.append(buffer.getvalue())

    @given(data=damaged(samples))
    def check(data: bytes) -> None:
        with within(SECONDS, 2 * MEBIBYTES), contextlib.suppress(BadItem):
            audio.spectrogram(audio.clip(data, wanted), wanted)

    run(check, count)


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=3, **options)
    return buffer.getvalue()


def image_table() -> pa.Table:
    column = pa.array([{"bytes": encoded(NOISE, "PNG"), "path": f"../{row}.png"} for row in range(6)])
    table = pa.table({"image": column, "label": [0, 1] * 3, "id": list("abcdef"), "group": ["x", None] * 3})
    features = {"info": {"features": {"label": {"names": ["a", "b"]}}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(features)})


def read_source(path: Path, data: bytes) -> None:
    """Lists and reads a file of these bytes as `prepare` would."""
    path.write_bytes(data)
    files._row_group.cache_clear()  # a path stands for one content in a run
    files._row_group_ends.cache_clear()
    columns = {"image_column": "image", "label_column": "label", "group_column": "group"}
    wanted = ParquetParams.model_validate({"kind": "parquet", "path": str(path)} | columns)
    with contextlib.suppress(UserError):
        locators = parquet.find(wanted).locators
        assert len(list(parquet.read(wanted, locators))) == len(locators)
    with contextlib.suppress(UserError):  # and as kind `external` would
        labelled_images(path, ["a", "b"], ImageParams(size=8, channels="grey", fit="pad", flip_ok=False))


@cases(80, 1500)
def test_damaged_parquet(count: int, within: Limits, tmp_path: Path) -> None:
    table = image_table()
    samples = [
        parquet_bytes(table, compression="none"),
        parquet_bytes(table, compression="zstd", store_schema=False),
        parquet_bytes(table.set_column(1, "label", pa.array(list("xyxyxy"))), use_dictionary=False),
    ]

    @given(data=damaged(samples))
    def check(data: bytes) -> None:
        with within(SECONDS, MEBIBYTES):
            read_source(tmp_path / "a.parquet", data)

    run(check, count)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns of any type under the names that mean something, twice the same name, and metadata of any JSON."""
    png = encoded(NOISE, "PNG")
    columns = [
        *(pa.array([0, 1, None]), pa.array([0.5, 1, None]), pa.array([-1, 2**62, 0]), pa.array([True, False, None])),
        *(pa.array(["a", "b", None]), pa.array(["a\n", "\x1b[2J", ""]), pa.array([b"\xff", b"", None]), pa.nulls(3)),
        *(pa.array(["a", "b", "a"]).dictionary_encode(), pa.array([[0], [], None]), pa.array([{"a": 1}, None, {}])),
        *(
            pa.array([png, b"x", None]),
            pa.array([{"bytes": png}, {"bytes": b""}, None]),
            pa.array([{"bytes": "x"}] * 3),
        ),
        pa.array(
            [{"bytes": png, "path": "/etc/passwd"}, {"bytes": None, "path": "../../x"}, {"bytes": png, "path": ""}]
        ),
        pa.array([{"bytes": png}, {"bytes": png}, None], pa.struct([("bytes", pa.large_binary())])),
        *(
            pa.array([0, 1, 2], pa.timestamp("us")),
            pa.array([0, 1, 2], pa.decimal128(5)),
            pa.array([0, 1, 2], pa.uint64()),
        ),
    ]
    names = draw(
        st.lists(st.sampled_from(["image", "label", "group", "id", "image.bytes", ""]), min_size=2, max_size=7)
    )
    names = draw(st.sampled_from([["image", "label", "group"], ["image", "label", "group", "id"], names]))
    table = pa.Table.from_arrays([draw(st.sampled_from(columns)) for _ in names], names)
    leaf = st.sampled_from([None, 0, "a", "\ud800", "\x1b", ["a", "b"], ["a", "b", "c"], [1, 2], [None], "[" * 3000])
    keys = st.sampled_from(["info", "features", "label", "names"])
    nested = st.recursive(leaf, lambda inner: st.dictionaries(keys, inner, max_size=2) | st.lists(inner, max_size=2))
    names_of_classes = nested | st.builds(lambda each: {"info": {"features": {"label": {"names": each}}}}, nested)
    metadata = st.builds(json.dumps, names_of_classes) | st.sampled_from(["", "{", "[" * 3000, "\u2028"])
    return table.replace_schema_metadata({"huggingface": draw(metadata)})


@cases(60, 1000)
def test_parquet_of_any_layout(count: int, within: Limits, tmp_path: Path) -> None:
    @given(table=tables())
    def check(table: pa.Table) -> None:
        try:
            data = parquet_bytes(table)
        except (pa.ArrowException, ValueError):  # no such file exists
            return
        with within(SECONDS, MEBIBYTES):
            read_source(tmp_path / "a.parquet", data)

    run(check, count)


@cases(40, 600)
def test_damaged_artifacts(count: int, within: Limits, tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    images.write(path, ImageSet(np.array(list("abcde")), pixels, np.arange(5) % 2), ["a", "b"])

    @given(data=damaged([path.read_bytes()]))
    def check(data: bytes) -> None:
        damaged_path = tmp_path / "damaged.parquet"
        damaged_path.write_bytes(data)
        for read in (images.read, images.count, lambda each: list(images.read_blocks(each))):
            with within(SECONDS, MEBIBYTES), contextlib.suppress(UserError):
                read(damaged_path)

    run(check, count)


def check_params(path: Path, data: bytes) -> None:
    """Reads parameters of these bytes; what is refused is refused in few words that any terminal can show."""
    path.write_bytes(data)
    try:
        params.load(path)
    except UserError as error:
        message = str(error)
        assert len(message) < 50_000
        assert all(letter.isprintable() for letter in message.replace("\n", ""))


@cases(40, 1200)
def test_text_of_parameters(count: int, within: Limits, tmp_path: Path) -> None:
    edit = st.tuples(
        st.integers(0, len(PARAMS_TEXT)), st.integers(0, 40), st.sampled_from(FRAGMENTS) | st.text(max_size=3)
    )

    @given(edits=st.lists(edit, min_size=1, max_size=4), spoilt=st.sampled_from([False, False, False, True]))
    def check(edits: list[tuple[int, int, str]], spoilt: bool) -> None:
        text = PARAMS_TEXT
        for at, removed, inserted in edits:
            text = text[:at] + inserted + text[at + removed :]
        data = text.encode("utf-8", "surrogatepass")
        with within(SECONDS, 300):
            check_params(tmp_path / "params.yaml", data[1:] + b"\xff" if spoilt else data)

    run(check, count)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) in a nested value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@cases(30, 800)
def test_values_of_parameters(count: int, within: Limits, tmp_path: Path) -> None:
    def spoil(values: Any, data: st.DataObject) -> None:
        container, key = data.draw(st.sampled_from(places(values)))
        kind = data.draw(st.sampled_from(["replace", "remove", "rename"]))
        if kind == "replace":
            container[key] = copy.deepcopy(data.draw(st.sampled_from(SCALARS)))
        else:
            removed = container.pop(key)
            if kind == "rename" and isinstance(container, dict):
                container[data.draw(st.sampled_from(["", "kind", "\x1b[2J", "x" * 5000, "é"]))] = removed

    @given(data=st.data(), changes=st.integers(1, 3))
    def check(data: st.DataObject, changes: int) -> None:
        values = copy.deepcopy(PARAMS)
        for _ in range(changes):
            spoil(values, data)
        with within(SECONDS, 300):
            check_params(tmp_path / "params.yaml", json.dumps(values).encode())  # JSON is YAML too

    run(check, count)
