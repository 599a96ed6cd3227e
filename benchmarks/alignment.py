"""What `align: true` is worth where images lie askew, and how well it finds how they lie.

Images of 28 pixels are turned by up to 30 degrees and shifted by up to 3 pixels at random (`--degrees`, `--pixels`; 0
leaves them as they are), those learned from and those tested on alike. A generator learns some labelled ones of each
class, without and with alignment; a quick classifier then learns from its images alone and names turned test images, as
one does that learned from the real ones. The ratio is accuracy with alignment over accuracy without. The error of the
poses is what is left of the planted ones in images brought into line, beyond what alignment does to the same images
before they were turned, since hands slant and coats differ in length. `python -m benchmarks.alignment --data FOLDER`
prints a table for each set that is there.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import parameters
from benchmarks.gan_contest import Nowhere
from stages.generators.alignment import congeal, matrices, resample
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.params import KINDS, GeneratorParams
from stages.generators.requests import requests
from stages.generators.training import train
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool, quick_classifier
from stages.labelling.data import ReplicateData, TrustedImages
from stages.sources import registry
from stages.sources.params import AnySource, FolderParams, ParquetParams

FIRST_SEED = 100  # nothing was tried out with it or those above
SIDE = 28
KINDS_TRIED = ("gaussian", "projection")
DRAWN, TESTED = 100, 100  # images of each class
CLASSIFIER_STEPS = 200
SOURCES: dict[str, Any] = {
    "digits_mnist": lambda path: ParquetParams(
        kind="parquet", path=path, image_column="image", label_column="label", group_column=None
    ),
    "fashion_mnist_sub": lambda path: FolderParams(kind="folder", path=path),
}


@dataclass(frozen=True)
class Split:
    """Grey images uint8 (N, 1, 28, 28) and labels (N,): some of each class to learn from, and others for the test."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int

    @property
    def data(self) -> ReplicateData:
        """What a generator sees."""
        none = self.images[:0], self.labels[:0]
        return ReplicateData(self.images, self.labels, self.images[:0], *none, classes=self.classes, flip_ok=False)


def split(name: str, folder: Path, per_class: int, seed: int) -> Split:
    """`per_class` images of each class of a set, and TESTED others, at random."""
    source: AnySource = SOURCES[name](str(folder / name))
    listing, draw = registry.find(source), np.random.default_rng(seed)
    classes = range(len(listing.class_names))
    chosen = [draw.permutation(np.flatnonzero(listing.labels == label))[: per_class + TESTED] for label in classes]
    parts = []
    for rows in ([each[:per_class] for each in chosen], [each[per_class:] for each in chosen]):
        of_part = listing.take(np.concatenate(rows))
        images = [np.asarray(image.convert("L")) for image in registry.read(source, of_part.locators)]  # type: ignore[union-attr]
        parts += [torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(of_part.labels)]
    learned, learned_labels, tested, tested_labels = parts
    return Split(learned, learned_labels, tested, tested_labels, len(classes))


def askew(images: Tensor, degrees: float, pixels: float, seed: int) -> tuple[Tensor, Tensor]:
    """Images turned and shifted at random, by so much at most, and the `Poses.numbers` (N, 4) that bring them back."""
    spread = torch.tensor([degrees * torch.pi / 180, 0, 2 * pixels / SIDE, 2 * pixels / SIDE])
    numbers = (2 * torch.rand(len(images), 4, generator=torch.Generator().manual_seed(seed)) - 1) * spread
    return to_bytes(resample(to_network_range(images), matrices(numbers).inverse())), numbers


def pose_errors(own: Split, turned: Tensor, planted: Tensor) -> dict[str, float]:
    """Root mean square, in degrees and pixels, and median of the degrees: planted, and left after alignment."""
    trust = torch.ones(len(turned))
    found, before = (congeal(TrustedImages(images, own.labels, trust)) for images in (turned, own.images))
    left = torch.cat([_apart(found[own.labels == c], (planted + before)[own.labels == c]) for c in range(own.classes)])
    shift = planted[:, 2:].square().mean().sqrt() * SIDE / 2
    return {
        "planted_degrees": float(planted[:, 0].square().mean().sqrt() * 180 / torch.pi),
        "left_degrees": float(left[:, 0].square().mean().sqrt()),
        "median_left_degrees": float(left[:, 0].abs().median()),
        "planted_pixels": float(shift),
        "left_pixels": float(left[:, 1:].square().mean().sqrt()),
    }


def _apart(found: Tensor, expected: Tensor) -> Tensor:
    """Degrees, pixels right and down (N, 3) between poses, once the transform that all have in common is left out."""
    between = matrices(expected).inverse() @ matrices(found)
    degrees = torch.atan2(between[:, 1, 0], between[:, 0, 0]) * 180 / torch.pi
    rows = torch.stack([degrees, between[:, 0, 2] * SIDE / 2, between[:, 1, 2] * SIDE / 2], dim=1)
    return rows - rows.mean(dim=0)


def section(kind: str, **changes: Any) -> GeneratorParams:
    """The default's GAN as a section of this kind, with changes."""
    schema, _ = KINDS[kind]
    preset = parameters.load().train_gan.generators["gan"].model_dump()
    own = preset | {"rank": preset["latent_dim"]} | changes | {"kind": kind}
    return schema.model_validate({name: own[name] for name in schema.model_fields})


def drawn(made: TrainedGenerator, data: ReplicateData, seed: int) -> tuple[Tensor, Tensor]:
    """DRAWN images of each class, and their labels."""
    asked = requests([range(DRAWN)] * data.classes, seed, 0, sources_of(made.generator, data))
    images = [torch.from_numpy(made.draw(each, data.images, 1.0, scores=False).images) for each in asked]
    return torch.cat(images), torch.arange(data.classes).repeat_interleave(DRAWN)


def taught(images: Tensor, labels: Tensor, own: Split, seed: int) -> float:
    """Share of the test images that a quick classifier names right which learned from these images."""
    weights = torch.ones(len(images))
    classifier = quick_classifier.fit(images, labels, weights, own.classes, False, seed, steps=CLASSIFIER_STEPS)
    return float((classifier.probabilities(own.test_images).argmax(dim=1) == own.test_labels).float().mean())


def rows(name: str, own: Split, seed: int, steps: int, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Set, generator, alignment and accuracy, once for each way."""
    yield {"set": name, "generator": "real images", "align": "", "accuracy": taught(own.images, own.labels, own, seed)}
    for kind in kinds:
        for align in (False, True):
            started, data = process_time(), own.data
            params = section(kind, align=align, steps=steps)
            made = train(data, pool.unguessed(data), params, seed, lambda _: None, Nowhere())
            accuracy = taught(*drawn(made, data, seed), own, seed)
            seconds = process_time() - started
            yield {"set": name, "generator": kind, "align": str(align), "accuracy": accuracy, "seconds": seconds}


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options to name data, sets and seeds by."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    options.add_argument("--sets", nargs="+", help="default: those that are there")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--first-seed", type=int, default=FIRST_SEED)
    return options


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--per-class", type=int, default=50, help="labelled images of each class")
    options.add_argument("--steps", type=int, default=1000, help="of the GAN")
    options.add_argument("--kinds", nargs="+", default=KINDS_TRIED)
    options.add_argument("--degrees", type=float, default=30.0)
    options.add_argument("--pixels", type=float, default=3.0)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    found, errors = list[dict[str, Any]](), list[dict[str, Any]]()
    for name in chosen.sets or [name for name in SOURCES if (chosen.data / name).is_dir()]:
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
            plain = split(name, chosen.data, chosen.per_class, seed)
            turned, planted = askew(plain.images, chosen.degrees, chosen.pixels, seed)
            errors.append({"set": name, **pose_errors(plain, turned, planted)})
            tested, _ = askew(plain.test_images, chosen.degrees, chosen.pixels, seed + 1000)
            own = Split(turned, plain.labels, tested, plain.test_labels, plain.classes)
            for row in rows(name, own, seed, chosen.steps, chosen.kinds):
                print(seed, *row.values(), flush=True)
                found.append(row)
    table = pd.DataFrame(found).groupby(["set", "generator", "align"], sort=False)["accuracy"].agg(["mean", "std"])
    print(f"\n{table.round(3).to_string()}\n\n{pd.DataFrame(errors).groupby('set').mean().round(2).to_string()}")
    means = table["mean"].unstack("align")
    ratios = (means["True"] / means["False"]).dropna().round(3)
    print(json.dumps({" ".join(map(str, key)): ratio for key, ratio in zip(ratios.index, ratios, strict=True)}))


if __name__ == "__main__":
    main()
