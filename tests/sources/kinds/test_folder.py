import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from stages.imaging import decoding
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
    forwards = list(folder.read(params, [("cats/1.png", None), ("unlabelled/3.png", None)]))
    backwards = list(folder.read(params, [("unlabelled/3.png", None), ("cats/1.png", None)]))
    assert [np.asarray(each).tolist() for each in forwards] == [np.asarray(each).tolist() for each in backwards[::-1]]


def test_the_pages_of_a_stack_are_images_that_stay_together(params: FolderParams) -> None:
    """Neither the preview that a microscope adds nor a second file is one of them."""
    root = Path(params.path)
    pages = [Image.new("L", (9, 7), value) for value in (50, 60, 70)]
    preview = {254: 1}
    with TiffImagePlugin.AppendingTiffWriter(str(root / "dogs/stack.TIF"), new=True) as stack:
        for index, page in enumerate(pages):
            page.save(stack, "TIFF", tiffinfo=preview if index == 1 else {})
            stack.newFrame()
    pages[0].save(root / "dogs/one.tif")
    found = folder.find(params)
    of_stack = [row for row, name in enumerate(found.ids) if "stack" in name]
    assert found.ids[of_stack].tolist() == ["dogs/stack.TIF#0001", "dogs/stack.TIF#0003"]
    assert [row for row, group in enumerate(found.groups or []) if group] == of_stack
    assert len({(found.groups or [])[row] for row in of_stack}) == 1
    one, *_, first, third = folder.read(params, [("dogs/one.tif", None), *(found.locators[row] for row in of_stack)])
    assert [image.getpixel((0, 0)) for image in (one, first, third) if isinstance(image, Image.Image)] == [50, 50, 70]


def test_a_stack_of_too_many_pages_is_one_bad_item(params: FolderParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_PAGES", 3)
    pages = [Image.new("L", (9, 7), value) for value in range(4)]
    for name, last in (("few", 3), ("many", 4)):
        pages[0].save(Path(params.path) / f"dogs/{name}.tif", save_all=True, append_images=pages[1:last])
    found = [locator for locator in folder.find(params).locators if locator[0].endswith(".tif")]
    assert found == [*(("dogs/few.tif", page) for page in range(3)), ("dogs/many.tif", None)]
    (bad,) = folder.read(params, found[-1:])
    assert isinstance(bad, BadItem)


def test_a_stack_that_is_cut_off_is_told_page_by_page(params: FolderParams) -> None:
    path = Path(params.path) / "dogs/stack.tif"
    noise = [Image.effect_noise((64, 64), 90) for _ in range(3)]
    noise[0].save(path, save_all=True, append_images=noise[1:])
    whole, data = folder.find(params), path.read_bytes()
    for size, readable in ((6000, 1), (len(data) - 20, 2)):
        path.write_bytes(data[:size])
        for found in (whole, folder.find(params)):
            pages = list(folder.read(params, [each for each in found.locators if each[0] == "dogs/stack.tif"]))
            assert all(isinstance(each, Image.Image) for each in pages[:readable])
            assert {each.fault for each in pages[readable:] if isinstance(each, BadItem)} == {"truncated"}
