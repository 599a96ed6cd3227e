"""Regions come with their images into the form of these; what cannot be a region is told in clear words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages.imaging.normalise import to_mask, to_pixels
from stages.plumbing.errors import UserError
from stages.plumbing.images import decode_png
from stages.sources import masks
from stages.sources.ingest import ingest
from stages.sources.listing import Listing
from stages.sources.params import ImageParams, PrepareParams
from tests.conftest import DEFAULT_PARAMS

Find = Callable[..., masks.Masks]
NAMES = ["ill/a.png", "ill/b.png", "well/c.png"]
SIZE = (20, 10)
PREPARE = YAML(typ="safe", pure=True).load(DEFAULT_PARAMS)["prepare"]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """The regions of three images of 20 x 10 pixels; fields: of prepare.masks."""

    def find(fit: str = "stretch", **fields: Any) -> masks.Masks:
        section = PREPARE | {"source": {"kind": "folder", "path": str(tmp_path)}, "masks": fields}
        section["image"] = {"size": 16, "channels": "grey", "fit": fit, "flip_ok": False}
        params = PrepareParams.model_validate(section)
        facts = ingest(NAMES, [Image.new("L", SIZE)] * 3, params.image).facts
        ids, labels = np.array(NAMES), np.array([0, 0, 1])
        listing = Listing(["ill", "well"], ids, labels, np.full(3, ""), None, [(0, each) for each in NAMES], {})
        return masks.find(params, listing, facts)

    return find


def boxes(folder: Path, *rows: str) -> None:
    (folder / "boxes.csv").write_text("\n".join(["file,left,top,right,bottom", *rows]))


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("size", [(20, 10), (9, 30), (16, 16), (7, 5)])
def test_a_region_lies_where_it_lay_in_its_image(fit: str, size: tuple[int, int]) -> None:
    image = Image.new("L", size)
    image.paste(255, (size[0] // 2, size[1] // 2, size[0] // 2 + 2, size[1] // 2 + 2))
    params = ImageParams(size=16, channels="grey", fit=fit, flip_ok=False)
    mask, pixels = to_mask(image, params), to_pixels(image, params)[0]
    assert mask[pixels > 170].all(), "but for what enlarging smears over the border"
    assert mask.sum() < 2.5 * max((pixels > 60).sum(), 1)


def test_the_boxes_of_a_file_are_one_region_in_pixels_of_the_file(find: Find, tmp_path: Path) -> None:
    boxes(tmp_path, "ill/a.png,0,0,10,5", "ill/a.png,10,5,20,10")
    found = find(kind="boxes", path="boxes.csv")
    assert list(found) == ["ill/a.png"]
    upper = np.arange(16) < 8
    assert np.array_equal(found["ill/a.png"], upper[:, None] == upper)


def test_mask_images_go_by_the_names_of_their_images(find: Find, tmp_path: Path) -> None:
    (tmp_path / ".masks/ill").mkdir(parents=True)
    region = Image.new("L", SIZE)
    region.paste(1, (0, 0, 5, 10))
    region.save(tmp_path / ".masks/ill/b.bmp")
    found = find(kind="images", path=".masks")
    assert list(found) == ["ill/b.png"]
    assert found["ill/b.png"].sum(axis=1).tolist() == [4] * 16
    (row,) = masks.as_table(found).to_pylist()
    assert np.array_equal(decode_png(row["mask"])[0] == 255, found["ill/b.png"])


def test_a_rule_gives_every_image_a_box(find: Find) -> None:
    centre, random = find(kind="centre", share=0.5), find(kind="random", least=0.25, greatest=0.5)
    assert all(np.array_equal(np.argwhere(each)[[0, -1]], [[4, 4], [11, 11]]) for each in centre.values())
    assert list(random) == NAMES
    for mask in random.values():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask.sum() == len(rows) * len(columns)
        assert all(4 <= len(each) <= 8 and np.ptp(each) == len(each) - 1 for each in (rows, columns))
    assert len({mask.tobytes() for mask in random.values()}) == 3
    assert all(
        np.array_equal(mask, random[name]) for name, mask in find(kind="random", least=0.25, greatest=0.5).items()
    )


def test_where_nothing_is_asked_nothing_is_found(find: Find) -> None:
    assert find(kind="none") == {}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["ill/a.png,0,0,21,5"], r"0, 0, 21, 5 of 'ill/a.png' does not lie in its image of 20 x 10"),
        (["ill/a.png,5,5,5,9"], "does not lie in its image"),
        (["ill/a.png,-1,0,5,5"], "does not lie in its image"),
        (["ill/a.png,0,0,20,10"], "is all of the image"),
        (["ill/a.png,0,0,x,10"], "line 2: left, top, right and bottom must be numbers"),
        (["a.png,0,0,5,5"], "names 1 file .'a.png'. that the source does not have"),
        ([], "finds no region for any image"),
    ],
)
def test_boxes_that_cannot_be_are_told(find: Find, tmp_path: Path, rows: list[str], told: str) -> None:
    boxes(tmp_path, *rows)
    with pytest.raises(UserError, match=told):
        find(kind="boxes", path="boxes.csv")


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (Image.new("L", (10, 20), 1), "has 10 x 20 pixels, but its image 20 x 10"),
        (Image.new("L", SIZE), r"the region of 1 file \('ill/a.png'\) is empty"),
        (Image.new("L", SIZE, 1), "is all of the image"),
    ],
)
def test_mask_images_that_cannot_be_are_told(find: Find, tmp_path: Path, mask: Image.Image, told: str) -> None:
    (tmp_path / "m/ill").mkdir(parents=True)
    mask.save(tmp_path / "m/ill/a.png")
    with pytest.raises(UserError, match=told):
        find(kind="images", path="m")


def test_what_lies_in_no_place_and_what_a_source_does_not_know_is_told(find: Find) -> None:
    for fields, told in (
        ({"kind": "boxes", "path": "boxes.csv"}, "prepare.masks.path"),
        ({"kind": "images", "path": "m"}, "is no folder"),
        ({"kind": "source"}, "not for kind: folder"),
    ):
        with pytest.raises(UserError, match=told):
            find(**fields)
