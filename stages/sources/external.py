"""Synthetic images made elsewhere: by a diffusion model, a collection of generators, a graphics program."""

from pathlib import Path

import numpy as np

from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED, ImageSet
from stages.sources import registry
from stages.sources.ingest import ingest
from stages.sources.params import FolderParams, ImageParams, ParquetParams


def load(folder: Path, image: ImageParams, class_names: list[str]) -> ImageSet:
    """All images of the folder, laid out by class or as Parquet files, brought to the form of the real ones.

    Labels are the real set's, by the classes' names; a split that the folder may have plays no part.

    Raises:
        UserError: nothing is there, an image cannot be read or has no class, or the classes are not the real ones.
    """
    source = _source(folder)
    listing = registry.find(source)
    if set(listing.class_names) != set(class_names):
        raise UserError(
            f"generate.external: {folder} has the classes {', '.join(listing.class_names)}, "
            f"but the real images have {', '.join(class_names)}: give it one folder for each of them"
        )
    if np.any(listing.labels == UNLABELLED):
        raise UserError(f"generate.external: {listing.ids[listing.labels == UNLABELLED][0]} in {folder} has no class")
    ingested = ingest(listing.ids.tolist(), registry.read(source, listing.locators), image)
    if ingested.bad:
        name, bad = listing.ids[~ingested.readable][0], ingested.bad[0]
        raise UserError(f"generate.external: {folder / name} cannot be used: {bad.reason}")
    number = np.array([class_names.index(name) for name in listing.class_names])
    return ImageSet(listing.ids, ingested.pixels, number[listing.labels])


def _source(folder: Path) -> FolderParams | ParquetParams:
    if any(folder.rglob("*.parquet")):
        return ParquetParams(
            kind="parquet", path=str(folder), image_column="image", label_column="label", group_column=None
        )
    return FolderParams(kind="folder", path=str(folder))
