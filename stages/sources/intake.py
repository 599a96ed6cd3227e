"""Reads everything that a listing names, chunk by chunk on several processes, into parts on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.imaging.decoding import BadItem
from stages.plumbing import images
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED, ImageSet
from stages.plumbing.parts import Parts
from stages.sources import collection
from stages.sources.findings import Finding
from stages.sources.ingest import Facts, ingest
from stages.sources.listing import Listing
from stages.sources.params import PrepareParams

if TYPE_CHECKING:
    from stages.plumbing.parallel import FanOut

CHUNK = 2048  # images that a process reads and holds at a time
NAMED = 3  # files that a message gives as examples


@dataclass(frozen=True)
class Intake:
    """What could be read, row by row: items, their images in parts, facts. skipped: a finding for each other item."""

    listing: Listing
    parts: Parts
    facts: Facts
    skipped: list[Finding]


@dataclass(frozen=True)
class Chunk:
    """Items to read in one go, and the file for their images."""

    path: Path
    items: Listing
    params: PrepareParams


def take_in(listing: Listing, params: PrepareParams, folder: Path, fan_out: "FanOut") -> Intake:
    """Brings all items to one form and keeps their images in files in `folder`.

    Raises:
        UserError: an item cannot be used and `on_bad_image` is error, or none can.
    """
    chunks = [
        Chunk(folder / f"{start}.parquet", listing.take(np.arange(start, min(start + CHUNK, len(listing)))), params)
        for start in range(0, len(listing), CHUNK)
    ]
    results = fan_out(read_chunk, chunks, "chunk")
    readable = np.concatenate([readable for _, readable, _ in results])
    faults = [bad for _, _, chunk in results for bad in chunk]
    skipped = [
        Finding(bad.fault, name, "", "skipped", bad.reason)
        for name, bad in zip(listing.ids[~readable].tolist(), faults, strict=True)
    ]
    if skipped and (params.on_bad_image == "error" or not readable.any()):
        raise UserError(_refusal(skipped, len(listing), params))
    return Intake(
        listing=listing.take(np.flatnonzero(readable)),
        parts=Parts([chunk.path for chunk in chunks], [int(readable.sum()) for _, readable, _ in results]),
        facts=np.concatenate([facts for facts, _, _ in results]),
        skipped=skipped,
    )


def read_chunk(chunk: Chunk) -> tuple[Facts, NDArray[np.bool_], list[BadItem]]:
    """In a worker process: reads a chunk's items and keeps their images on disk."""
    items = chunk.items
    result = ingest(items.ids.tolist(), collection.read(chunk.params, items.locators), chunk.params.image)
    ids = items.ids[result.readable]
    images.write(chunk.path, ImageSet(ids, result.pixels, np.full(len(ids), UNLABELLED)), items.class_names)
    return result.facts, result.readable, result.bad


def _refusal(skipped: Sequence[Finding], count: int, params: PrepareParams) -> str:
    named = "".join(f"\n  {each.id}: {each.detail}" for each in skipped[:NAMED])
    remedy = "prepare.on_bad_image: skip leaves such files out and lists them in the report"
    return f"{len(skipped)} of {count} files of {params.source.path} cannot be used, for instance:{named}" + (
        f"\n({remedy})" if len(skipped) < count else ""
    )
