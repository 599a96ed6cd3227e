"""Makes the generator of one replicate, from what that may see: all labelled images and the unlabelled pool."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.generators.params import GeneratorParams, TrainGanParams
from stages.plumbing import images, progress, workdir
from stages.plumbing.dataset import Dataset


@dataclass(frozen=True)
class Job:
    """One generator to make, known by all that it depends on. live: where the worker tells of its progress."""

    unit: str
    key: str
    replicate: int
    section: GeneratorParams
    params: TrainGanParams
    live: Path


def train(job: Job) -> Path:
    """In a worker process: makes the replicate's generator, unless an earlier, perhaps killed, run finished it."""
    from stages.imaging import devices

    key = devices.key_on(job.key, job.params.device, "train_gan")

    def build(folder: Path) -> None:
        from stages.generators import training
        from stages.generators.registry import kind
        from stages.jobs.replicate import guess_pool, open_replicate
        from stages.labelling import pool

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
