"""Stage 5, once per arm: trains the arm's classifiers and writes their predictions on the test images, unscored."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

DATA = workdir.DATA / "train_downstream"


@dataclass(frozen=True)
class Job:
    """An arm on one replicate, known by all that it depends on. shown: what scikit-learn's classifiers learn from."""

    unit: str
    key: str
    arm: ArmParams
    replicate: int
    params: TrainDownstreamParams
    shown: Path = Path()


def main(run: StageRun) -> None:
    params, dataset = run.params.train_downstream, Dataset.open()
    arm = run.section(params.arms, "train_downstream.arms")
    jobs = [_job(run, arm, replicate, dataset) for replicate in range(dataset.replicates)]
    units = run.fan_out(train, jobs, "replicate")
    facts = [workdir.read_json(unit / "facts.json") for unit in units]
    scores = choice.validation_scores(facts)
    chosen = choice.choose(scores)
    kept = [unit / str(chosen) for unit in units]
    further = [_scikit_learn_job(job, unit) for job, unit in zip(jobs, kept, strict=True)]
    names = params.scikit_learn.classifiers
    fitted = run.fan_out(fit_scikit_learn, further if names else [], "replicate")

    labels = {role: len(dataset.ids(0, role)) for role in (TRAIN, VALIDATION)}
    with run.replacing(DATA / run.item) as folder:
        test_ids = dataset.ids(0, TEST)
        probabilities = _load(kept, "probabilities")
        images.write_table(folder / "predictions.parquet", records.predictions(test_ids, probabilities))
        predicted = [_load(fitted, name) for name in names]
        images.write_table(folder / "models.parquet", records.model_predictions(test_ids, predicted, names))
        for replicate, unit in enumerate(kept):
            shutil.copyfile(unit / "classifier.safetensors", folder / f"{replicate}.safetensors")
        told = records.arm_facts(arm, scores, chosen, facts, labels, params.classifier.checkpoints)
        workdir.write_json(folder / "arm.json", told)
    for used in (jobs, further):
        workdir.forget_others(used[0].unit, [job.key for job in used])


def _load(units: Sequence[Path], name: str) -> list[NDArray[Any]]:
    return [np.load(unit / f"{name}.npy", allow_pickle=False) for unit in units]


def _job(run: StageRun, arm: ArmParams, replicate: int, dataset: Dataset) -> Job:
    params = run.params.train_downstream
    shared = params.model_dump(mode="json", exclude={"arms", "scikit_learn"})
    synthetic = [_synthetic_set(arm, replicate)] if arm.adds_synthetic else []
    inputs = (run.code, shared, params.scikit_learn.images, arm, dataset.fingerprint(replicate), *synthetic)
    return Job(f"{run.name}@{run.item}", workdir.fingerprint(*inputs), arm, replicate, params)


def _scikit_learn_job(job: Job, setting: Path) -> Job:
    key = workdir.fingerprint(job.key, job.params.scikit_learn, setting.name)
    return replace(job, unit=f"{job.unit}@scikit_learn", key=key, shown=setting / "shown.safetensors")


def _synthetic_set(arm: ArmParams, replicate: int) -> Path:
    return Path(arm.images) / f"{replicate}.parquet"


def train(job: Job) -> Path:
    """In a worker process: trains the replicate's classifiers, unless an earlier, perhaps killed, run finished them."""

    def build(folder: Path) -> None:
        from safetensors.torch import save_file

        from stages.downstream.arms import run_arm
        from stages.replicate import guess_pool

        dataset = Dataset.open()
        ask = partial(guess_pool, dataset, job.replicate)
        results = run_arm(job.arm, _data(job, dataset), job.params, job.replicate, ask)
        for setting, result in enumerate(results):
            place = folder / str(setting)
            place.mkdir()
            save_file(result.state, place / "classifier.safetensors")
            np.save(place / "probabilities.npy", result.test_probabilities, allow_pickle=False)
            save_file(vars(result.shown), place / "shown.safetensors")
        facts = ("validation_score", "history", "images", "from_validation", "steps")
        workdir.write_json(folder / "facts.json", [{name: getattr(each, name) for name in facts} for each in results])

    return workdir.finished(job.unit, job.key, build)


def fit_scikit_learn(job: Job) -> Path:
    """In a worker process: what scikit-learn's classifiers predict, unless an earlier run knows it."""

    def build(folder: Path) -> None:
        from safetensors.torch import load_file
        from torch import from_numpy

        from stages.downstream.classical import predict_labels
        from stages.downstream.training import Examples

        shown, test = Examples(**load_file(job.shown)), from_numpy(Dataset.open().role(job.replicate, TEST).pixels)
        for name in job.params.scikit_learn.classifiers:
            np.save(folder / f"{name}.npy", predict_labels(name, shown, test, job.params.seed), allow_pickle=False)

    return workdir.finished(job.unit, job.key, build)


def _data(job: Job, dataset: Dataset) -> "ArmData":
    """The replicate's images and labels, the images on the stage's device."""
    from torch import from_numpy

    from stages.downstream.arm_data import ArmData, SyntheticData
    from stages.replicate import open_replicate

    params, synthetic = job.params, None
    seen = open_replicate(dataset, job.replicate, params.device, "train_downstream", params.deterministic)
    device = seen.images.device
    if job.arm.adds_synthetic:
        kept = images.read(_synthetic_set(job.arm, job.replicate))
        noted = ("probabilities", "realness", "latent_norm")
        known = {name: from_numpy(kept.extra[name]) for name in noted if name in kept.extra}
        synthetic = SyntheticData(from_numpy(kept.pixels).to(device), from_numpy(kept.labels), **known)
    return ArmData(seen, from_numpy(dataset.role(job.replicate, TEST).pixels).to(device), synthetic)


if __name__ == "__main__":
    execute("train_downstream", main, item=" ".join(sys.argv[1:]))
