"""What `python -m stages.provenance` says of images, and of files or a run that it can say nothing of."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import provenance
from stages.comparison.release import manifest
from stages.imaging import marks
from stages.memorization import provenance as noun
from stages.plumbing import images, workdir
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet, encode_png

RUN = "0123456789abcdef"
COUNT = 80


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of one generator in two replicates, dark and bright, beside grey real images; and its files."""
    monkeypatch.chdir(tmp_path)
    for module in ("__init__.py", "memorization/provenance.py"):
        (tmp_path / "stages" / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stages" / module).touch()
    monkeypatch.setattr(noun, "STEPS", 12)
    random = np.random.default_rng(0)

    def around(level: int, count: int) -> np.ndarray:
        return random.integers(level - 20, level + 20, (count, 1, 8, 8)).astype(np.uint8)

    real = ImageSet(np.array([f"r{row}" for row in range(COUNT)]), around(128, COUNT), np.zeros(COUNT, np.int64))
    images.write(workdir.DATA / "prepare/images.parquet", real, ["a", "b"])
    facts = {"name": "toy", "classes": ["a", "b"], "replicates": 2, "shifted": False}
    form = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": False}
    workdir.write_json(workdir.DATA / "prepare/dataset.json", facts | {"image": form})
    pixels = np.concatenate([around(40, COUNT), around(210, COUNT)])
    extra = {"replicate": np.repeat([0, 1], COUNT)}
    made = ImageSet(np.arange(2 * COUNT).astype(str), pixels, np.zeros(2 * COUNT, np.int64), extra=extra)
    table = marks.marked_table(images.as_table(made, ["a", "b"]), manifest("gan", "projection", RUN))
    images.write_table(provenance.SETS / "gan.parquet", table)
    Path("bright.png").write_bytes(table["image"][COUNT].as_py()["bytes"])
    Path("real.png").write_bytes(encode_png(around(128, 1)[0]))
    return tmp_path


def say(*files: str, alpha: float = 0.05) -> list[str]:
    return list(provenance.attribute([Path(file) for file in files], provenance.SETS, alpha))


@pytest.mark.usefixtures("run")
def test_each_image_is_told_by_its_pixels_and_by_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Image.open("bright.png")
    text = opened.info[marks.KEY]
    opened.save("unmarked.png")
    noise = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    moved = Image.open(io.BytesIO(marks.marked(encode_png(noise), {})))
    chunk = marks.PngInfo()
    chunk.add_text(marks.KEY, text)
    moved.save("moved.png", pnginfo=chunk)
    told = say("bright.png", "unmarked.png", "real.png", "moved.png")
    assert told[0].startswith("bright.png: likely gan, replicate 1 (p ")
    assert told[0].endswith(f"; a sound mark: gan, replicate 1, run {RUN[:12]}")
    assert told[1].startswith("unmarked.png: likely gan, replicate 1 (p ")
    assert told[1].endswith("; no mark")
    assert told[2].startswith("real.png: likely a real image (p ")
    assert told[3].endswith("; a mark that was altered, or is another image's")
    assert told[4].startswith("4 images: gan, replicate 1 (2), ")
    assert any("generator 100%" in line for line in told[5:])
    monkeypatch.setattr(noun, "fit", None)  # what was learned is kept
    again = say(str(provenance.SETS / "gan.parquet"))
    assert f"the set has a sound mark: gan, run {RUN[:12]}" in again[2 * COUNT]
    assert "if all have one source, none of these" in again[2 * COUNT + 1], "they have two"


@pytest.mark.parametrize(
    ("mode", "side", "words"),
    [
        ("L", 9, r"odd.png has 9 x 9 pixels, grey, but the images of this run have 8 x 8 pixels, grey: bring it"),
        ("RGB", 8, r"odd.png has 8 x 8 pixels, 3 channels, but"),
        ("I;16", 8, r"odd.png has 8 x 8 pixels, grey of type uint16, but"),
    ],
)
@pytest.mark.usefixtures("run")
def test_an_image_of_another_form_is_told_in_words(mode: str, side: int, words: str) -> None:
    Image.new(mode, (side, side)).save("odd.png")
    with pytest.raises(UserError, match=words):
        say("odd.png")


def test_what_nothing_can_be_said_of_is_told_in_words(run: Path) -> None:
    Path("bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad.png is no image"):
        say("bad.png")
    with pytest.raises(UserError, match=r"missing.png gone"):
        say("missing.png")
    with pytest.raises(UserError, match=r"80 images are too few .*: 396 are needed"):
        say("real.png", alpha=0.01)
    (provenance.SETS / "gan.parquet").unlink()
    with pytest.raises(UserError, match=r"synthetic holds no published set: `dvc repro` makes it"):
        say("real.png")
    (run / "data/prepare/dataset.json").unlink()
    with pytest.raises(UserError, match=r"dataset.json is missing: `dvc repro` makes it"):
        say("real.png")
