"""Whether images betray which of ten GANs drew them that differ in nothing but their seed, and none told of others.

After Yu, Davis and Fritz, "Attributing Fake Images to GANs" (ICCV 2019, arXiv:1811.08180), section 4.1, in small: GANs
of one architecture learn the same real images from ten seeds, and a network learns to tell their images and real ones
apart. It is asked about images that it did not learn from, each disturbance by itself. `right`: share attributed to
their source; `chance` beside it. `missed`: share with p <= alpha for their own source, alone and in groups of five and
twenty, which is promised to be at most alpha over all disturbances together. `none`: share told to be of none of these,
of images that are: from three further seeds, from a GAN with another discriminator, and from a Gaussian.
`python -m benchmarks.provenance --data FOLDER` prints a table.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.alignment import SOURCES, Split, section, split
from benchmarks.gan_contest import Nowhere
from stages.generators.drawing import sources_of
from stages.generators.requests import requests
from stages.generators.training import train
from stages.labelling import pool
from stages.memorization import provenance

KNOWN = 10
STRANGERS = {
    "other seeds": ("projection", range(10, 13)),
    "auxiliary": ("auxiliary", [0]),
    "gaussian": ("gaussian", [0]),
}
PER_CLASS = 200  # real images of each class that GANs learn, and images that each of them draws
ALPHA = 0.05
FRESH = 4  # one image in so many is asked about, and neither learned from nor calibrated on
TOGETHER = (5, 20)
SEED = 0


def drawn(own: Split, kind: str, seed: int, steps: int) -> Tensor:
    """Images uint8 (classes * PER_CLASS, 1, 28, 28) of a generator trained from this seed, in a random order."""
    data = own.data
    made = train(data, pool.unguessed(data), section(kind, steps=steps), seed, lambda _: None, Nowhere())
    asked = requests([range(PER_CLASS)] * data.classes, seed, 0, sources_of(made.generator, data))
    return shuffled(
        torch.cat([torch.from_numpy(made.draw(each, data.images, 1.0, scores=False).images) for each in asked])
    )


def shuffled(images: Tensor) -> Tensor:
    return images[torch.from_numpy(np.random.default_rng(SEED).permutation(len(images)))]


def share_of_none(made: provenance.Attributor, sets: list[Tensor], size: int) -> float:
    """Share of groups of so many images of one generator that have p <= ALPHA for every source."""
    p = np.concatenate([each for images in sets for each in grouped(made, images, size)])
    return float(np.mean(p.max(axis=1) <= ALPHA))


def grouped(made: provenance.Attributor, images: Tensor, size: int) -> Iterator[NDArray[np.float64]]:
    """p-values (1, sources) of groups of so many images, each judged together."""
    counts = [len(each) for each in made.calibration]
    for p in np.split(made.p_values(images[: len(images) // size * size]), len(images) // size):
        yield p if size == 1 else provenance.together(p, counts, ALPHA)[None]


def row(made: provenance.Attributor, fresh: list[Tensor], strangers: Mapping[str, list[Tensor]]) -> dict[str, float]:
    """Shares of images under one disturbance. fresh: of each source."""
    found = [made.scores(images).argmax(axis=1) for images in fresh]
    right = [float(np.mean(each == source)) for source, each in enumerate(found)]
    told = {
        "right": float(np.mean(right)),
        "chance": 1 / len(fresh),
        "real right": right[-1],
    }
    for size in (1, *TOGETHER):
        for name, sets in strangers.items():
            told[f"none of {size}: {name}"] = share_of_none(made, sets, size)
        missed = [p[0, source] <= ALPHA for source, own in enumerate(fresh) for p in grouped(made, own, size)]
        told[f"missed of {size}"] = float(np.mean(missed))
    return told


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    options.add_argument("--set", choices=SOURCES, default="fashion_mnist_sub")
    options.add_argument("--gan-steps", type=int, default=300)
    options.add_argument("--steps", type=int, default=600, help="of the network that tells them apart")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    started, own = process_time(), split(chosen.set, chosen.data, PER_CLASS, SEED)
    sources = [drawn(own, "projection", seed, chosen.gan_steps) for seed in range(KNOWN)]
    sources.append(shuffled(torch.cat([own.images, own.test_images])))
    strangers = {
        name: [drawn(own, kind, seed, chosen.gan_steps) for seed in seeds] for name, (kind, seeds) in STRANGERS.items()
    }
    print(f"{process_time() - started:.0f} CPU seconds for the generators", flush=True)
    counts = [len(images) // FRESH for images in sources]
    made = provenance.fit([images[n:] for images, n in zip(sources, counts, strict=True)], SEED, chosen.steps)
    print(f"{process_time() - started:.0f} CPU seconds with the network", flush=True)
    fresh = [images[:n] for images, n in zip(sources, counts, strict=True)]
    few = {name: [images[: counts[0]] for images in sets] for name, sets in strangers.items()}
    random, found = np.random.default_rng(SEED), dict[str, Any]()
    for name, disturb in provenance.DISTURBANCES.items():
        ours = [disturb(images, random) for images in fresh]
        found[name] = row(
            made, ours, {each: [disturb(images, random) for images in sets] for each, sets in few.items()}
        )
    table = pd.DataFrame(found)
    print(f"{table.round(3).to_string()}\n{process_time() - started:.0f} CPU seconds in all")
    print(json.dumps({name: {key: round(value, 4) for key, value in each.items()} for name, each in found.items()}))


if __name__ == "__main__":
    main()
