"""Stage 3: draws the synthetic images that the class plan asks for, each reproducible alone, or takes given ones."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from stages.gan.network_config import NetworkConfig
from stages.gan.params import GenerateParams
from stages.gan.plan import class_plan
from stages.gan.sampling import Samples, generate, load_generator
from stages.gan.scoring import load_discriminator, score
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
    params, dataset = run.params.generate, Dataset.open()
    given = None if params.trains_gan else external.load(Path(params.external), dataset.image, dataset.classes)
    generated = Counter[int]()
    with run.replacing(DATA) as folder:
        for replicate in range(dataset.replicates):
            sets = [_given(given, replicate)] if given else _drawn(params, dataset, replicate)
            tables = (images.as_table(each, dataset.classes) for each in _counted(sets, generated))
            images.write_tables(folder / f"{replicate}.parquet", tables)
    by_class = {name: {"generated": generated[label]} for label, name in enumerate(dataset.classes)}
    run.write_metrics({"generated": generated.total(), "classes": by_class})


def _given(images_: ImageSet, replicate: int) -> ImageSet:
    """The images made elsewhere, which every replicate gets alike; nothing is known of the seeds they came from."""
    unknown = np.full(len(images_), UNKNOWN_SEED)
    return replace(images_, extra=_origin(replicate, unknown, np.arange(len(unknown))))


def _drawn(params: GenerateParams, dataset: Dataset, replicate: int) -> Iterator[ImageSet]:
    """What the replicate's GAN draws, block by block."""
    gan = GANS / str(replicate)
    with reading(gan):
        config = NetworkConfig(**workdir.read_json(gan / "gan.json")["networks"])
        generator = load_generator(load_file(gan / "generator.safetensors"), config)
        discriminator = params.scores and load_discriminator(load_file(gan / "discriminator.safetensors"), config)
    labelled = np.bincount(dataset.role(replicate, TRAIN).labels, minlength=len(dataset.classes))
    counts = class_plan(labelled.tolist(), params.plan)
    blocks = generate(generator, config, counts, params.seed, replicate, params.truncation)
    for block in blocks:
        drawn = named(block, replicate)
        scores = asdict(score(discriminator, config, block)) if discriminator else {}
        yield replace(drawn, extra=drawn.extra | scores)


def named(block: Samples, replicate: int) -> ImageSet:
    """The images with ids that say which GAN, class and index each comes from."""
    ids = [f"synthetic-{replicate}-{y}-{i}" for y, i in zip(block.labels.tolist(), block.index.tolist(), strict=True)]
    return ImageSet(np.array(ids), block.images, block.labels, extra=_origin(replicate, block.seeds, block.index))


def _origin(replicate: int, seeds: NDArray[np.int64], index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns that synthetic sets have beside those of all sets."""
    count = len(seeds)
    return {"replicate": np.full(count, replicate), "seed": seeds, "index": index, "synthetic": np.full(count, True)}


def _counted(sets: Iterable[ImageSet], generated: Counter[int]) -> Iterator[ImageSet]:
    """The sets as they come; their images are counted by class."""
    for each in sets:
        generated.update(each.labels.tolist())
        yield each


if __name__ == "__main__":
    execute("generate", main)
