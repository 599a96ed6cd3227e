"""Stage 5, once per arm: trains the arm's classifiers and writes their predictions on the test images, unscored."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.downstream import choice, records
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TEST, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "train_downstream"


@dataclass(frozen=True)
class Job:
    """One training run: an arm with one of its settings, on one replicate."""

    unit: str
    key: str
    arm: ArmParams
    setting: int
    replicate: int
    params: TrainDownstreamParams


def main(run: StageRun) -> None:
    params, name = run.params.train_downstream, sys.argv[1]
    if name not in params.arms:
        raise UserError(f"{name!r} is no arm of train_downstream.arms ({', '.join(params.arms)})")
    arm, dataset = params.arms[name], Dataset.open()
    jobs = [job for replicate in range(dataset.replicates) for job in _jobs(run, name, replicate, dataset)]
    units = np.array(run.fan_out(train, jobs, "classifier"), dtype=object).reshape(dataset.replicates, -1)
    facts = [[workdir.read_json(unit / "facts.json") for unit in row] for row in units]
    scores = choice.validation_scores(facts)
    chosen = choice.choose(scores)

    with run.replacing(DATA / name) as folder:
        kept = units[:, chosen]
        test_ids = dataset.role(0, TEST).ids
        probabilities = [np.load(unit / "probabilities.npy", allow_pickle=False) for unit in kept]
        images.write_table(folder / "predictions.parquet", records.predictions(test_ids, probabilities))
        for replicate, unit in enumerate(kept):
            (folder / f"{replicate}.safetensors").write_bytes((unit / "classifier.safetensors").read_bytes())
        workdir.write_json(folder / "arm.json", records.arm_facts(arm, scores, chosen, [row[chosen] for row in facts]))
    workdir.forget_others(jobs[0].unit, [job.key for job in jobs])


def _jobs(run: StageRun, name: str, replicate: int, dataset: Dataset) -> list[Job]:
    """The replicate's training runs, one for each setting of the arm, keyed by all that they depend on."""
    params = run.params.train_downstream
    arm = params.arms[name]
    inputs = [run.code, params.model_dump(mode="json", exclude={"arms"}), dataset.fingerprint(replicate)]
    inputs.append(arm.model_dump(mode="json", exclude={"settings"}))
    if arm.adds_synthetic:
        inputs.append(Path(arm.images) / f"{replicate}.parquet")
    return [
        Job(f"{run.name}@{name}", workdir.fingerprint(*inputs, setting), arm, index, replicate, params)
        for index, setting in enumerate(arm.settings)
    ]


def train(job: Job) -> Path:
    """In a worker process: trains one classifier, unless an earlier, perhaps killed, run finished it."""

    def build(folder: Path) -> None:
        from safetensors.torch import save_file

        from stages.downstream.arms import run_arm

        synthetic = images.read(Path(job.arm.images) / f"{job.replicate}.parquet") if job.arm.adds_synthetic else None
        result = run_arm(job.arm, job.setting, Dataset.open(), synthetic, job.params, job.replicate)
        save_file(result.state, folder / "classifier.safetensors")
        np.save(folder / "probabilities.npy", result.test_probabilities, allow_pickle=False)
        workdir.write_json(folder / "facts.json", result.facts)

    return workdir.finished(job.unit, job.key, build)


if __name__ == "__main__":
    execute("train_downstream", main, item=sys.argv[1] if len(sys.argv) > 1 else None)
