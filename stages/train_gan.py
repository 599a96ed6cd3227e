"""Stage 2, once per generator: makes one for each replicate, from its train images and its unlabelled pool."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages import foresight
from stages.generators import flip_words, quality_curves
from stages.generators.params import GeneratorParams, TrainGanParams
from stages.plumbing import images, progress, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.stage import StageRun, execute
from stages.tracking import recording

DATA = workdir.DATA / "train_gan"
LIVE = workdir.WORK / "live" / "train_gan"


@dataclass(frozen=True)
class Job:
    """One generator to make, known by all that it depends on. live: where the worker tells of its progress."""

    unit: str
    key: str
    replicate: int
    section: GeneratorParams
    params: TrainGanParams
    live: Path


def main(run: StageRun) -> None:
    params, dataset, name = run.params.train_gan, Dataset.open(), run.item
    section = run.section(params.generators, "train_gan.generators")
    foresight.check(run.params, dataset)
    parts = (run.code, params.model_dump(exclude={"generators", "device"}), section.model_dump(exclude={"labels"}))
    given = sorted(path for path in (Path(section.path), *Path(section.path).rglob("*")) if path.is_file())
    jobs = [
        Job(
            f"{run.name}@{name}",
            workdir.fingerprint(*parts, *given, dataset.fingerprint(replicate)),
            replicate,
            section,
            params,
            LIVE / name / str(replicate),
        )
        for replicate in range(dataset.replicates)
    ]
    fingerprint = workdir.fingerprint([job.key for job in jobs], params.device)
    with (
        recording.live(run.params, name, fingerprint) as live,
        progress.following([job.live for job in jobs], getattr(section, "steps", 1), run.label, live.log),
    ):
        units = run.fan_out(train, jobs, "replicate", show_bar=False)
    with run.replacing(DATA / name) as folder:
        for job, unit in zip(jobs, units, strict=True):
            shutil.copytree(unit, folder / str(job.replicate))
        workdir.write_json(folder / "run.json", {"fingerprint": fingerprint, "params": section.model_dump(mode="json")})
    made = [workdir.read_json(unit / "history.json") for unit in units]
    _write_metrics(run, getattr(section, "steps", 0), made)
    for line in flip_words.told([each["quality"] for each in made]):
        print(f"{run.label}: {line}")  # noqa: T201
    recording.record_generator(run.params, name)
    workdir.forget_others(jobs[0].unit, [unit.name for unit in units])


def _write_metrics(run: StageRun, steps: int, made: Sequence[dict[str, Any]]) -> None:
    """`made`: what each replicate's history.json holds."""
    run.write_metrics({"steps": steps, "replicates": {str(r): each["quality"] for r, each in enumerate(made)}})
    curves = quality_curves.as_csv([each["curve"] for each in made])
    workdir.write_bytes(workdir.METRICS / run.name / f"{run.item}.csv", curves.encode())


def train(job: Job) -> Path:
    """In a worker process: makes the replicate's generator, unless an earlier, perhaps killed, run finished it."""
    from stages.imaging import devices

    key = devices.key_on(job.key, job.params.device, "train_gan")

    def build(folder: Path) -> None:
        from stages.generators import training
        from stages.generators.registry import kind
        from stages.labelling import pool
        from stages.replicate import guess_pool, open_replicate

        def report(now: training.Progress) -> None:
            measures = now.measures | {"images_per_second": now.images_per_second}
            picture = None if now.samples is None else np.moveaxis(now.samples, -1, 0)
            progress.say(job.live, now.step, measures, picture)

        dataset = Dataset.open()
        data = open_replicate(dataset, job.replicate, job.params.device, "train_gan", job.params.deterministic)
        seed = int(np.random.SeedSequence((job.params.seed, job.replicate)).generate_state(1)[0])
        checkpoint = workdir.CheckpointFile.of(job.unit, key)
        needed = kind(job.section.kind).needs_guesses
        guessed = guess_pool(dataset, job.replicate, data).final if needed else pool.unguessed(data)
        made = training.train(data.with_all_labels(), guessed, job.section, seed, report, checkpoint)
        made.save(folder)
        for step, picture in made.samples.items():
            png = images.encode_png(np.moveaxis(picture, -1, 0))
            workdir.write_bytes(folder / "samples" / progress.picture_name(step), png)

    return workdir.finished(job.unit, key, build)


if __name__ == "__main__":
    # torch's optimisers import _dynamo when they are made, for seconds
    execute("train_gan", main, item=" ".join(sys.argv[1:]), preload=("torch._dynamo", "stages.generators.training"))
