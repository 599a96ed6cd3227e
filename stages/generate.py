"""Stage 3: draws the synthetic images that the class plan asks for, each reproducible alone, or takes given ones."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.generators.params import GenerateParams
from stages.generators.plan import class_plan, shards
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TRAIN, Dataset
from stages.plumbing.errors import reading
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute
from stages.sources import external

if TYPE_CHECKING:
    from stages.generators.sampling import Samples

DATA = workdir.DATA / "generate"
GANS = workdir.DATA / "train_gan"
UNKNOWN_SEED = -1


@dataclass(frozen=True)
class Shard:
    """Images to draw with a replicate's GAN, a range of each class, and the file that they go to."""

    replicate: int
    wanted: list[range]
    path: Path
    params: GenerateParams


def main(run: StageRun) -> None:
    params, dataset = run.params.generate, Dataset.open()
    with run.replacing(DATA) as folder:
        if params.trains_gan:
            generated = _draw_all(run, dataset, folder)
        else:
            generated = _take_given(Path(params.external), dataset, folder)
    by_class = {name: {"generated": int(count)} for name, count in zip(dataset.classes, generated, strict=True)}
    run.write_metrics({"generated": int(generated.sum()), "classes": by_class})


def _take_given(source: Path, dataset: Dataset, folder: Path) -> NDArray[np.int64]:
    """Writes images made elsewhere for every replicate; how many there are of each class, (classes,)."""
    given = external.load(source, dataset.image, dataset.classes)
    for replicate in range(dataset.replicates):
        images.write(folder / f"{replicate}.parquet", _given(given, replicate), dataset.classes)
    return dataset.replicates * np.bincount(given.labels, minlength=len(dataset.classes))


def _given(images_: ImageSet, replicate: int) -> ImageSet:
    """The images made elsewhere, which every replicate gets alike; nothing is known of the seeds they came from."""
    unknown = np.full(len(images_), UNKNOWN_SEED)
    return replace(images_, extra=_origin(replicate, unknown, np.arange(len(unknown))))


def _draw_all(run: StageRun, dataset: Dataset, folder: Path) -> NDArray[np.int64]:
    """Draws the images of all replicates, shard by shard; how many there are of each class, (classes,)."""
    params, work = run.params.generate, list[Shard]()
    for replicate in range(dataset.replicates):
        labelled = np.bincount(dataset.role(replicate, TRAIN).labels, minlength=len(dataset.classes))
        for number, wanted in enumerate(shards(class_plan(labelled.tolist(), params.plan))):
            work.append(Shard(replicate, wanted, folder / f"{replicate}-{number}.part", params))
    generated = run.fan_out(draw, work, "shard")
    for replicate in range(dataset.replicates):
        parts = [shard.path for shard in work if shard.replicate == replicate]
        images.join(folder / f"{replicate}.parquet", parts)
    return np.sum(generated, axis=0)


def draw(shard: Shard) -> NDArray[np.int64]:
    """In a worker process: draws the shard's images; how many there are of each class, (classes,)."""
    dataset = Dataset.open()
    generated = np.zeros(len(dataset.classes), dtype=np.int64)

    def tables() -> Iterator[pa.Table]:
        for block in _blocks(shard):
            generated[:] += np.bincount(block.labels, minlength=len(generated))
            yield images.as_table(block, dataset.classes)

    images.write_tables(shard.path, tables())
    return generated


def _blocks(shard: Shard) -> Iterator[ImageSet]:
    """What the replicate's GAN draws, block by block."""
    from safetensors.torch import load_file

    from stages.generators.network_config import NetworkConfig
    from stages.generators.sampling import generate, load_generator
    from stages.generators.scoring import load_discriminator, score

    params, gan = shard.params, GANS / str(shard.replicate)
    with reading(gan):
        config = NetworkConfig(**workdir.read_json(gan / "gan.json")["networks"])
        generator = load_generator(load_file(gan / "generator.safetensors"), config)
        discriminator = params.scores and load_discriminator(load_file(gan / "discriminator.safetensors"), config)
    for block in generate(generator, config, shard.wanted, params.seed, shard.replicate, params.truncation):
        drawn = named(block, shard.replicate)
        scores = asdict(score(discriminator, config, block)) if discriminator else {}
        yield replace(drawn, extra=drawn.extra | scores)


def named(block: "Samples", replicate: int) -> ImageSet:
    """The images with ids that say which GAN, class and index each comes from."""
    ids = [f"synthetic-{replicate}-{y}-{i}" for y, i in zip(block.labels.tolist(), block.index.tolist(), strict=True)]
    return ImageSet(np.array(ids), block.images, block.labels, extra=_origin(replicate, block.seeds, block.index))


def _origin(replicate: int, seeds: NDArray[np.int64], index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns that synthetic sets have beside those of all sets."""
    count = len(seeds)
    return {"replicate": np.full(count, replicate), "seed": seeds, "index": index, "synthetic": np.full(count, True)}


if __name__ == "__main__":
    execute("generate", main)
