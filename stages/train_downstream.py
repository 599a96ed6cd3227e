"""Stage 5, once per arm: trains the arm's classifiers and writes their predictions on the test images, unscored."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.downstream import choice, records
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TEST, TRAIN, VALIDATION, Dataset
from stages.plumbing.stage import StageRun, execute

if TYPE_CHECKING:
    from stages.downstream.arm_data import ArmData
    from stages.downstream.fitting import GuessPool

DATA = workdir.DATA / "train_downstream"


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


def main(run: StageRun) -> None:
    params, dataset = run.params.train_downstream, Dataset.open()
    arm = run.section(params.arms, "train_downstream.arms")
    jobs = [_job(run, arm, replicate, dataset) for replicate in range(dataset.replicates)]
    tried = run.fan_out(choose, jobs if arm.chooses(params.classifier.checkpoints) else [], "replicate")
    trials = [workdir.read_json(unit / "trials.json") for unit in tried]
    chosen = choice.choose(trials) if trials else choice.no_choice(dataset.replicates)
    final = [_final_job(job, chosen.setting, stop) for job, stop in zip(jobs, chosen.steps, strict=True)]
    trained = run.fan_out(train, final, "replicate")

    test_ids, names = dataset.ids(0, TEST), params.scikit_learn.classifiers
    labels = {role: len(dataset.ids(0, role)) for role in (TRAIN, VALIDATION)}
    with run.replacing(DATA / run.item) as folder:
        probabilities = _load(trained, "probabilities")
        images.write_table(folder / "predictions.parquet", records.predictions(test_ids, probabilities))
        predicted = [_load(trained, name) for name in names]
        images.write_table(folder / "models.parquet", records.model_predictions(test_ids, predicted, names))
        for replicate, unit in enumerate(trained):
            shutil.copyfile(unit / "classifier.safetensors", folder / f"{replicate}.safetensors")
        facts = [workdir.read_json(unit / "facts.json") for unit in trained]
        workdir.write_json(folder / "arm.json", records.arm_facts(arm, chosen, facts, labels, len(dataset.classes)))
    for stage, units in ((jobs[0].unit, tried), (final[0].unit, trained)):
        workdir.forget_others(stage, [unit.name for unit in units])


def _load(units: Sequence[Path], name: str) -> list[NDArray[Any]]:
    return [np.load(unit / f"{name}.npy", allow_pickle=False) for unit in units]


def _job(run: StageRun, arm: ArmParams, replicate: int, dataset: Dataset) -> Job:
    params = run.params.train_downstream
    shared = params.model_dump(mode="json", exclude={"arms", "scikit_learn", "device"})
    synthetic = [_synthetic_set(arm, replicate)] if arm.adds_synthetic else []
    weights = [Path(arm.backbone.weights)] if arm.backbone and Path(arm.backbone.weights).is_file() else []
    inputs = (run.code, shared, arm, dataset.fingerprint(replicate), *synthetic, *weights)
    return Job(f"{run.name}@{run.item}@choice", workdir.fingerprint(*inputs), arm, replicate, params)


def _final_job(job: Job, chosen: int, stop: int | None) -> Job:
    key = workdir.fingerprint(job.key, job.params.scikit_learn, chosen, stop)
    return replace(job, unit=job.unit.removesuffix("@choice"), key=key, chosen=chosen, stop=stop)


def _synthetic_set(arm: ArmParams, replicate: int) -> Path:
    return Path(arm.images) / f"{replicate}.parquet"


def choose(job: Job) -> Path:
    """In a worker process: tries the replicate's settings, unless an earlier, perhaps killed, run finished that."""

    def build(folder: Path) -> None:
        from stages.downstream.arms import try_settings

        data, ask = _data(job)
        trials = try_settings(job.arm, data, job.params, job.replicate, ask)
        workdir.write_json(folder / "trials.json", [asdict(trial) for trial in trials])

    return _finished(job, build)


def train(job: Job) -> Path:
    """In a worker process: trains the chosen setting on all labels, and scikit-learn's classifiers on what it was
    shown, unless an earlier run finished that."""

    def build(folder: Path) -> None:
        from safetensors.torch import save_file

        from stages.downstream.arms import train_arm
        from stages.downstream.classical import predict_labels

        data, ask = _data(job)
        result = train_arm(job.arm, data, job.params, job.replicate, ask, job.chosen, job.stop)
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


def _data(job: Job) -> "tuple[ArmData, GuessPool]":
    """The replicate's images and labels, the images on the stage's device; and whom to ask for the pool's labels."""
    from torch import from_numpy

    from stages.downstream.arm_data import ArmData, SyntheticData
    from stages.replicate import guess_pool, open_replicate

    params, dataset, synthetic = job.params, Dataset.open(), None
    seen = open_replicate(dataset, job.replicate, params.device, "train_downstream", params.deterministic)
    device = seen.images.device
    if job.arm.adds_synthetic:
        kept = images.read(_synthetic_set(job.arm, job.replicate))
        noted = ("probabilities", "realness", "latent_norm")
        known = {name: from_numpy(kept.extra[name]) for name in noted if name in kept.extra}
        synthetic = SyntheticData(from_numpy(kept.pixels).to(device), from_numpy(kept.labels), **known)
    data = ArmData(seen, from_numpy(dataset.role(job.replicate, TEST).pixels).to(device), synthetic)
    return data, partial(guess_pool, dataset, job.replicate, seen)


if __name__ == "__main__":
    # torch's optimisers import _dynamo when they are made, for seconds
    execute("train_downstream", main, item=" ".join(sys.argv[1:]), preload=("torch._dynamo", "stages.downstream.arms"))
