import io

import numpy as np
import pytest
from PIL import Image

from stages.imaging.decoding import BadItem, decode
from stages.imaging.marks import marked
from stages.imaging.normalise import to_pixels
from stages.plumbing.errors import UserError
from stages.plumbing.images import encode_png
from stages.sources.ingest import THUMBNAIL, ingest
from stages.sources.params import ImageParams

SIZE = 32
PARAMS = ImageParams(size=SIZE, channels="rgb", fit="pad", flip_ok=False)


def photo(seed: int, side: int = SIZE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def as_file(image: Image.Image, kind: str) -> Image.Image:
    """The image as it comes back from a file of this kind."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return Image.open(buffer)


def test_images_come_in_order_and_bad_items_are_taken_out() -> None:
    bad = BadItem("truncated", "ends early")
    result = ingest(["a", "b", "c"], [photo(0), bad, photo(1)], PARAMS)
    assert result.readable.tolist() == [True, False, True]
    assert result.bad == [bad]
    assert np.array_equal(result.pixels, np.stack([to_pixels(photo(seed), PARAMS) for seed in (0, 1)]))
    assert len(result.facts["digest"]) == 2


def test_an_image_that_cannot_be_brought_to_form_is_a_bad_item_too() -> None:
    nowhere = Image.fromarray(np.full((SIZE, SIZE), np.nan, dtype=np.float32))
    result = ingest(["a", "b"], [nowhere, photo(0)], PARAMS)
    assert result.readable.tolist() == [False, True]
    assert [each.fault for each in result.bad] == ["not_a_number"]


def test_images_with_a_mark_are_refused_whatever_it_says() -> None:
    synthetic = decode(marked(encode_png(np.zeros((1, 8, 8), np.uint8)), {}))
    with pytest.raises(UserError, match=r"2 files \('b.png', 'c.png'\) with the mark of a synthetic image: .*external"):
        ingest(["a.png", "b.png", "c.png"], [photo(0), synthetic, synthetic], PARAMS)


def test_a_chunk_of_bad_items_has_the_form_of_any_other() -> None:
    whole, none = ingest(["a"], [photo(0)], PARAMS), ingest(["b"], [BadItem("empty", "has no bytes")], PARAMS)
    assert none.pixels.shape == (0, 3, SIZE, SIZE)
    assert none.facts.shape == (0,)
    assert none.facts.dtype == whole.facts.dtype


def test_facts_do_not_depend_on_the_chunk() -> None:
    images = [photo(seed, side) for seed, side in enumerate((32, 40, 64))]
    together = ingest(["a", "b", "c"], images, PARAMS).facts
    for row, image in enumerate(images):
        alone = ingest(["x"], [image], PARAMS).facts
        assert np.array_equal(together[row : row + 1], alone)


def test_equal_pixels_have_equal_digests_and_others_not() -> None:
    digests = ingest(["a.png", "b.bmp", "c"], [photo(0), as_file(photo(0), "BMP"), photo(1)], PARAMS).facts["digest"]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_sizes_are_those_of_the_original_and_thumbnails_those_of_the_result() -> None:
    facts = ingest(["a"], [photo(0).resize((50, 20))], PARAMS).facts
    assert (facts["width"][0], facts["height"][0]) == (50, 20)
    assert facts["thumbnail"].shape == (1, THUMBNAIL, THUMBNAIL)
    small = ImageParams(size=8, channels="grey", fit="pad", flip_ok=False)
    ingested = ingest(["a"], [photo(0)], small)
    assert np.array_equal(ingested.facts["thumbnail"], ingested.pixels[:, 0])


@pytest.mark.parametrize(
    ("image", "colourful"),
    [
        (photo(0), True),
        (photo(0).convert("L"), False),
        (photo(0).convert("L").convert("RGB"), False),
        (as_file(photo(0).convert("L").convert("RGB"), "JPEG"), False),
        (photo(0).convert("P"), True),
        (photo(0).convert("CMYK"), True),
    ],
)
def test_colour_is_what_shows_not_what_the_file_could_hold(image: Image.Image, colourful: bool) -> None:
    assert ingest(["a"], [image], PARAMS).facts["colourful"].tolist() == [colourful]


def test_an_image_of_one_colour_is_constant() -> None:
    plain, dotted = Image.new("RGB", (SIZE, SIZE), (200, 10, 10)), Image.new("RGB", (SIZE, SIZE), (200, 10, 10))
    dotted.putpixel((3, 4), (201, 10, 10))
    assert ingest(["a", "b"], [plain, dotted], PARAMS).facts["constant"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "kind", "wrong"),
    [
        ("a/b.png", "PNG", False),
        ("a/b.JPG", "JPEG", False),
        ("a/b.png", "JPEG", True),
        ("a/b.jpg", "BMP", True),
        ("a/b", "PNG", False),
        ("set:7", "PNG", False),
    ],
)
def test_a_name_that_promises_another_format_is_noticed(name: str, kind: str, wrong: bool) -> None:
    assert ingest([name], [as_file(photo(0), kind)], PARAMS).facts["wrong_extension"].tolist() == [wrong]
