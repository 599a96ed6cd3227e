import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.sources.kinds import folder
from stages.sources.params import FolderParams


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (9, 7), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def params(tmp_path: Path) -> FolderParams:
    contents = {
        "cats/1.png": png(10),
        "cats/text.png": b"not an image",
        "cats/zero.jpg": b"",
        "dogs/2.PNG": png(20),
        "dogs/cut.png": png(20)[:-30],
        "dogs/labels.csv": b"",
        "unlabelled/3.png": png(30),
    }
    for name, data in contents.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "root" / "dogs" / "out.png").symlink_to(tmp_path)
    (tmp_path / "root" / "dogs" / "out2.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "secret.png").write_bytes(png(99))
    return FolderParams(kind="folder", path=str(tmp_path / "root"))


def test_images_are_found_without_being_read(params: FolderParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", None)
    found = folder.find(params)
    assert found.class_names == ["cats", "dogs"]
    assert dict(zip(found.ids.tolist(), found.labels.tolist(), strict=True)) == {
        "cats/1.png": 0,
        "cats/text.png": 0,
        "cats/zero.jpg": 0,
        "dogs/2.PNG": 1,
        "dogs/cut.png": 1,
        "dogs/out2.png": 1,
        "unlabelled/3.png": -1,
    }
    assert found.ignored == {"no image by its suffix .csv": 1, "symbolic link to a folder": 1}


def test_bad_files_are_told_in_their_place(params: FolderParams) -> None:
    read = list(folder.read(params, folder.find(params).locators))
    told = [item.fault if isinstance(item, BadItem) else int(np.asarray(item)[0, 0]) for item in read]
    assert told == [10, "undecodable", "empty", 20, "truncated", "outside", 30]


def test_reading_depends_on_no_order(params: FolderParams) -> None:
    forwards = list(folder.read(params, ["cats/1.png", "unlabelled/3.png"]))
    backwards = list(folder.read(params, ["unlabelled/3.png", "cats/1.png"]))
    assert [np.asarray(each).tolist() for each in forwards] == [np.asarray(each).tolist() for each in backwards[::-1]]
