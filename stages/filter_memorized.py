"""Stage 4, once per generator: drops its images that are copies of what it saw, with a stated error rate."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.memorization.attacks import evenly_spaced
from stages.memorization.audit import MOST_GENERATED, Audit, audit, summarise
from stages.memorization.filtering import MemorizationFilter, Originals, check_some_kept
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing import images, workdir
from stages.plumbing.dataset import CALIBRATION, TRAIN, Dataset
from stages.plumbing.stage import StageRun, execute

SHARD = 4  # blocks that a process judges: 16,384 images, many times those that set the threshold anew for each shard


@dataclass(frozen=True)
class Shard:
    """Blocks of a replicate's generated images, to judge, and the file for those kept. whole: they are all it has."""

    replicate: int
    generated: Path
    blocks: range
    whole: bool
    kept: Path
    params: FilterMemorizedParams


def main(run: StageRun) -> None:
    run.section(run.params.train_gan.generators, "train_gan.generators")
    dataset = Dataset.open()
    with run.replacing(workdir.DATA / "filter_memorized" / run.item) as folder:
        shards = [shard for replicate in range(dataset.replicates) for shard in _shards(run, replicate, folder)]
        judged = run.fan_out(judge, shards, "shard")
        parts = [[row for row, each in enumerate(shards) if each.replicate == n] for n in range(dataset.replicates)]
        tables = [pd.concat([judged[row][0] for row in rows], ignore_index=True) for rows in parts]
        for replicate, (rows, table) in enumerate(zip(parts, tables, strict=True)):
            check_some_kept((table["reason"] != "").to_numpy(), run.item, replicate)
            images.join(folder / f"{replicate}.parquet", [shards[row].kept for row in rows])
        decisions = pd.concat(tables, ignore_index=True)
        images.write_table(folder / "decisions.parquet", pa.table(dict(decisions)))
        jobs = [(shards[rows[0]], table) for rows, table in zip(parts, tables, strict=True) if len(rows) > 1]
        later = iter(run.fan_out(audit_sharded, jobs, "audit"))
        audits = [judged[rows[0]][1] or next(later) for rows in parts]
    run.write_metrics(summarise(decisions, audits, dataset.classes, run.params.filter_memorized))


def _shards(run: StageRun, replicate: int, folder: Path) -> Iterator[Shard]:
    generated = workdir.DATA / "generate" / run.item / f"{replicate}.parquet"
    blocks = range(-(-images.count(generated) // images.ROW_GROUP))
    for part in (blocks[start : start + SHARD] for start in blocks[::SHARD]):
        kept = folder / f"{replicate}-{part.start}.part"
        yield Shard(replicate, generated, part, part == blocks, kept, run.params.filter_memorized)


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
            of_block = {"replicate": shard.replicate, "id": block.ids, "label": block.labels}
            reason = {"nearest": seen[found.nearest], "reason": np.where(found.dropped, "memorized", "")}
            lineage = {"own_source": found.own_source, "source_id": block.extra["source_id"]}
            tables.append(pd.DataFrame(of_block | {"p": found.p, "distance": found.distance} | reason | lineage))
            yield images.as_table(block.take(~found.dropped), dataset.classes)

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


if __name__ == "__main__":
    execute("filter_memorized", main, item=" ".join(sys.argv[1:]), preload=("stages.memorization.filtering",))
