"""Stage 3, once per generator: draws the synthetic images that the class plan asks for, each reproducible alone."""

import sys

import numpy as np

from stages.generators.requests import class_plan, read_plan, shards
from stages.jobs.drawing import GENERATORS, Shard, draw
from stages.plumbing import images, workdir
from stages.plumbing.dataset import LABELLED, Dataset
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "generate"


def main(run: StageRun) -> None:
    params, classic = run.params.generate, run.params.train_downstream.classic
    dataset, name = Dataset.open(), run.item
    section = run.section(run.params.train_gan.generators, "train_gan.generators")
    work = list[Shard]()
    with run.replacing(DATA / name) as folder:
        for replicate in range(dataset.replicates):
            plan = read_plan(GENERATORS / name / str(replicate))["plan"]
            labelled = np.bincount(dataset.labels(replicate, *LABELLED), minlength=len(dataset.classes))
            counts = plan.get("counts") or class_plan(labelled.tolist(), params.plan)
            for number, wanted in enumerate(shards(counts)):
                part = folder / f"{replicate}-{number}.part"
                work.append(Shard(name, replicate, wanted, part, section, params, classic))
        generated = np.sum(run.fan_out(draw, work, "shard"), axis=0)
        for replicate in range(dataset.replicates):
            parts = [shard.path for shard in work if shard.replicate == replicate]
            images.join(folder / f"{replicate}.parquet", parts)
    by_class = {name: {"generated": int(count)} for name, count in zip(dataset.classes, generated, strict=True)}
    run.write_metrics({"generated": int(generated.sum()), "classes": by_class})


if __name__ == "__main__":
    execute("generate", main, item=" ".join(sys.argv[1:]), preload=("stages.generators.drawing",))
