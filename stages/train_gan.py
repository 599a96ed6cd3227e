"""Stage 2, once per generator: makes one for each replicate, from its train images and its unlabelled pool."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages import foresight
from stages.generators import flip_words, quality_curves
from stages.generators.params import GeneratorParams, PrivateParams, ProjectedParams
from stages.generators.requests import read_plan
from stages.jobs.generator import Job, train
from stages.plumbing import progress, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.stage import StageRun, execute
from stages.tracking import recording

DATA = workdir.DATA / "train_gan"
LIVE = workdir.WORK / "live" / "train_gan"


def main(run: StageRun) -> None:
    params, dataset, name = run.params.train_gan, Dataset.open(), run.item
    section = run.section(params.generators, "train_gan.generators")
    foresight.check(run.params, dataset)
    parts = (run.code, params.model_dump(exclude={"generators", "device"}), section.model_dump(exclude={"labels"}))
    given = sorted(path for path in (Path(section.path), *Path(section.path).rglob("*")) if path.is_file())
    if isinstance(section, ProjectedParams):
        given += section.backbone.files
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
    _write_metrics(run, getattr(section, "steps", 0), made, _promise(section, dataset, units))
    for line in flip_words.told([each["quality"] for each in made]):
        print(f"{run.label}: {line}")  # noqa: T201
    recording.record_generator(run.params, name)
    workdir.forget_others(jobs[0].unit, [unit.name for unit in units])


def _promise(section: GeneratorParams, dataset: Dataset, units: Sequence[Path]) -> dict[str, Any]:
    """What may be said of the images of all replicates together; nothing where no budget was kept."""
    if not isinstance(section, PrivateParams):
        return {}
    from stages.generators.private import PROMISE, told  # which imports torch, for seconds

    times, largest = dataset.labelled_times(section.protects == "group")
    return {"promise": told([read_plan(unit)["plan"][PROMISE] for unit in units], times, largest)}


def _write_metrics(run: StageRun, steps: int, made: Sequence[dict[str, Any]], promise: dict[str, Any]) -> None:
    """`made`: what each replicate's history.json holds."""
    quality = {str(r): each["quality"] for r, each in enumerate(made)}
    run.write_metrics({"steps": steps, "replicates": quality, **promise})
    curves = quality_curves.as_csv([each["curve"] for each in made])
    workdir.write_bytes(workdir.METRICS / run.name / f"{run.item}.csv", curves.encode())


if __name__ == "__main__":
    # torch's optimisers import _dynamo when they are made, for seconds
    execute("train_gan", main, item=" ".join(sys.argv[1:]), preload=("torch._dynamo", "stages.generators.training"))
