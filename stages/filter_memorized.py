"""Stage 4, once per generator: drops its images that are copies of what it saw, with a stated error rate."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from stages.generators.params import PrivateParams
from stages.jobs.judging import Shard, audit_sharded, judge
from stages.memorization.audit import summarise
from stages.memorization.filtering import check_some_kept
from stages.plumbing import images, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.stage import StageRun, execute

SHARD = 4  # blocks that a process judges: 16,384 images, many times those that set the threshold anew for each shard


def main(run: StageRun) -> None:
    section = run.section(run.params.train_gan.generators, "train_gan.generators")
    dataset, keep_all = Dataset.open(), isinstance(section, PrivateParams)
    with run.replacing(workdir.DATA / "filter_memorized" / run.item) as folder:
        shards = [
            shard for replicate in range(dataset.replicates) for shard in _shards(run, replicate, folder, keep_all)
        ]
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


def _shards(run: StageRun, replicate: int, folder: Path, keep_all: bool) -> Iterator[Shard]:
    generated = workdir.DATA / "generate" / run.item / f"{replicate}.parquet"
    blocks = range(-(-images.count(generated) // images.ROW_GROUP))
    for part in (blocks[start : start + SHARD] for start in blocks[::SHARD]):
        kept = folder / f"{replicate}-{part.start}.part"
        yield Shard(replicate, generated, part, part == blocks, kept, keep_all, run.params.filter_memorized)


if __name__ == "__main__":
    execute("filter_memorized", main, item=" ".join(sys.argv[1:]), preload=("stages.memorization.filtering",))
