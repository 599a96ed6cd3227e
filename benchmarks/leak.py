"""What an attacker learns from a published set, and what lowers that: fewer images, a stricter filter, symmetry.

Each of ten replicates draws some of a real set's images, fits the Gaussian of each class to them, draws images, filters
them, and publishes what is left; `memorization.published` attacks all of it. Then the same with one thing changed:

- images: fewer images are published of each replicate.
- alpha: the filter drops what resembles a seen image more than all but so many of 100 fresh images do.
- replicates: a single replicate is published, and the attacker has no other images beside it.
- symmetric: the Gaussian is fitted to the images with all their mirrored and turned copies, which does not hold for
  images that mean something else when turned, such as digits: here they are pixels.

`python -m benchmarks.leak` takes the digits, and the red cells where they lie unpacked in `--data`. With `--run FOLDER`
the sets of a finished run in that folder, GANs too, are attacked as well: all of it, fewer images, a stricter filter.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import parameters
from benchmarks.memorization import FOLDERS, read_classes
from stages.generators.moments import measure
from stages.imaging.pixels import to_bytes
from stages.labelling.data import TrustedImages
from stages.memorization.attacks import evenly_spaced
from stages.memorization.filtering import MemorizationFilter, Originals
from stages.memorization.published import attack_published, candidates
from stages.plumbing import images
from stages.plumbing.dataset import Dataset

REPLICATES = 10
CALIBRATION = 200
PUBLISHED = 1000  # images of a replicate
RANK = 64
FEWER = (250, 50)
ALPHAS = (0.2, 0.5)
MOST_IMAGES = 1800


@dataclass(frozen=True)
class Published:
    """What replicates saw, held out and published, as for `attack_published`; p: of each image, by its filter."""

    real: Tensor
    seen: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    parts: Sequence[Tensor]
    p: Sequence[NDArray[np.float64]]

    def attacked(self, most: int = PUBLISHED, alpha: float = 0.0) -> dict[str, dict[str, float]]:
        """On at most so many images of each replicate, those with a p of alpha or less left out."""
        kept = [part[torch.from_numpy(p > alpha)] for part, p in zip(self.parts, self.p, strict=True)]
        fewer = [part[evenly_spaced(len(part), most)] for part in kept]
        return attack_published(self.real, self.seen, self.held_out, fewer)

    def alone(self) -> dict[str, dict[str, float]]:
        """The means over attacks on one replicate each."""
        each = [
            attack_published(self.real, self.seen[row, None], self.held_out[row, None], [part])
            for row, part in enumerate(self.parts)
        ]
        return {
            name: {key: float(np.mean([found[name][key] for found in each])) for key in entry}
            for name, entry in each[0].items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    parser.add_argument("--run", type=Path, help="folder of a finished run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, pixels, labels, seen in sets(options.data):
        print(
            f"\n{name}, {seen} images seen, Gaussian\n{pd.DataFrame(rows(pixels, labels, seen)).round(3).to_string()}"
        )
    for name, published in runs(options.run) if options.run else ():
        print(f"\n{options.run.name}, {name}\n{pd.DataFrame(changed(published)).round(3).to_string()}", flush=True)


def sets(folder: Path) -> Iterator[tuple[str, Tensor, Tensor, int]]:
    """Name, images, labels, and how many images a replicate sees."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    digits = torch.from_numpy((bunch.images[:, None] * 255 / 16).round().astype(np.uint8))
    for seen in (648, 200):
        yield "digits", digits[:898], torch.from_numpy(bunch.target[:898]).long(), seen
    source, _ = FOLDERS["red_cells"]
    if (folder / source / "train").is_dir():
        pixels, labels = read_classes(folder / source / "train")
        chosen = np.random.default_rng(0).permutation(len(pixels))[:MOST_IMAGES]
        yield "red cells", torch.from_numpy(pixels[chosen]), torch.from_numpy(labels[chosen]), 600


def rows(pixels: Tensor, labels: Tensor, seen: int) -> Iterator[dict[str, object]]:
    """Of the Gaussian as it is, of each change, and of the Gaussian of symmetric copies."""
    yield from changed(published(pixels, labels, seen, copies=1))
    yield row("mirrored copies", published(pixels, labels, seen, copies=2).attacked())
    symmetric = published(pixels, labels, seen, copies=8)
    yield row("mirrored and turned copies", symmetric.attacked())
    yield row("the same, 250 images", symmetric.attacked(250))


def changed(published: Published) -> Iterator[dict[str, object]]:
    """The set as it is, and with one thing changed."""
    yield row("all", published.attacked())
    for most in FEWER:
        yield row(f"{most} images", published.attacked(most))
    for alpha in ALPHAS:
        yield row(f"alpha {alpha}", published.attacked(alpha=alpha))
    yield row("one replicate", published.alone())


def row(change: str, found: dict[str, dict[str, float]]) -> dict[str, object]:
    worst = max(found, key=lambda name: abs(found[name]["auc"] - 0.5))
    return {"change": change, "attack": worst} | {
        name: found[worst].get(name) for name in ("auc", "low", "high", "detected")
    }


def published(pixels: Tensor, labels: Tensor, seen: int, copies: int) -> Published:
    """What replicates that see so many of the images draw and publish; copies: as of `draw`."""
    inside = np.zeros((REPLICATES, len(pixels)), dtype=bool)
    outside, parts, p = inside.copy(), [], []
    params = parameters.load().filter_memorized
    for replicate in range(REPLICATES):
        order = np.random.default_rng(replicate).permutation(len(pixels))
        own, fresh = torch.from_numpy(order[:seen]), torch.from_numpy(order[seen : seen + CALIBRATION])
        inside[replicate, order[:seen]], outside[replicate, order[seen:]] = True, True
        drawn = draw(pixels[own], labels[own], copies, replicate)
        filter_ = MemorizationFilter(Originals(pixels[own], pixels[fresh], flip_ok=copies > 1), params)
        decisions = filter_.decide(drawn)
        parts.append(drawn[torch.from_numpy(~decisions.dropped)])
        p.append(decisions.p[~decisions.dropped])
    rows = candidates(inside, outside)
    return Published(pixels[torch.from_numpy(rows)], inside[:, rows], outside[:, rows], parts, p)


def draw(pixels: Tensor, labels: Tensor, copies: int, seed: int) -> Tensor:
    """Images (1000, C, H, W) of the Gaussians of all classes, as many of each.

    copies: of each image that the Gaussian is fitted to: 1, itself; 2, mirrored too; 8, and turned too.
    """
    turned = [pixels.rot90(turns, (2, 3)) for turns in range(4 if copies == 8 else 1)]
    pixels = torch.cat([*turned, *(each.flip(3) for each in turned if copies > 1)])
    labels = labels.repeat(copies)
    classes, labels = labels.unique(return_inverse=True)
    moments = measure(TrustedImages(pixels, labels, torch.ones(len(labels))), len(classes), RANK)
    generator = torch.Generator().manual_seed(seed)
    of = torch.arange(PUBLISHED) % len(classes)
    noise = torch.randn(PUBLISHED, moments.factors.shape[2], generator=generator)
    encoded = moments.means[of] + torch.einsum("ndr,nr->nd", moments.factors[of], noise)
    flat = moments.components.mean + encoded @ moments.components.basis
    return to_bytes(flat.clamp(-1, 1).unflatten(1, pixels.shape[1:]))


def runs(folder: Path) -> Iterator[tuple[str, Published]]:
    """Each generator of a finished run, with its published set."""
    dataset = Dataset.open(folder / "data" / "prepare")
    ids, seen, held_out = dataset.membership()
    chosen = candidates(seen, held_out)
    real = torch.from_numpy(dataset.by_id(ids[chosen].tolist()).pixels)
    for place in sorted((folder / "data" / "filter_memorized").iterdir()):
        decisions = images.read_table(place / "decisions.parquet").to_pandas()
        kept = decisions[decisions["reason"] == ""].groupby("replicate")["p"]
        parts = [
            torch.from_numpy(images.read(place / f"{replicate}.parquet").pixels)
            for replicate in range(dataset.replicates)
        ]
        p = [kept.get_group(replicate).to_numpy() for replicate in range(dataset.replicates)]
        yield place.name, Published(real, seen[:, chosen], held_out[:, chosen], parts, p)


if __name__ == "__main__":
    main()
