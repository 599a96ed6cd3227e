"""Judges a shard of a replicate's generated images, which are copies, and writes those that stay."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.memorization.attacks import evenly_spaced
from stages.memorization.audit import MOST_GENERATED, Audit, audit
from stages.memorization.filtering import MemorizationFilter, Originals
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing import images
from stages.plumbing.dataset import CALIBRATION, TRAIN, Dataset


@dataclass(frozen=True)
class Shard:
    """Blocks of a replicate's generated images, to judge, and the file for those kept. whole: they are all it has.

    keep_all: whether all are kept, since to drop some would tell of real images what no privacy budget allows for.
    """

    replicate: int
    generated: Path
    blocks: range
    whole: bool
    kept: Path
    keep_all: bool
    params: FilterMemorizedParams


def judge(shard: Shard) -> tuple[pd.DataFrame, Audit | None]:
    """In a worker process: writes what is kept of the shard, block by block, so that it may be of any size.

    Returns why each image stays or goes, which is internal: distances to real images are never published; and, of a
    whole replicate, what the filter is worth.
    """
    import torch  # here, because workers get this function by value, and cannot get torch that way

    dataset, (memorization_filter, seen, calibration) = Dataset.open(), _filter(shard)
    tables, rows = list[pd.DataFrame](), pd.Index(seen)

    def kept() -> Iterator[pa.Table]:
        for block in images.read_blocks(shard.generated, shard.blocks):
            sources = rows.get_indexer(pd.Index(block.extra["source_id"]))
            found = memorization_filter.decide(torch.from_numpy(block.pixels), block.labels, sources)
            dropped = found.dropped & (not shard.keep_all)
            of_block = {"replicate": shard.replicate, "id": block.ids, "label": block.labels}
            reason = {"nearest": seen[found.nearest], "reason": np.where(dropped, "memorized", "")}
            lineage = {"own_source": found.own_source, "source_id": block.extra["source_id"]}
            tables.append(pd.DataFrame(of_block | {"p": found.p, "distance": found.distance} | reason | lineage))
            yield images.as_table(block.take(~dropped), dataset.classes)

    images.write_tables(shard.kept, kept())
    decisions = pd.concat(tables, ignore_index=True)
    return decisions, _audit(shard, decisions, memorization_filter, calibration) if shard.whole else None


def audit_sharded(job: tuple[Shard, pd.DataFrame]) -> Audit:
    """In a worker process: what the filter is worth of a replicate that several processes judged."""
    shard, decisions = job
    memorization_filter, _, calibration = _filter(shard)
    return _audit(shard, decisions, memorization_filter, calibration)


def _audit(
    shard: Shard, decisions: pd.DataFrame, memorization_filter: MemorizationFilter, calibration: NDArray[np.str_]
) -> Audit:
    import torch

    sampled = evenly_spaced(len(decisions), MOST_GENERATED)
    pixels = torch.from_numpy(images.read_pixels(shard.generated, sampled))
    return audit(memorization_filter, calibration, pixels, decisions.iloc[sampled], shard.replicate)


def _filter(shard: Shard) -> tuple[MemorizationFilter, NDArray[np.str_], NDArray[np.str_]]:
    """The replicate's filter, the ids of all images that its generator saw, and of those set aside to calibrate."""
    import torch

    dataset, params = Dataset.open(), shard.params
    seen, calibration = dataset.seen_by_gan(shard.replicate), dataset.role(shard.replicate, CALIBRATION)
    originals = Originals(
        seen=torch.from_numpy(seen.pixels),
        calibration=torch.from_numpy(calibration.pixels),
        flip_ok=dataset.flip_ok,
        seen_groups=seen.groups if params.by_group else None,
        calibration_groups=calibration.groups if params.by_group else None,
        calibration_labels=dataset.calibration_labels(shard.replicate) if params.thresholds == "per_class" else None,
        of_source=np.isin(seen.ids, dataset.ids(shard.replicate, TRAIN)) if dataset.shifted else None,
    )
    return MemorizationFilter(originals, params), seen.ids, calibration.ids
