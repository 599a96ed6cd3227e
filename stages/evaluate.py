"""Stage 6: scores the predictions, compares the arms, and writes verdict, figures, report and the synthetic set."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.examples import captions, suspicious
from stages.comparison.figures import Pixels
from stages.comparison.numbers import Outcomes
from stages.comparison.params import EvaluateParams
from stages.comparison.publication import Evidence, publish
from stages.comparison.release import kept_everywhere
from stages.comparison.scores import align, align_models
from stages.downstream.params import ClassifierParams
from stages.plumbing import images, workdir
from stages.plumbing.artifacts import ArmFacts, FilterMetrics, GanMetrics, PrepareMetrics
from stages.plumbing.dataset import TEST, TRAIN, VALIDATION, Dataset
from stages.plumbing.errors import reading
from stages.plumbing.images import ImageSet
from stages.plumbing.params import as_yaml
from stages.plumbing.stage import StageRun, execute
from stages.sources.findings import Finding
from stages.tracking import recording

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from stages.comparison.examination import Examination

DATA = workdir.DATA / "evaluate"
ARMS = workdir.DATA / "train_downstream"
GENERATED = workdir.DATA / "generate"
FILTERED = workdir.DATA / "filter_memorized"
LIBRARIES = ("torch", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True)
class Job:
    """One replicate's classifiers to examine."""

    replicate: int
    classifier: ClassifierParams
    params: EvaluateParams


def main(run: StageRun) -> None:
    settings, dataset = run.params.evaluate, Dataset.open()
    arms = list(run.params.train_downstream.arms)
    _remove_other_arms(arms)
    outcomes = _outcomes(run, dataset, arms)
    synthetic = _synthetic_set(dataset)
    labelled = images.concatenate([dataset.role(0, role) for role in (TRAIN, VALIDATION)])
    prepared = workdir.read_json(workdir.METRICS / "prepare.json", PrepareMetrics)
    findings, finding_pictures = _findings(dataset)
    own = (dataset.folder / name for name in ("images.parquet", "findings.parquet"))
    trained = sorted(path for kind in ("*.parquet", "*.safetensors") for path in ARMS.rglob(kind))
    inputs = [*trained, *sorted(FILTERED.glob("*.parquet")), *own]
    fingerprint = workdir.fingerprint(run.code, run.params.decisive(), *inputs)
    published = publish(
        Evidence(
            dataset=dataset.name,
            classes=dataset.classes,
            real_images=prepared["read"],
            left_out=prepared["read"] - prepared["images"],
            checks=prepared["checks"],
            findings=findings,
            finding_pictures=finding_pictures,
            params=settings,
            outcomes=outcomes,
            privacy=_privacy(dataset),
            synthetic=(synthetic.pixels, synthetic.labels),
            real=(labelled.pixels, labelled.labels),
            pairs=_pairs(dataset, settings.nearest_pairs),
            made_from=_origin(run, dataset),
            generator=run.params.train_gan.model_dump(mode="json") if run.params.generate.trains_gan else {},
            run={"fingerprint": fingerprint} | {library: version(library) for library in LIBRARIES},
            parameters=as_yaml(run.params.decisive()),
            gans=workdir.read_json(workdir.METRICS / "train_gan.json", GanMetrics)["replicates"],
            validation_labels=len(dataset.role(0, VALIDATION)),
        )
    )
    with run.replacing(DATA) as folder:
        images.write(folder / "synthetic.parquet", synthetic, dataset.classes)
        workdir.write_bytes(folder / "README.md", published.card.encode())
        workdir.write_bytes(folder / "report_private.html", published.private_report.encode())
        facts = {"fingerprint": fingerprint, "params": run.params.decisive()}
        workdir.write_json(folder / "run.json", facts)
    with run.replacing(workdir.METRICS / "figures") as folder:
        for name, png in published.pictures.items():
            workdir.write_bytes(folder / f"{name}.png", png)
    workdir.write_bytes(workdir.METRICS / "scores.csv", published.scores.to_csv(index=False).encode())
    workdir.write_bytes(workdir.METRICS / "report.html", published.report.encode())
    run.write_metrics(published.numbers)
    print(published.numbers["verdict"]["sentence"])  # noqa: T201
    recording.record_comparison(run.params)


def _outcomes(run: StageRun, dataset: Dataset, arms: Sequence[str]) -> Outcomes:
    """What all arms predicted, and what their classifiers tell when they are asked anew."""
    truth, classes, test = dataset.test_labels(), len(dataset.classes), dataset.role(0, TEST)
    predictions = align(_tables(arms, "predictions.parquet"), truth, classes)
    classifier, params = run.params.train_downstream.classifier, run.params.evaluate
    jobs = [Job(replicate, classifier, params) for replicate in predictions.replicates]
    groups = dict(zip(test.ids.tolist(), test.groups, strict=True)) if test.groups else None
    return Outcomes(
        predictions=predictions,
        models=align_models(_tables(arms, "models.parquet"), truth, classes, predictions.replicates),
        facts={arm: workdir.read_json(ARMS / arm / "arm.json", ArmFacts) for arm in arms},
        examinations=run.fan_out(examine_replicate, jobs, "replicate"),
        groups=np.array([groups[each] or each for each in truth.index]) if groups else None,
    )


def _tables(arms: Sequence[str], name: str) -> "dict[str, pd.DataFrame]":
    return {arm: images.read_table(ARMS / arm / name).to_pandas() for arm in arms}


def examine_replicate(job: Job) -> "Examination":
    """In a worker process: looks at the replicate's images and test set with its classifiers."""
    from safetensors.torch import load_file
    from torch import from_numpy

    from stages.comparison.examination import LabelledImages, examine
    from stages.downstream.classifiers import build_classifier

    dataset, contrast = Dataset.open(), job.params.contrast
    (channels, size, _), kind, width = dataset.shape, job.classifier.kind, job.classifier.width

    def network(arm: str) -> "nn.Sequential":
        path = ARMS / arm / f"{job.replicate}.safetensors"
        built = build_classifier(kind, channels, size, len(dataset.classes), width, seed=0)
        with reading(path):
            built.load_state_dict(load_file(path))
        return built.eval()

    test, kept = dataset.role(0, TEST), images.read(FILTERED / f"{job.replicate}.parquet")
    truth = dataset.test_labels().loc[test.ids.tolist()].to_numpy(copy=True)
    named = (*contrast.arms, *contrast.rivals) if job.params.robustness else ()
    return examine(
        networks={arm: network(arm) for arm in named},
        eye=network(contrast.rivals[0]),
        test=LabelledImages(from_numpy(test.pixels), from_numpy(truth)),
        synthetic=LabelledImages(from_numpy(kept.pixels), from_numpy(kept.labels)),
        disturbances=job.params.robustness,
        seed=job.params.seed,
    )


def _remove_other_arms(arms: Iterable[str]) -> None:
    """Arms that params.yaml no longer has: DVC sees by their folders that they are gone, and they are no result."""
    for folder in ARMS.iterdir() if ARMS.is_dir() else ():
        if folder.name not in arms:
            shutil.rmtree(folder)


def _privacy(dataset: Dataset) -> dict[str, Any]:
    """What the filter found, of the data set's classes."""
    path = workdir.METRICS / "filter_memorized.json"
    metrics = workdir.read_json(path, FilterMetrics)
    with reading(path):
        if metrics["classes"].keys() != set(dataset.classes):
            raise ValueError("it has other classes than the data set")
    return metrics


def _synthetic_set(dataset: Dataset) -> ImageSet:
    """What no replicate's filter dropped."""
    kept = images.concatenate([images.read(FILTERED / f"{r}.parquet") for r in range(dataset.replicates)])
    for score in ("realness", "latent_norm"):  # for the arms alone: what a discriminator knows is not published
        kept.extra.pop(score, None)
    judged = images.read_table(FILTERED / "decisions.parquet")["id"].to_numpy().astype(np.str_)
    return kept.take(kept_everywhere(kept.ids, judged))


def _origin(run: StageRun, dataset: Dataset) -> str:
    """What the synthetic images were made from, in words."""
    if not run.params.generate.trains_gan:
        return (
            f"a generator outside this pipeline ({run.params.generate.external}). Nothing here can tell which images "
            f"it learned from: if any of them are in the test set of {dataset.name}, the comparison flatters it."
        )
    return (
        f"{dataset.replicates} GANs, each trained on {len(dataset.seen_by_gan(0))} real images of "
        f"{dataset.name}, {len(dataset.role(0, TRAIN))} of them labelled; no GAN saw an image of the test set."
    )


def _findings(dataset: Dataset) -> tuple[list[Finding], list[tuple[Pixels | None, Pixels | None]]]:
    """Those findings of `prepare` that are shown, and of each its picture and that of the image it resembles."""
    table = images.read_table(dataset.folder / "findings.parquet")
    rows = [row for row in table.to_pylist() if row["shown"]]
    findings = [Finding(row["kind"], row["id"], row["other"], row["action"], row["detail"]) for row in rows]
    decoded = [[row[name] and images.decode_png(row[name]) for name in ("image", "other_image")] for row in rows]
    return findings, [(image, other) for image, other in decoded]


def _pairs(dataset: Dataset, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[str]]:
    """Generated images, the real ones that each is nearest to, and captions."""
    shown = suspicious(images.read_table(FILTERED / "decisions.parquet").to_pandas(), count)
    files = [GENERATED / f"{replicate}.parquet" for replicate in sorted(set(shown["replicate"]))]
    blocks = [block for file in files for block in _with_ids(file, shown["id"].tolist())]
    generated = images.concatenate(blocks).by_id(shown["id"].tolist())
    nearest = dataset.by_id(shown["nearest"].tolist())
    return generated.pixels, nearest.pixels, captions(shown)


def _with_ids(file: Path, ids: Sequence[str]) -> Iterator[ImageSet]:
    """The images with these ids out of a file that may be larger than memory."""
    for block in images.read_blocks(file):
        yield block.take(np.isin(block.ids, ids))


if __name__ == "__main__":
    execute("evaluate", main)
