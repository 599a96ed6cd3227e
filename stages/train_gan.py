"""Stage 2: trains one GAN for each replicate on its train images and its unlabelled pool."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.generators import snapshot_curves
from stages.generators.params import TrainGanParams
from stages.plumbing import images, progress, workdir
from stages.plumbing.dataset import TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.stage import StageRun, execute
from stages.tracking import recording

DATA = workdir.DATA / "train_gan"
CURVES = workdir.METRICS / "train_gan.csv"
LIVE = workdir.WORK / "live" / "train_gan"


@dataclass(frozen=True)
class Job:
    """One GAN to train, known by all that it depends on."""

    key: str
    replicate: int
    params: TrainGanParams

    @property
    def live(self) -> Path:
        """Where the worker tells of its progress."""
        return LIVE / str(self.replicate)


def main(run: StageRun) -> None:
    params, dataset = run.params.train_gan, Dataset.open()
    if not run.params.generate.trains_gan:
        _train_none(run)
        return
    jobs = [
        Job(workdir.fingerprint(run.code, params, dataset.fingerprint(replicate)), replicate, params)
        for replicate in range(dataset.replicates)
    ]
    fingerprint = workdir.fingerprint([job.key for job in jobs])
    with (
        recording.live_gan_run(run.params, fingerprint) as live,
        progress.following([job.live for job in jobs], params.steps, run.name, live.log),
    ):
        units = run.fan_out(train, jobs, "replicate", show_bar=False)

    with run.replacing(DATA) as folder:
        for job, unit in zip(jobs, units, strict=True):
            shutil.copytree(unit, folder / str(job.replicate))
        facts = {"fingerprint": fingerprint, "params": params.model_dump(mode="json")}
        workdir.write_json(folder / "run.json", facts)
    _write_metrics(run, params.steps, [workdir.read_json(unit / "gan.json") for unit in units])
    recording.record_gan(run.params)
    workdir.forget_others(run.name, [job.key for job in jobs])


def _train_none(run: StageRun) -> None:
    """The synthetic images come from elsewhere: no GAN is trained, and none of an earlier run stays."""
    with run.replacing(DATA):
        _write_metrics(run, 0, [])


def _write_metrics(run: StageRun, steps: int, gans: Sequence[dict[str, Any]]) -> None:
    """`gans`: what each replicate's gan.json holds."""
    run.write_metrics({"steps": steps, "replicates": {str(r): gan["quality"] for r, gan in enumerate(gans)}})
    workdir.write_bytes(CURVES, snapshot_curves.as_csv([gan["curve"] for gan in gans]).encode())


def train(job: Job) -> Path:
    """In a worker process: trains the replicate's GAN, unless an earlier, perhaps killed, run finished it."""

    def build(folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        from stages.generators import training
        from stages.labelling.data import GanData

        def report(now: training.Progress) -> None:
            measures = now.measures | {"images_per_second": now.images_per_second}
            picture = None if now.samples is None else np.moveaxis(now.samples, -1, 0)
            progress.say(job.live, now.step, measures, picture)

        dataset = Dataset.open()
        train, pool, validation = (dataset.role(job.replicate, role) for role in (TRAIN, UNLABELLED_POOL, VALIDATION))
        data = GanData(
            images=torch.from_numpy(train.pixels),
            labels=torch.from_numpy(train.labels),
            unlabelled=torch.from_numpy(pool.pixels),
            validation_images=torch.from_numpy(validation.pixels),
            validation_labels=torch.from_numpy(validation.labels),
            classes=len(dataset.classes),
            flip_ok=dataset.flip_ok,
        )
        seed = int(np.random.SeedSequence((job.params.seed, job.replicate)).generate_state(1)[0])
        gan = training.train(data, job.params, seed, report, workdir.CheckpointFile.of("train_gan", job.key))
        save_file(gan.generator, folder / "generator.safetensors")
        save_file(gan.discriminator, folder / "discriminator.safetensors")
        for step, picture in gan.samples.items():
            png = images.encode_png(np.moveaxis(picture, -1, 0))
            workdir.write_bytes(folder / "samples" / progress.picture_name(step), png)
        facts = {"networks": asdict(gan.config), "history": gan.history, "curve": gan.curve, "quality": gan.quality}
        workdir.write_json(folder / "gan.json", facts)

    return workdir.finished("train_gan", job.key, build)


if __name__ == "__main__":
    execute("train_gan", main)
