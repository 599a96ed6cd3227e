"""Stage 5, once per arm: trains the arm's classifiers and writes their predictions on the test images, unscored."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.downstream import choice, records
from stages.downstream.params import ArmParams
from stages.jobs.classifier import Job, choose, synthetic_sets, train
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TEST, TRAIN, VALIDATION, Dataset
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "train_downstream"


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
    weights = arm.backbone.files if arm.backbone else []
    inputs = (run.code, shared, arm, dataset.fingerprint(replicate), *synthetic_sets(arm, replicate), *weights)
    return Job(f"{run.name}@{run.item}@choice", workdir.fingerprint(*inputs), arm, replicate, params)


def _final_job(job: Job, chosen: int, stop: int | None) -> Job:
    key = workdir.fingerprint(job.key, job.params.scikit_learn, chosen, stop)
    return replace(job, unit=job.unit.removesuffix("@choice"), key=key, chosen=chosen, stop=stop)


if __name__ == "__main__":
    # torch's optimisers import _dynamo when they are made, for seconds
    execute("train_downstream", main, item=" ".join(sys.argv[1:]), preload=("torch._dynamo", "stages.downstream.arms"))
