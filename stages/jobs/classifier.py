"""Trains an arm's classifiers on one replicate: each setting to choose by, or the one that was chosen."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TEST, Dataset

if TYPE_CHECKING:
    from stages.downstream.arm_data import ArmData
    from stages.downstream.fitting import GuessPool


@dataclass(frozen=True)
class Job:
    """An arm on one replicate, known by all that it depends on. chosen, stop: see `arms.train_arm`."""

    unit: str
    key: str
    arm: ArmParams
    replicate: int
    params: TrainDownstreamParams
    chosen: int = 0
    stop: int | None = None


def synthetic_sets(arm: ArmParams, replicate: int) -> list[Path]:
    """The files of the generated images that the arm may add in this replicate."""
    return [Path(each.images) / f"{replicate}.parquet" for each in arm.by_generator() if each.adds_synthetic]


def choose(job: Job) -> Path:
    """In a worker process: tries the replicate's settings, unless an earlier, perhaps killed, run finished that."""

    def build(folder: Path) -> None:
        from stages.downstream.arms import try_settings

        trials = []
        for arm in job.arm.by_generator():
            data, ask = _data(job, arm)
            trials += try_settings(arm, data, job.params, job.replicate, ask)
        workdir.write_json(folder / "trials.json", [asdict(trial) for trial in trials])

    return _finished(job, build)


def train(job: Job) -> Path:
    """In a worker process: trains the chosen setting on all labels, and scikit-learn's classifiers on what it was
    shown, unless an earlier run finished that."""

    def build(folder: Path) -> None:
        from safetensors.torch import save_file

        from stages.downstream.arms import train_arm
        from stages.downstream.classical import predict_labels

        arm, setting = _chosen(job)
        data, ask = _data(job, arm)
        result = train_arm(arm, data, job.params, job.replicate, ask, setting, job.stop)
        save_file(result.state, folder / "classifier.safetensors")
        np.save(folder / "probabilities.npy", result.test_probabilities, allow_pickle=False)
        for name in job.params.scikit_learn.classifiers:
            predicted = predict_labels(name, result.shown, data.test_images.cpu(), job.params.seed)
            np.save(folder / f"{name}.npy", predicted, allow_pickle=False)
        facts = ("history", "images", "steps")
        workdir.write_json(folder / "facts.json", {name: getattr(result, name) for name in facts})

    return _finished(job, build)


def _finished(job: Job, build: Callable[[Path], None]) -> Path:
    from stages.imaging import devices

    return workdir.finished(job.unit, devices.key_on(job.key, job.params.device, "train_downstream"), build)


def _chosen(job: Job) -> tuple[ArmParams, int]:
    """The arm that was chosen, of one generator at most, and the number of the setting among those of it."""
    single = [(arm, number) for arm in job.arm.by_generator() for number in range(len(arm.settings))]
    return single[job.chosen]


def _data(job: Job, arm: ArmParams) -> "tuple[ArmData, GuessPool]":
    """The replicate's images and labels, the images on the stage's device; and whom to ask for the pool's labels.

    arm: that of the job, of one generator at most.
    """
    from torch import from_numpy

    from stages.downstream.arm_data import ArmData, SyntheticData
    from stages.jobs.replicate import guess_pool, open_replicate

    params, dataset, synthetic = job.params, Dataset.open(), None
    seen = open_replicate(dataset, job.replicate, params.device, "train_downstream", params.deterministic)
    device = seen.images.device
    for path in synthetic_sets(arm, job.replicate):
        kept = images.read(path)
        noted = ("probabilities", "realness", "latent_norm")
        known = {name: from_numpy(kept.extra[name]) for name in noted if name in kept.extra}
        synthetic = SyntheticData(from_numpy(kept.pixels).to(device), from_numpy(kept.labels), **known)
    data = ArmData(seen, from_numpy(dataset.role(job.replicate, TEST).pixels).to(device), synthetic)
    return data, partial(guess_pool, dataset, job.replicate, seen)
