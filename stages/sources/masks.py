"""Where in each image the region lies that matters, or that is to be drawn anew: boxes, mask images, or a rule."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stages.imaging.decoding import BadItem, decode, image_suffixes, read_bytes
from stages.imaging.normalise import to_mask
from stages.plumbing.errors import UserError
from stages.plumbing.images import encode_png
from stages.sources import registry
from stages.sources.ingest import Facts
from stages.sources.listing import Listing
from stages.sources.params import BoxMasks, CentreMask, ImageMasks, KnownMasks, NoMasks, PrepareParams, RandomMasks
from stages.sources.tables import examples, opened
from stages.sources.tree import composed

Masks = dict[str, NDArray[np.bool_]]  # by the image's id, (size, size)
_COLUMNS = ("file", "left", "top", "right", "bottom")


def find(params: PrepareParams, listing: Listing, facts: Facts) -> Masks:
    """The regions of the first source's images, in what each has become; an image may have none.

    listing: of all images, as `collection.find` makes it. facts: of each.
    Raises UserError where a region lies outside its image, is empty, leaves nothing of an image, or has another size
    than it, where there is none at all, and for a CSV or folder that cannot be read.
    """
    if isinstance(params.masks, NoMasks):
        return {}
    (first,) = np.nonzero(np.array([number == 0 for number, _ in listing.locators], dtype=bool))
    own = listing.take(first)
    masks = dict(_of_rule(params, own) if _is_rule(params) else _of_source(params, own, facts[first]))
    if not masks:
        raise UserError(f"prepare.masks finds no region for any image of {params.source.path}")
    _refuse_empty_and_whole(masks, params)
    return masks


def as_table(masks: Masks) -> pa.Table:
    """The regions as they lie on disk: id and PNG bytes, white in the region."""
    pngs = [encode_png(mask[None] * np.uint8(255)) for mask in masks.values()]
    return pa.table({"id": pa.array(list(masks), pa.string()), "mask": pa.array(pngs, pa.binary())})


def _is_rule(params: PrepareParams) -> bool:
    return isinstance(params.masks, CentreMask | RandomMasks)


def _of_rule(params: PrepareParams, listing: Listing) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """A box in every image, drawn in what that has become."""
    size, random = params.image.size, np.random.default_rng(params.seed)
    for name in listing.ids.tolist():
        if isinstance(params.masks, CentreMask):
            sides = np.full(2, params.masks.share)
            start = (1 - sides) / 2
        else:
            assert isinstance(params.masks, RandomMasks)
            sides = random.uniform(params.masks.least, params.masks.greatest, 2)
            start = random.uniform(0, 1 - sides)
        top, left = np.rint(size * start).astype(int)
        height, width = np.maximum(np.rint(size * sides), 1).astype(int)
        mask = np.zeros((size, size), dtype=bool)
        mask[top : top + height, left : left + width] = True
        yield name, mask


def _of_source(params: PrepareParams, listing: Listing, facts: Facts) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What is known of the images, brought to the form that they have been brought to."""
    for name, mask in zip(listing.ids.tolist(), _known(params, listing, facts), strict=True):
        if mask is not None:
            yield name, to_mask(mask, params.image)


def _known(params: PrepareParams, listing: Listing, facts: Facts) -> Iterator[Image.Image | None]:
    match params.masks:
        case KnownMasks():
            return registry.masks(params.source, [locator for _, locator in listing.locators])
        case BoxMasks():
            return _of_boxes(_folder(params) / params.masks.path, listing.ids.tolist(), facts)
        case ImageMasks():
            return _of_images(_folder(params) / params.masks.path, listing.ids.tolist(), facts)
    raise AssertionError(params.masks)


def _folder(params: PrepareParams) -> Path:
    path = Path(params.source.path)
    return path if path.is_dir() else path.parent


def _of_boxes(path: Path, ids: Sequence[str], facts: Facts) -> Iterator[Image.Image | None]:
    boxes = _read_boxes(path)
    if unknown := boxes.keys() - set(ids):
        unused = f"{path} names {examples(unknown)} that the source does not have or that were left out"
        if len(unknown) == len(boxes):
            raise UserError(f"{unused}: its column 'file' must hold paths relative to prepare.source.path, with /")
    for name, fact in zip(ids, facts, strict=True):
        if name not in boxes:
            yield None
            continue
        width, height = int(fact["width"]), int(fact["height"])
        mask = Image.new("L", (width, height))
        for left, top, right, bottom in boxes[name]:
            if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                raise UserError(
                    f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} of {name!r} does not lie in its image "
                    f"of {width} x {height} pixels: left and top count from 0 and are below right and bottom"
                )
            ImageDraw.Draw(mask).rectangle(
                (int(left), int(top), int(np.ceil(right)) - 1, int(np.ceil(bottom)) - 1), 255
            )
        yield mask


def _read_boxes(path: Path) -> dict[str, list[tuple[float, ...]]]:
    """Boxes by file. Raises UserError."""
    boxes = defaultdict[str, list[tuple[float, ...]]](list)
    remedy = "prepare.masks.path is relative to prepare.source.path and names the CSV of boxes"
    with opened(path, "CSV of boxes", remedy) as lines:
        reader = csv.DictReader(lines, restval="")
        columns = list(reader.fieldnames or [])
        if not set(_COLUMNS) <= set(columns):
            raise UserError(f"{path} needs the columns {', '.join(_COLUMNS)}, and has {', '.join(columns)!r}")
        for number, row in enumerate(reader, 2):
            try:
                box = tuple(float(row[side]) for side in _COLUMNS[1:])
            except ValueError:
                raise UserError(f"{path}, line {number}: left, top, right and bottom must be numbers") from None
            boxes[composed(PurePosixPath(row["file"]).as_posix())].append(box)
    return boxes


def _of_images(folder: Path, ids: Sequence[str], facts: Facts) -> Iterator[Image.Image | None]:
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder: prepare.masks.path names that of the masks, inside prepare.source.path"
        )
    there = {
        composed(each.relative_to(folder).with_suffix("").as_posix()): each.relative_to(folder).as_posix()
        for each in sorted(folder.rglob("*"))
        if each.name.lower().endswith(tuple(image_suffixes()))
    }
    for name, fact in zip(ids, facts, strict=True):
        file = there.get(PurePosixPath(name).with_suffix("").as_posix())
        if file is None:
            yield None
            continue
        try:
            mask = decode(read_bytes(folder, file)).convert("L")
        except BadItem as bad:
            raise UserError(f"the mask {folder / file} {bad.reason}") from None
        if mask.size != (fact["width"], fact["height"]):
            raise UserError(
                f"the mask {folder / file} has {mask.width} x {mask.height} pixels, but its image {fact['width']} x "
                f"{fact['height']}: both must have one size"
            )
        yield mask


def _refuse_empty_and_whole(masks: Masks, params: PrepareParams) -> None:
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        cut = " (image.fit: crop may have cut it off)" if params.image.fit == "crop" else ""
        raise UserError(f"the region of {examples(empty)} is empty{cut}: mend it, or give these images none")
    whole = [name for name, mask in masks.items() if mask.all()]
    if whole:
        raise UserError(
            f"the region of {examples(whole)} is all of the image, of which nothing would be kept: make it smaller, or "
            "take a GAN that draws whole images"
        )
