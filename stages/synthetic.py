"""Publishes the synthetic sets alone, with a data card and without a comparison: `make synthetic`.

It is no stage: it looks at what `filter_memorized` left, and writes `data/synthetic`, which `evaluate` does not read.
"""

from stages.comparison.publication import card_of_sets
from stages.gather import gather, synthetic_set, write_sets
from stages.plumbing import results, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "synthetic"


def main(run: StageRun) -> None:
    dataset = Dataset.open()
    synthetic = {name: synthetic_set(dataset, name) for name in run.params.train_gan.generators}
    inputs = [*sorted(results.FILTERED.rglob("*.parquet")), dataset.folder / "images.parquet"]
    evidence = gather(run, dataset, synthetic, workdir.fingerprint(run.params.decisive(), *inputs), has_arms=False)
    with run.replacing(DATA) as folder:
        write_sets(folder, evidence, synthetic)
        workdir.write_bytes(folder / "README.md", card_of_sets(evidence, dataset.replicates).encode())
    lines = [_told(name, len(each), name in evidence.published) for name, each in synthetic.items()]
    run.last_words = "\n".join([*lines, f"their data card: {DATA / 'README.md'}"])


def _told(name: str, count: int, is_published: bool) -> str:
    if is_published:
        return f"{DATA / 'synthetic' / name}.parquet: {count} images"
    return (
        f"{name}: withheld, because its images leak; the data card says how (evaluate.publish_leaking: true gives it)"
    )


if __name__ == "__main__":
    execute("synthetic", main)
