"""Published sets say that they are synthetic, in a way that other programs keep, and that tells what was altered."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stages.comparison.release import manifest
from stages.imaging import marks
from stages.plumbing import images
from stages.plumbing.images import ImageSet

SAYS = manifest("gan", "projection", "0123abcd")


def published(channels: int = 1) -> pa.Table:
    pixels = np.random.default_rng(0).integers(0, 256, (4, channels, 6, 6), dtype=np.uint8)
    extra = {"replicate": np.array([0, 0, 1, 1])}
    made = ImageSet(np.array(list("abcd")), pixels, np.array([0, 1, 0, 1]), extra=extra)
    return marks.marked_table(images.as_table(made, ["cat", "dog"]), SAYS)


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def pngs(table: pa.Table) -> list[bytes]:
    return [each["bytes"] for each in table["image"].to_pylist()]


def with_text(image: Image.Image, text: str) -> Image.Image:
    """The image, saved with this text in the place of its mark."""
    chunk, file = PngInfo(), io.BytesIO()
    chunk.add_text(marks.KEY, text)
    image.save(file, "PNG", pnginfo=chunk)
    return opened(file.getvalue())


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_says_what_made_it_and_keeps_its_pixels(channels: int) -> None:
    table = published(channels)
    for replicate, png in zip([0, 0, 1, 1], pngs(table), strict=True):
        mark = marks.of_image(opened(png))
        assert mark is not None
        assert mark.is_sound
        assert mark.manifest == {**SAYS, "replicate": replicate}
    random = np.random.default_rng(0).integers(0, 256, (4, channels, 6, 6), dtype=np.uint8)
    assert np.array_equal(images.from_table(table).pixels, random)
    assert "huggingface" in {key.decode() for key in table.schema.metadata}, "what `datasets` reads stays"
    whole = marks.of_table(table)
    assert whole is not None
    assert whole.is_sound
    assert whole.manifest == SAYS
    assert SAYS["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert manifest("gan", "infilling", "")["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert "digitalSourceType" not in manifest("theirs", "external", "")


def test_a_rewrite_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("once", "again"):
        images.write_table(tmp_path / name, published())
    assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()


def test_the_images_marks_survive_programs_that_drop_the_schemas(tmp_path: Path) -> None:
    images.write_table(tmp_path / "set.parquet", published())
    frame = pd.read_parquet(tmp_path / "set.parquet")
    frame.to_parquet(tmp_path / "theirs.parquet")  # as `datasets`, it keeps the PNGs, and writes a schema of its own
    theirs = pq.read_table(tmp_path / "theirs.parquet")
    assert marks.is_marked_schema(pq.read_schema(tmp_path / "set.parquet"))
    assert pngs(theirs) == pngs(published())
    assert marks.of_image(opened(frame["image"][3]["bytes"])).manifest["replicate"] == 1  # type: ignore[union-attr]


def _moved(image: Image.Image, other: Image.Image) -> Image.Image:
    return with_text(other, image.info[marks.KEY])


def _reworded(image: Image.Image, _other: Image.Image) -> Image.Image:
    said = json.loads(image.info[marks.KEY])
    return with_text(image, json.dumps(said | {"generated": False}))


def _nonsense(image: Image.Image, _other: Image.Image) -> Image.Image:
    return with_text(image, "[1]")


@pytest.mark.parametrize("tamper", [_moved, _reworded, _nonsense])
def test_a_mark_that_was_moved_or_altered_is_told_and_still_one(tamper: Any) -> None:
    first, second, *_ = map(opened, pngs(published()))
    tampered = tamper(first, second)
    mark = marks.of_image(tampered)
    assert marks.is_marked(tampered)
    assert mark is not None
    assert not mark.is_sound


def test_a_set_in_which_images_were_exchanged_is_told() -> None:
    table = published()
    exchanged = marks.of_table(table.take([1, 0, 2, 3]))
    assert exchanged is not None
    assert not exchanged.is_sound
    assert marks.of_table(table.replace_schema_metadata(None)) is None


def test_a_mark_outlives_other_ways_to_store_the_same_pixels() -> None:
    image = opened(pngs(published())[0])
    mark = marks.of_image(with_text(image.convert("RGB"), image.info[marks.KEY]))
    assert mark is not None
    assert mark.is_sound
