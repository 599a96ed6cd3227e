"""Stage 5, once per arm: trains the arm's classifiers and writes their predictions on the test images, unscored."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.downstream import choice, records
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute

if TYPE_CHECKING:
    from stages.downstream.arm_data import ArmData, SyntheticData

DATA = workdir.DATA / "train_downstream"


@dataclass(frozen=True)
class Job:
    """An arm on one replicate, known by all that it depends on: one classifier for each of the arm's settings."""

    unit: str
    key: str
    arm: ArmParams
    replicate: int
    params: TrainDownstreamParams


@dataclass(frozen=True)
class ScikitLearnJob(Job):
    """scikit-learn's classifiers on what the network was shown in the setting that the arm has chosen."""

    shown: Path


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
    further = [_scikit_learn_job(job, unit / str(chosen)) for job, unit in zip(jobs, units, strict=True)]
    names = params.scikit_learn.classifiers
    further_units = run.fan_out(fit_scikit_learn, further if names else [], "replicate")
    labels = {role: len(dataset.role(0, role)) for role in (TRAIN, VALIDATION)}

    with run.replacing(DATA / name) as folder:
        kept, test_ids = [unit / str(chosen) for unit in units], dataset.role(0, TEST).ids
        probabilities = [np.load(each / "probabilities.npy", allow_pickle=False) for each in kept]
        images.write_table(folder / "predictions.parquet", records.predictions(test_ids, probabilities))
        predicted = [[np.load(unit / f"{each}.npy", allow_pickle=False) for unit in further_units] for each in names]
        images.write_table(folder / "models.parquet", records.model_predictions(test_ids, predicted, names))
        for replicate, each in enumerate(kept):
            shutil.copyfile(each / "classifier.safetensors", folder / f"{replicate}.safetensors")
        runs = [settings[chosen] for settings in facts]
        told = records.arm_facts(arm, scores, chosen, runs, labels, params.classifier.checkpoints)
        workdir.write_json(folder / "arm.json", told)
    for unit, used in ((jobs[0].unit, jobs), (further[0].unit, further)):
        workdir.forget_others(unit, [job.key for job in used])


def _job(run: StageRun, name: str, replicate: int, dataset: Dataset) -> Job:
    params = run.params.train_downstream
    arm = params.arms[name]
    inputs: list[Any] = [
        run.code,
        params.model_dump(mode="json", exclude={"arms", "scikit_learn"}),
        params.scikit_learn.images,
        arm,
        dataset.fingerprint(replicate),
    ]
    if arm.adds_synthetic:
        inputs.append(Path(arm.images) / f"{replicate}.parquet")
    return Job(f"{run.name}@{name}", workdir.fingerprint(*inputs), arm, replicate, params)


def _scikit_learn_job(job: Job, setting: Path) -> ScikitLearnJob:
    key = workdir.fingerprint(job.key, job.params.scikit_learn, setting.name)
    return ScikitLearnJob(
        f"{job.unit}@scikit_learn", key, job.arm, job.replicate, job.params, setting / "shown.safetensors"
    )


def train(job: Job) -> Path:
    """In a worker process: trains the replicate's classifiers, unless an earlier, perhaps killed, run finished them."""

    def build(folder: Path) -> None:
        from safetensors.torch import save_file

        from stages.downstream.arms import run_arm

        results = run_arm(job.arm, _data(job), job.params, job.replicate)
        for setting, result in enumerate(results):
            place = folder / str(setting)
            place.mkdir()
            save_file(result.state, place / "classifier.safetensors")
            np.save(place / "probabilities.npy", result.test_probabilities, allow_pickle=False)
            save_file(vars(result.shown), place / "shown.safetensors")
        facts = ("validation_score", "history", "images", "from_validation", "steps")
        workdir.write_json(folder / "facts.json", [{name: getattr(each, name) for name in facts} for each in results])

    return workdir.finished(job.unit, job.key, build)


def fit_scikit_learn(job: ScikitLearnJob) -> Path:
    """In a worker process: what scikit-learn's classifiers predict, unless an earlier run knows it."""

    def build(folder: Path) -> None:
        from safetensors.torch import load_file
        from torch import from_numpy

        from stages.downstream.classical import predict_labels

        shown = load_file(job.shown)
        test_images = from_numpy(Dataset.open().role(job.replicate, TEST).pixels)
        for name in job.params.scikit_learn.classifiers:
            labels = predict_labels(name, **shown, test_images=test_images, seed=job.params.seed)
            np.save(folder / f"{name}.npy", labels, allow_pickle=False)

    return workdir.finished(job.unit, job.key, build)


def _data(job: Job) -> "ArmData":
    """The replicate's images and labels, as tensors."""
    from torch import from_numpy

    from stages.downstream.arm_data import ArmData

    dataset = Dataset.open()
    train, pool, validation, test = (
        dataset.role(job.replicate, role) for role in (TRAIN, UNLABELLED_POOL, VALIDATION, TEST)
    )
    return ArmData(
        train_images=from_numpy(train.pixels),
        train_labels=from_numpy(train.labels),
        validation_images=from_numpy(validation.pixels),
        validation_labels=from_numpy(validation.labels),
        unlabelled_images=from_numpy(pool.pixels),
        test_images=from_numpy(test.pixels),
        synthetic=_synthetic(images.read(Path(job.arm.images) / f"{job.replicate}.parquet"))
        if job.arm.adds_synthetic
        else None,
        classes=len(dataset.classes),
        flip_ok=dataset.flip_ok,
    )


def _synthetic(kept: ImageSet) -> "SyntheticData":
    """What the memorization filter kept, with the scores that `generate` noted."""
    from torch import from_numpy

    from stages.downstream.arm_data import SyntheticData

    scores = {name: from_numpy(kept.extra[name]) for name in ("realness", "latent_norm") if name in kept.extra}
    return SyntheticData(from_numpy(kept.pixels), from_numpy(kept.labels), **scores)


if __name__ == "__main__":
    execute("train_downstream", main, item=" ".join(sys.argv[1:]))
