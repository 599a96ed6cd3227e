"""Stage 6: scores the predictions, compares the arms, and writes answers, figures, report and the synthetic sets."""

from stages.comparison.publication import publish
from stages.comparison.summary import summarise
from stages.comparison.terminal import closing
from stages.gather import gather, synthetic_set, write_sets
from stages.plumbing import results, stale, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.stage import StageRun, execute
from stages.tracking import recording

DATA = workdir.DATA / "evaluate"


def main(run: StageRun) -> None:
    params, dataset = run.params, Dataset.open()
    arms, generators = params.train_downstream.arms, params.train_gan.generators
    results.remove_others(arms, generators)
    synthetic = {name: synthetic_set(dataset, name) for name in generators}
    inputs = [*results.files(), *(dataset.folder / name for name in ("images.parquet", "findings.parquet"))]
    fingerprint = workdir.fingerprint(run.code, params.decisive(), *inputs)
    evidence = gather(run, dataset, synthetic, fingerprint)
    published = publish(evidence)
    with run.replacing(DATA) as folder:
        write_sets(folder, evidence, synthetic)
        workdir.write_bytes(folder / "README.md", published.card.encode())
        workdir.write_bytes(folder / "report_private.html", published.private_report.encode())
        workdir.write_json(folder / "run.json", {"fingerprint": fingerprint, "params": params.decisive()})
    with run.replacing(workdir.METRICS / "figures") as folder:
        for name, png in published.pictures.items():
            workdir.write_bytes(folder / f"{name}.png", png)
    workdir.write_bytes(workdir.METRICS / "scores.csv", published.scores.to_csv(index=False).encode())
    workdir.write_bytes(workdir.METRICS / "report.html", published.report.encode())
    run.write_metrics(published.numbers | {stale.MARK: stale.made_from(params)})
    filtered = {name: each.privacy for name, each in evidence.generators.items()}
    summary = summarise(published.numbers, filtered, params.evaluate)
    workdir.write_json(workdir.METRICS / "evaluate_summary.json", summary)
    answers = closing(published.numbers, workdir.METRICS / "report.html")
    run.last_words = f"{_who_may_see(params.evaluate.publish_real_images)}\n{answers}"
    recording.record_comparison(params)


def _who_may_see(real_images: bool) -> str:
    """What git would commit of the real images."""
    if real_images:
        return "metrics/, which git tracks, shows real images (evaluate.publish_real_images: true)"
    return f"no real image is in metrics/; those are in {DATA}/report_private.html, which git ignores"


if __name__ == "__main__":
    execute("evaluate", main, preload=("stages.comparison.examination",))
