"""Stage 3: draws the synthetic images that the class plan asks for, each reproducible alone."""

import numpy as np
from safetensors.torch import load_file

from stages.gan.networks import NetworkConfig
from stages.gan.plan import class_plan
from stages.gan.sampling import Samples, generate, load_generator
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TRAIN, Dataset
from stages.plumbing.errors import reading
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "generate"
GANS = workdir.DATA / "train_gan"


def main(run: StageRun) -> None:
    params = run.params.generate
    dataset = Dataset.open()
    generated = np.zeros(len(dataset.classes), dtype=np.int64)
    with run.replacing(DATA) as folder:
        for replicate in range(dataset.replicates):
            gan = GANS / str(replicate)
            with reading(gan):
                config = NetworkConfig(**workdir.read_json(gan / "gan.json")["networks"])
                generator = load_generator(load_file(gan / "generator.safetensors"), config)
            labelled = np.bincount(dataset.role(replicate, TRAIN).labels, minlength=len(dataset.classes))
            counts = class_plan(labelled.tolist(), params.plan)
            samples = generate(generator, counts, params.seed, replicate, params.truncation)
            images.write(folder / f"{replicate}.parquet", _image_set(samples, replicate), dataset.classes)
            generated += counts
    run.write_metrics(
        {
            "generated": int(generated.sum()),
            "classes": {name: {"generated": int(n)} for name, n in zip(dataset.classes, generated, strict=True)},
        }
    )


def _image_set(samples: Samples, replicate: int) -> ImageSet:
    """The samples with ids that say which GAN, class and index each comes from."""
    return ImageSet(
        ids=np.array([f"synthetic-{replicate}-{y}-{i}" for y, i in zip(samples.labels, samples.index, strict=True)]),
        pixels=samples.images,
        labels=samples.labels,
        extra={
            "replicate": np.full(len(samples.labels), replicate),
            "seed": samples.seeds,
            "index": samples.index,
            "synthetic": np.full(len(samples.labels), True),
        },
    )


if __name__ == "__main__":
    execute("generate", main)
