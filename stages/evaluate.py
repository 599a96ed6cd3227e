"""Stage 6: scores the predictions, compares the arms, and writes verdict, figures, report and the synthetic set."""

import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from stages.comparison import figures
from stages.comparison.examples import suspicious
from stages.comparison.report import CardContent, ReportContent, render_card, render_report
from stages.comparison.scores import align, class_recall, confusion, score, score_table
from stages.comparison.verdict import compare
from stages.plumbing import images, params, tracking, workdir
from stages.plumbing.dataset import TRAIN, Dataset
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "evaluate"
ARMS = workdir.DATA / "train_downstream"
FILTERED = workdir.DATA / "filter_memorized"
LIBRARIES = ("torch", "numpy", "scikit-learn", "scipy")


def main(run: StageRun) -> None:
    dataset, settings = Dataset.open(), run.params.evaluate
    arms = list(run.params.train_downstream.arms)
    _remove_other_arms(arms)
    facts = {arm: workdir.read_json(ARMS / arm / "arm.json") for arm in arms}
    tables = {arm: images.read_table(ARMS / arm / "predictions.parquet").to_pandas() for arm in arms}
    predictions = align(tables, dataset.test_labels(), len(dataset.classes))
    scores = score(predictions)
    numbers = compare(predictions, scores, {arm: facts[arm]["labels_used"] for arm in arms}, settings)
    privacy = workdir.read_json(workdir.METRICS / "filter_memorized.json")
    synthetic = images.concatenate([images.read(FILTERED / f"{r}.parquet") for r in range(dataset.replicates)])
    shown = (*settings.contrast.arms, *settings.contrast.rivals)
    counts = {arm: confusion(predictions, arm) for arm in shown}
    pictures = {
        "comparison": figures.comparison_figure(scores, numbers, settings),
        **_example_pictures(run, dataset, synthetic),
        **{f"confusion_{arm}": figures.confusion_figure(counts[arm], dataset.classes, arm) for arm in shown},
    }
    fingerprint = workdir.fingerprint(run.code, run.params.model_dump(mode="json"), numbers, privacy, synthetic.ids)
    provenance = {"fingerprint": fingerprint} | {library: version(library) for library in LIBRARIES}
    report = ReportContent(
        dataset=dataset.name,
        classes=dataset.classes,
        params=settings,
        numbers=numbers,
        arms=facts,
        recall={arm: class_recall(counts[arm]) for arm in shown},
        test_images=np.bincount(predictions.truth, minlength=predictions.classes).tolist(),
        privacy=privacy,
        comparison_png=pictures["comparison"],
        samples_png=pictures["samples"],
        pairs_png=pictures.get("pairs"),
        confusions={arm: pictures[f"confusion_{arm}"] for arm in shown},
        run=provenance,
        parameters=params.PARAMS_FILE.read_text(encoding="utf-8"),
    )
    card = CardContent(
        dataset=dataset.name,
        classes=dataset.classes,
        kept=np.bincount(synthetic.labels, minlength=len(dataset.classes)).tolist(),
        image_shape=dataset.shape,
        made_from=_made_from(dataset),
        generator=run.params.train_gan.model_dump(mode="json"),
        numbers=numbers,
        privacy=privacy,
        licence=settings.licence,
        run=provenance,
    )
    with run.replacing(DATA) as folder:
        images.write(folder / "synthetic.parquet", synthetic, dataset.classes)
        workdir.write_bytes(folder / "README.md", render_card(card).encode())
        workdir.write_json(folder / "run.json", {"fingerprint": fingerprint, "params": run.params.model_dump(mode="json")})
    with run.replacing(workdir.METRICS / "figures") as folder:
        for name, png in pictures.items():
            workdir.write_bytes(folder / f"{name}.png", png)
    validation = {arm: facts[arm]["validation_scores"] for arm in arms}
    table = score_table(scores, predictions.replicates, validation)
    workdir.write_bytes(workdir.METRICS / "scores.csv", table.to_csv(index=False).encode())
    workdir.write_bytes(workdir.METRICS / "report.html", render_report(report).encode())
    run.write_metrics(numbers)
    print(numbers["verdict"]["sentence"])  # noqa: T201
    tracking.record_comparison(run.params)


def _remove_other_arms(arms: Iterable[str]) -> None:
    """Folders of arms that params.yaml no longer has: DVC sees a removed arm by them, and they are results of nothing."""
    for folder in ARMS.iterdir() if ARMS.is_dir() else ():
        if folder.name not in arms:
            shutil.rmtree(folder)


def _made_from(dataset: Dataset) -> str:
    """What the GANs saw, in words, for the data card."""
    seen, labelled = len(dataset.seen_by_gan(0)), len(dataset.role(0, TRAIN))
    return (
        f"{dataset.replicates} GANs, each trained on {seen} real images of {dataset.name}, {labelled} of them labelled; "
        "no GAN saw an image of the test set"
    )


def _example_pictures(run: StageRun, dataset: Dataset, synthetic: ImageSet) -> dict[str, bytes]:
    """Generated images by class; beside real ones and each with its nearest real one only where these may be published."""
    settings = run.params.evaluate
    if not settings.publish_real_images:
        grid = figures.sample_grid(synthetic.pixels, synthetic.labels, dataset.classes, settings.examples_per_class)
        return {"samples": grid}
    train = dataset.role(0, TRAIN)
    grid = figures.sample_grid(
        synthetic.pixels, synthetic.labels, dataset.classes, settings.examples_per_class, train.pixels, train.labels
    )
    decisions = images.read_table(FILTERED / "decisions.parquet").to_pandas()
    pairs = suspicious(decisions, settings.nearest_pairs)
    generated = images.concatenate([images.read(Path(f"data/generate/{r}.parquet")) for r in range(dataset.replicates)])
    captions = [f"p {row.p:.3f}, {'dropped' if row.reason else 'kept'}" for row in pairs.itertuples()]
    nearest = dataset.by_id(pairs["nearest"].tolist())
    return {
        "samples": grid,
        "pairs": figures.nearest_pairs(generated.by_id(pairs["id"].tolist()).pixels, nearest.pixels, captions),
    }


if __name__ == "__main__":
    execute("evaluate", main)
