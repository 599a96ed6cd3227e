"""Stage 3: draws the synthetic images that the class plan asks for, each reproducible alone, or takes given ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from stages.gan.networks import NetworkConfig
from stages.gan.params import GenerateParams
from stages.gan.plan import class_plan
from stages.gan.sampling import generate, load_generator
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TRAIN, Dataset
from stages.plumbing.errors import reading
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute
from stages.sources import external

DATA = workdir.DATA / "generate"
GANS = workdir.DATA / "train_gan"
UNKNOWN_SEED = -1


def main(run: StageRun) -> None:
    params = run.params.generate
    dataset = Dataset.open()
    given = None if params.trains_gan else external.load(Path(params.external), dataset.image, dataset.classes)
    generated = np.zeros(len(dataset.classes), dtype=np.int64)
    with run.replacing(DATA) as folder:
        for replicate in range(dataset.replicates):
            made = _given(given, replicate) if given else _drawn(params, dataset, replicate)
            images.write(folder / f"{replicate}.parquet", made, dataset.classes)
            generated += np.bincount(made.labels, minlength=len(dataset.classes))
    run.write_metrics(
        {
            "generated": int(generated.sum()),
            "classes": {name: {"generated": int(n)} for name, n in zip(dataset.classes, generated, strict=True)},
        }
    )


def _given(images_: ImageSet, replicate: int) -> ImageSet:
    """The images made elsewhere, which every replicate gets alike; nothing is known of the seeds they came from."""
    count = len(images_)
    return replace(images_, extra=_origin(replicate, np.full(count, UNKNOWN_SEED), np.arange(count)))


def _drawn(params: GenerateParams, dataset: Dataset, replicate: int) -> ImageSet:
    """What the replicate's GAN draws, with ids that say which GAN, class and index each image comes from."""
    gan = GANS / str(replicate)
    with reading(gan):
        config = NetworkConfig(**workdir.read_json(gan / "gan.json")["networks"])
        generator = load_generator(load_file(gan / "generator.safetensors"), config)
    labelled = np.bincount(dataset.role(replicate, TRAIN).labels, minlength=len(dataset.classes))
    counts = class_plan(labelled.tolist(), params.plan)
    samples = generate(generator, counts, params.seed, replicate, params.truncation)
    return ImageSet(
        ids=np.array([f"synthetic-{replicate}-{y}-{i}" for y, i in zip(samples.labels, samples.index, strict=True)]),
        pixels=samples.images,
        labels=samples.labels,
        extra=_origin(replicate, samples.seeds, samples.index),
    )


def _origin(replicate: int, seeds: NDArray[np.int64], index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns that synthetic sets have beside those of all sets."""
    count = len(seeds)
    return {
        "replicate": np.full(count, replicate),
        "seed": seeds,
        "index": index,
        "synthetic": np.full(count, True),
    }


if __name__ == "__main__":
    execute("generate", main)
