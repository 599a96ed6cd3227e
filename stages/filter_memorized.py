"""Stage 4: drops generated images that are copies of what the GAN saw, with a stated error rate."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Job:
    """One replicate to filter, and the folder that its images go to."""

    replicate: int
    folder: Path
    params: FilterMemorizedParams


@dataclass(frozen=True)
class Judged:
    """What is known of the blocks that have been read; of their pixels, a sample."""

    ids: list[NDArray[np.str_]] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)
    decisions: list[Decisions] = field(default_factory=list)
    sample: list[NDArray[np.uint8]] = field(default_factory=list)


def main(run: StageRun) -> None:
    params, dataset = run.params.filter_memorized, Dataset.open()
    with run.replacing(DATA) as folder:
        jobs = [Job(replicate, folder, params) for replicate in range(dataset.replicates)]
        audits, tables, calibrating = zip(*run.fan_out(filter_replicate, jobs, "replicate"), strict=True)
        images.write_table(folder / "decisions.parquet", pa.concat_tables(tables))
    labels_used = len(calibrating[0]) if params.thresholds == "per_class" else 0
    run.write_metrics(summarise(audits, dataset.classes, len(set().union(*calibrating)), labels_used, params))


def filter_replicate(job: Job) -> tuple[Audit, pa.Table, set[str]]:
    """In a worker process: writes what is kept; its audit, why each image stays or goes, and ids of what calibrated."""
    import torch  # here, because workers get this function by value, and cannot get torch that way

    dataset, path = Dataset.open(), GENERATED / f"{job.replicate}.parquet"
    seen, calibration = dataset.seen_by_gan(job.replicate), dataset.role(job.replicate, CALIBRATION)
    originals = Originals(
        seen=torch.from_numpy(seen.pixels),
        calibration=torch.from_numpy(calibration.pixels),
        flip_ok=dataset.flip_ok,
        seen_groups=seen.groups if job.params.by_group else None,
        calibration_groups=calibration.groups if job.params.by_group else None,
        calibration_labels=dataset.calibration_labels(job.replicate) if job.params.thresholds == "per_class" else None,
    )
    memorization_filter, judged = MemorizationFilter(originals, job.params), Judged()
    sampled = evenly_spaced(images.count(path), MOST_GENERATED)
    kept = _kept(path, memorization_filter, judged, sampled)
    images.write_tables(job.folder / path.name, (images.as_table(each, dataset.classes) for each in kept))
    decisions, labels = Decisions.concatenate(judged.decisions), np.concatenate(judged.labels)
    check_some_kept(decisions, job.replicate)
    sample = torch.from_numpy(np.concatenate(judged.sample))
    exposure = expose(memorization_filter, sample, labels[sampled], decisions.dropped[sampled], job.replicate)
    audit = Audit(labels, decisions.dropped, run_self_test(memorization_filter, job.replicate), exposure)
    table = _table(job.replicate, np.concatenate(judged.ids), decisions, seen)
    calibrated = calibration.ids[[] if memorization_filter.full_conformal else memorization_filter.calibrating]
    return audit, table, set(calibrated.tolist())


def _kept(
    path: Path, memorization_filter: MemorizationFilter, judged: Judged, sampled: NDArray[np.int64]
) -> Iterator[ImageSet]:
    """What stays of the generated images, block by block, so that any number of them may be judged."""
    from torch import from_numpy

    start = 0
    for block in images.read_blocks(path):
        decisions = memorization_filter.decide(from_numpy(block.pixels), block.labels)
        own = sampled[(sampled >= start) & (sampled < start + len(block))] - start
        judged.ids.append(block.ids)
        judged.labels.append(block.labels)
        judged.decisions.append(decisions)
        judged.sample.append(block.pixels[own])
        start += len(block)
        yield block.take(~decisions.dropped)


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
