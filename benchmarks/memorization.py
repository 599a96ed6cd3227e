"""How many disguised copies of real images the memorization filter finds, beside four published scores.

Each split of a set makes some images seen, some calibrate and some fresh, and plants copies of seen ones. Every method
scores all of them, and drops what its own calibration scores say at alpha .05: they differ in their score alone.
ours: the filter; ours_blurred: with `filter_memorized.blurred_view`; ours_features, which `--features` adds: with
`filter_memorized.backbone` beside that. The others compare plain pixels, as published:

- dcr: distance to the closest record.
- nndr: nearest-neighbour distance ratio, of the nearest to the second nearest.
- carlini: the distance to the nearest over the mean distance to the 50 nearest (Carlini et al., "Extracting Training
  Data from Diffusion Models", USENIX Security 2023, section 5.2; their factor alpha changes no rank).
- authenticity: the distance to the nearest over that one's own to its nearest other (Alaa et al., "How Faithful is your
  Synthetic Data?", ICML 2022).

Then the false positives of ours over many splits of the digits. `python -m benchmarks.memorization` runs the digits,
and those of the real sets that lie unpacked in `--data`.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import parameters
from stages.imaging.neighbours import distinct
from stages.imaging.params import BackboneParams
from stages.memorization.conformal import cutoff_rank, dropped, rate_interval
from stages.memorization.likeness import Likeness
from stages.memorization.params import FilterMemorizedParams
from stages.memorization.planted import planted
from stages.plumbing.errors import UserError

ALPHA = 0.05
SEEN, CALIBRATION, FRESH = 800, 300, 800  # images of a split at most; of a small set a half, a sixth and the rest
COPIES = 100  # seen images that are copied in every disguise
CARLINI_NEIGHBOURS = 50
OURS = ("ours", "ours_blurred")
FEATURES = "ours_features"
BACKBONE = BackboneParams(name="tf_efficientnet_lite0", size=96, weights="package")
FALSE_POSITIVES = "fresh (false positives)"
TIE = 0.01
SURE = 0.95  # of the copies that must be found in images of LARGE pixels or more
LARGE = 28
SURE_KINDS = ("exact", "flip", "shift", "brightness", "contrast")
FOLDERS = {  # of a set: its folder within `--data`, and whether a mirrored image keeps its class
    "red_cells": ("rbc_chula11", True),
    "chest_xrays": ("pneumoniamnist", False),
    "fashion": ("fashion_mnist_sub", True),
}


@dataclass(frozen=True)
class Originals:
    """Different real images, uint8 (N, C, H, W), N >= 200; flip_ok: whether a mirrored image keeps its class."""

    images: Tensor
    flip_ok: bool

    def split(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images that are seen, that calibrate and that are fresh, at random."""
        count = len(self.images)
        seen = min(SEEN, count // 2)
        calibrating = min(CALIBRATION, count // 6)
        rows = torch.from_numpy(np.random.default_rng(seed).permutation(count))
        first, second, third = self.images[rows].tensor_split([seen, seen + calibrating])
        return first, second, third[:FRESH]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    parser.add_argument("--sets", nargs="+", help="default: all that are there")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--calibration-splits", type=int, default=100)
    parser.add_argument("--features", action="store_true", help="a pretrained network's too: 10 ms an image")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    parallel, filters = Parallel(n_jobs=options.jobs), settings(options.features)
    tables: dict[str, pd.DataFrame] = {}
    sides: dict[str, int] = {}
    for name in options.sets or available(options.data):
        originals = load(name, options.data)
        each = parallel(delayed(detection)(originals, filters, seed) for seed in range(options.splits))
        tables[name], sides[name] = sum(each[1:], each[0]) / len(each), min(originals.images.shape[-2:])
        law, fresh = false_positive_law(originals)
        print(
            f"\n{name}: found of the copies, mean of {len(each)} splits; that of the false positives scatters by "
            f"{law.std() / fresh / len(each) ** 0.5:.3f} (standard deviation)\n{tables[name].round(3).to_string()}",
            flush=True,
        )
    print()
    for method in filters:
        print(rank(method, tables))
        print(surely_found(method, {name: table for name, table in tables.items() if sides[name] >= LARGE}))
    digits = load("digits", options.data)
    jobs = (delayed(false_positives)(digits, filters["ours"], seed) for seed in range(options.calibration_splits))
    print(calibration(parallel(jobs), digits))
    print(json.dumps({name: figures(table) for name, table in tables.items()}))


def available(folder: Path) -> list[str]:
    """Names of the sets that `load` can make: scikit-learn's digits, and those whose images are in `folder`."""
    return ["digits", *(name for name, (source, _) in FOLDERS.items() if (folder / source / "train").is_dir())]


def load(name: str, folder: Path) -> Originals:
    """The set's training images, whatever their class, in their own size; repeated ones once.

    Raises UserError for a name or a folder that is not there.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        pixels, flip_ok = (load_digits().images[:, None] * 255 / 16).round().astype(np.uint8), False
    elif name in FOLDERS:
        source, flip_ok = FOLDERS[name]
        pixels, _ = read_classes(folder / source / "train")
    else:
        raise UserError(f"there is no set {name!r}: choose one of digits, {', '.join(FOLDERS)}")
    images = torch.from_numpy(pixels)
    return Originals(images[distinct(images)[0]], flip_ok)


def read_classes(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images (N, C, H, W) of a folder with one folder per class, and the classes (N,), in the order of their names.

    Raises UserError where there are none.
    """
    from PIL import Image

    files = sorted(folder.glob("*/*.png"))
    if not files:
        raise UserError(f"{folder} holds no class folders with PNG images: unpack the set there, or leave it out")
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    pixels = pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return pixels, np.unique([file.parent.name for file in files], return_inverse=True)[1].astype(np.int64)


def detection(originals: Originals, filters: Mapping[str, FilterMemorizedParams], seed: int) -> pd.DataFrame:
    """Share dropped, 0..1, of one split's copies by kind (rows) and method (columns), and of its fresh images.

    filters: see `settings`; read once by the caller, for it takes longer than scoring a small set.
    """
    torch.set_num_threads(1)
    seen, calibrating, fresh = originals.split(seed)
    # a stream of its own: the split's seed must not decide the noise too
    copies = planted(seen[:COPIES], originals.flip_ok, np.random.SeedSequence((seed, 1)))
    parts = {"calibration": calibrating, **copies, FALSE_POSITIVES: fresh}
    images, ends = torch.cat(list(parts.values())), np.cumsum([len(part) for part in parts.values()])[:-1]
    ours = {name: Likeness(seen, None, originals.flip_ok, each).of(images).score for name, each in filters.items()}
    shares = {}
    for method, scores in (ours | rivals(seen, images)).items():
        by_part = dict(zip(parts, np.split(scores, ends), strict=True))
        reference = by_part.pop("calibration")
        shares[method] = {part: dropped(judged, reference, ALPHA).mean() for part, judged in by_part.items()}
    return pd.DataFrame(shares)


def rivals(seen: Tensor, images: Tensor) -> dict[str, NDArray[np.float64]]:
    """Scores (N,), low for a copy, of the published methods.

    seen: uint8 (M, C, H, W), M >= 2, all different. images: uint8 (N, C, H, W).
    """
    # bytes' squares add up to whole numbers that float64 holds, so that the norm expansion is exact here
    references, queries = seen.flatten(1).double(), images.flatten(1).double()
    distances, index = torch.cdist(queries, references).topk(min(CARLINI_NEIGHBOURS, len(seen)), largest=False)
    apart = torch.cdist(references, references).fill_diagonal_(torch.inf).amin(dim=1)
    nearest = distances[:, 0]
    scores = {
        "dcr": nearest,
        "nndr": nearest / distances[:, 1],
        "carlini": nearest / distances.mean(dim=1),
        "authenticity": nearest / apart[index[:, 0]],
    }
    return {method: score.numpy() for method, score in scores.items()}


def settings(features: bool = False) -> dict[str, FilterMemorizedParams]:
    """Those of ours: the default run's, without and with the blurred view, and with features beside that."""
    default = parameters.load().filter_memorized.model_copy(update={"alpha": ALPHA})
    sharp, blurred = (default.model_copy(update={"blurred_view": view}) for view in (False, True))
    with_features = {FEATURES: blurred.model_copy(update={"backbone": BACKBONE})} if features else {}
    return dict(zip(OURS, (sharp, blurred), strict=True)) | with_features


def _of_ours(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name in (*OURS, FEATURES)]


def rank(method: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Whether a method of ours leads or ties with each rival in every kind, on average over the sets that have it."""
    means = pd.concat(tables.values()).groupby(level=0, sort=False).mean().drop(index=FALSE_POSITIVES)
    others = means.drop(columns=_of_ours(means.columns))
    own, best, rival = means[method].to_dict(), others.max(axis=1).to_dict(), others.idxmax(axis=1).to_dict()
    behind = [kind for kind in own if best[kind] - own[kind] > TIE]
    where = ", ".join(f"{kind} {own[kind]:.3f} ({rival[kind]} {best[kind]:.3f})" for kind in behind)
    return f"{method} leads or ties on average over the sets: " + (f"not for {where}" if where else "for every kind")


def surely_found(method: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Whether a method finds every kind of copy that it must in each of the sets."""
    found = {
        f"{name} {kind}": share
        for name, table in tables.items()
        for kind, share in table[method].items()
        if kind in SURE_KINDS
    }
    missed = ", ".join(f"{case} {share:.3f}" for case, share in found.items() if share < SURE)
    verdict = f"not {missed}" if missed else f"all {len(found)} cases" if found else "there is none"
    return f"{method} finds {SURE:.0%} of {', '.join(SURE_KINDS)} in sets of {LARGE} pixels or more: {verdict}"


def false_positives(originals: Originals, params: FilterMemorizedParams, seed: int) -> int:
    """How many fresh images of a split the filter drops."""
    torch.set_num_threads(1)
    seen, calibrating, fresh = originals.split(seed)
    likeness = Likeness(seen, None, originals.flip_ok, params)
    return int(dropped(likeness.of(fresh).score, likeness.of(calibrating).score, ALPHA).sum())


def false_positive_law(originals: Originals) -> tuple[Any, int]:
    """The distribution of how many fresh images of a split are dropped, by any score without ties; how many there are.

    It is exactly beta-binomial: the threshold is one of the calibration scores, and varies with their draw.
    """
    from scipy.stats import betabinom

    _, calibrating, fresh = (len(part) for part in originals.split(0))
    cutoff = cutoff_rank(ALPHA, calibrating)
    return betabinom(fresh, cutoff, calibrating + 1 - cutoff), fresh


def calibration(counts: list[int], originals: Originals) -> str:
    """Holds the false positives of so many splits against what is promised: on average at most alpha.

    An interval of a split's fresh images alone (Clopper-Pearson) leaves out that the threshold varies too: it holds
    alpha in fewer splits than its 95 %, in a share that the same law tells.
    """
    law, fresh = false_positive_law(originals)
    low, high = law.ppf([0.025, 0.975]) / fresh
    intervals = np.array([rate_interval(count / fresh, fresh) for count in range(fresh + 1)])
    holds = (intervals[:, 0] <= ALPHA) & (intervals[:, 1] >= ALPHA)
    rates = np.array(counts) / fresh
    error = law.std() / fresh / len(rates) ** 0.5
    verdict = "holds" if rates.mean() <= ALPHA + 2 * error else "does NOT hold"
    return (
        f"\nfalse positives of ours over {len(rates)} splits of the digits ({fresh} fresh images): "
        f"mean {rates.mean():.4f}, at most {ALPHA:g} + 2 standard errors = {ALPHA + 2 * error:.4f} {verdict}\n"
        f"{np.mean((low <= rates) & (rates <= high)):.0%} of the splits within {low:.3f} to {high:.3f}, where 95 % "
        f"belong; the fresh images' own interval holds {ALPHA:g} in {holds[counts].mean():.0%} of them "
        f"({law.pmf(np.flatnonzero(holds)).sum():.0%} expected)"
    )


def figures(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Of each of ours: mean detection over each rival's, and the realised false-positive rate over alpha."""
    means = table.drop(index=FALSE_POSITIVES).mean()
    others = means.drop(ours := _of_ours(table.columns))
    return {
        method: (means[method] / others).round(3).to_dict()
        | {"false positives / alpha": round(table[method][FALSE_POSITIVES] / ALPHA, 3)}
        for method in ours
    }


if __name__ == "__main__":
    main()
