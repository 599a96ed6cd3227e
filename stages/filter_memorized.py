"""Stage 4: drops generated images that are copies of what the GAN saw, with a stated error rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.memorization.audit import MOST_GENERATED, Audit, evenly_spaced, expose, summarise
from stages.memorization.filtering import Decisions, MemorizationFilter, Originals, check_some_kept
from stages.memorization.params import FilterMemorizedParams
from stages.memorization.self_test import run_self_test
from stages.plumbing import images, workdir
from stages.plumbing.dataset import CALIBRATION, Dataset
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "filter_memorized"
GENERATED = workdir.DATA / "generate"
SHARD = 4  # blocks that a process judges: 16,384 images, many times those that set the threshold anew for each shard


@dataclass(frozen=True)
class Shard:
    """Some blocks of a replicate's generated images, to judge, and the file that those kept go to."""

    replicate: int
    blocks: range
    path: Path
    params: FilterMemorizedParams


@dataclass(frozen=True, eq=False)
class Judged:
    """labels, dropped: (N,) of generated images. table: why each one stays or goes."""

    labels: NDArray[np.int64]
    dropped: NDArray[np.bool_]
    table: pa.Table


@dataclass(frozen=True, eq=False)
class AuditJob:
    """A replicate. labels, dropped: (N,) of its generated images."""

    replicate: int
    labels: NDArray[np.int64]
    dropped: NDArray[np.bool_]
    params: FilterMemorizedParams


def main(run: StageRun) -> None:
    params, dataset = run.params.filter_memorized, Dataset.open()
    with run.replacing(DATA) as folder:
        judged = _judge_all(run, dataset.replicates, folder)
        images.write_table(folder / "decisions.parquet", pa.concat_tables(each.table for each in judged))
        jobs = [AuditJob(replicate, each.labels, each.dropped, params) for replicate, each in enumerate(judged)]
        audits, calibrating = zip(*run.fan_out(audit, jobs, "audit"), strict=True)
    labels_used = len(calibrating[0]) if params.thresholds == "per_class" else 0
    run.write_metrics(summarise(audits, dataset.classes, len(set().union(*calibrating)), labels_used, params))


def _judge_all(run: StageRun, replicates: int, folder: Path) -> list[Judged]:
    """Writes what is kept of each replicate, judged shard by shard; what became of all its images."""
    shards = [
        Shard(replicate, blocks, folder / f"{replicate}-{blocks.start}.part", run.params.filter_memorized)
        for replicate in range(replicates)
        for blocks in _shards(GENERATED / f"{replicate}.parquet")
    ]
    parts = run.fan_out(judge, shards, "shard")
    judged = []
    for replicate in range(replicates):
        own = [row for row, shard in enumerate(shards) if shard.replicate == replicate]
        labels, dropped = (np.concatenate([getattr(parts[row], name) for row in own]) for name in ("labels", "dropped"))
        check_some_kept(dropped, replicate)
        images.join(folder / f"{replicate}.parquet", [shards[row].path for row in own])
        judged.append(Judged(labels, dropped, pa.concat_tables(parts[row].table for row in own)))
    return judged


def _shards(path: Path) -> list[range]:
    """Which blocks of the file go together."""
    blocks = range(-(-images.count(path) // images.ROW_GROUP))
    return [blocks[start : start + SHARD] for start in blocks[::SHARD]]


def judge(shard: Shard) -> Judged:
    """In a worker process: writes what is kept of the shard, block by block, so that it may be of any size."""
    import torch  # here, because workers get this function by value, and cannot get torch that way

    dataset, path = Dataset.open(), GENERATED / f"{shard.replicate}.parquet"
    memorization_filter, seen, _ = _filter(dataset, shard.replicate, shard.params)
    blocks: list[tuple[NDArray[np.str_], NDArray[np.int64], Decisions]] = []

    def kept() -> Iterator[pa.Table]:
        for block in images.read_blocks(path, shard.blocks):
            decisions = memorization_filter.decide(torch.from_numpy(block.pixels), block.labels)
            blocks.append((block.ids, block.labels, decisions))
            yield images.as_table(block.take(~decisions.dropped), dataset.classes)

    images.write_tables(shard.path, kept())
    ids, labels, parts = zip(*blocks, strict=True)
    decisions = Decisions.concatenate(parts)
    return Judged(
        np.concatenate(labels), decisions.dropped, _table(shard.replicate, np.concatenate(ids), decisions, seen)
    )


def audit(job: AuditJob) -> tuple[Audit, set[str]]:
    """In a worker process: what the filter did to a replicate and is worth, and the ids of what calibrated it."""
    import torch

    memorization_filter, _, calibration = _filter(Dataset.open(), job.replicate, job.params)
    labels, dropped = job.labels, job.dropped
    sampled = evenly_spaced(len(labels), MOST_GENERATED)
    sample = torch.from_numpy(images.read_pixels(GENERATED / f"{job.replicate}.parquet", sampled))
    exposure = expose(memorization_filter, sample, labels[sampled], dropped[sampled], job.replicate)
    calibrated = calibration.ids[[] if memorization_filter.full_conformal else memorization_filter.calibrating]
    self_test = run_self_test(memorization_filter, job.replicate)
    return Audit(labels, dropped, self_test, exposure), set(calibrated.tolist())


def _filter(
    dataset: Dataset, replicate: int, params: FilterMemorizedParams
) -> tuple[MemorizationFilter, ImageSet, ImageSet]:
    """The replicate's filter, all images that its GAN saw, and those set aside to calibrate."""
    import torch

    seen, calibration = dataset.seen_by_gan(replicate), dataset.role(replicate, CALIBRATION)
    originals = Originals(
        seen=torch.from_numpy(seen.pixels),
        calibration=torch.from_numpy(calibration.pixels),
        flip_ok=dataset.flip_ok,
        seen_groups=seen.groups if params.by_group else None,
        calibration_groups=calibration.groups if params.by_group else None,
        calibration_labels=dataset.calibration_labels(replicate) if params.thresholds == "per_class" else None,
    )
    return MemorizationFilter(originals, params), seen, calibration


def _table(replicate: int, ids: NDArray[np.str_], decisions: Decisions, seen: ImageSet) -> pa.Table:
    """Why each generated image stays or goes. Internal: distances to real images are never published."""
    return pa.table(
        {
            "replicate": np.full(len(ids), replicate),
            "id": ids,
            "p": decisions.p,
            "distance": decisions.distance,
            "nearest": seen.ids[decisions.nearest],
            "reason": np.where(decisions.dropped, "memorized", ""),
        }
    )


if __name__ == "__main__":
    execute("filter_memorized", main)
