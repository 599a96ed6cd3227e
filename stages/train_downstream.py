"""Stage 5, once per arm: trains the arm's classifiers and writes their predictions on the test images, unscored."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.downstream import choice, records
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "train_downstream"


@dataclass(frozen=True)
class Job:
    """An arm on one replicate, known by all that it depends on: one classifier for each of the arm's settings."""

    unit: str
    key: str
    arm: ArmParams
    replicate: int
    params: TrainDownstreamParams


def main(run: StageRun) -> None:
    params, name = run.params.train_downstream, sys.argv[1]
    if name not in params.arms:
        raise UserError(f"{name!r} is no arm of train_downstream.arms ({', '.join(params.arms)})")
    arm, dataset = params.arms[name], Dataset.open()
    jobs = [_job(run, name, replicate, dataset) for replicate in range(dataset.replicates)]
    units = run.fan_out(train, jobs, "replicate")
    facts = [workdir.read_json(unit / "facts.json") for unit in units]
    scores = np.array([[setting["validation_score"] for setting in settings] for settings in facts], dtype=float).T
    chosen = choice.choose(scores)
    labels = {role: len(dataset.role(0, role)) for role in (TRAIN, VALIDATION)}

    with run.replacing(DATA / name) as folder:
        kept = [unit / str(chosen) for unit in units]
        test_ids = dataset.role(0, TEST).ids
        probabilities = [np.load(each / "probabilities.npy", allow_pickle=False) for each in kept]
        images.write_table(folder / "predictions.parquet", records.predictions(test_ids, probabilities))
        for replicate, each in enumerate(kept):
            shutil.copyfile(each / "classifier.safetensors", folder / f"{replicate}.safetensors")
        runs = [settings[chosen] for settings in facts]
        workdir.write_json(folder / "arm.json", records.arm_facts(arm, scores, chosen, runs, labels))
    workdir.forget_others(jobs[0].unit, [job.key for job in jobs])


def _job(run: StageRun, name: str, replicate: int, dataset: Dataset) -> Job:
    params = run.params.train_downstream
    arm = params.arms[name]
    inputs: list[Any] = [
        run.code,
        params.model_dump(mode="json", exclude={"arms"}),
        arm,
        dataset.fingerprint(replicate),
    ]
    if arm.adds_synthetic:
        inputs.append(Path(arm.images) / f"{replicate}.parquet")
    return Job(f"{run.name}@{name}", workdir.fingerprint(*inputs), arm, replicate, params)


def train(job: Job) -> Path:
    """In a worker process: trains the replicate's classifiers, unless an earlier, perhaps killed, run finished them."""

    def build(folder: Path) -> None:
        from safetensors.torch import save_file
        from torch import from_numpy

        from stages.downstream.arms import ArmData, run_arm

        dataset = Dataset.open()
        train, pool, validation, test = (
            dataset.role(job.replicate, role) for role in (TRAIN, UNLABELLED_POOL, VALIDATION, TEST)
        )
        synthetic = images.read(Path(job.arm.images) / f"{job.replicate}.parquet") if job.arm.adds_synthetic else None
        data = ArmData(
            train_images=from_numpy(train.pixels),
            train_labels=from_numpy(train.labels),
            validation_images=from_numpy(validation.pixels),
            validation_labels=from_numpy(validation.labels),
            unlabelled_images=from_numpy(pool.pixels),
            test_images=from_numpy(test.pixels),
            synthetic_images=from_numpy(synthetic.pixels) if synthetic else None,
            synthetic_labels=from_numpy(synthetic.labels) if synthetic else None,
            classes=len(dataset.classes),
            flip_ok=dataset.flip_ok,
        )
        results = run_arm(job.arm, data, job.params, job.replicate)
        for setting, result in enumerate(results):
            place = folder / str(setting)
            place.mkdir()
            save_file(result.state, place / "classifier.safetensors")
            np.save(place / "probabilities.npy", result.test_probabilities, allow_pickle=False)
        facts = ("validation_score", "history", "images", "steps")
        workdir.write_json(folder / "facts.json", [{name: getattr(each, name) for name in facts} for each in results])

    return workdir.finished(job.unit, job.key, build)


if __name__ == "__main__":
    execute("train_downstream", main, item=sys.argv[1] if len(sys.argv) > 1 else None)
