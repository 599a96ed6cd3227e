"""Are persons found again in faces that were drawn anew, and is a smile still learned from these?

Faces drawn by a program (source `drawn_faces`), 6 of each of 120 persons; those of half of the persons are learned
from, and a smile is to be told on the other half's, as they are. The generator and arms are those of the preset
`deidentified_faces`. The first table has, by attacker, the share of images in which the person is named at the first
try, among all photographs but the one that the image was made from: of the photographs themselves (before), of the
images generated (after), of blurred, pixelated and blacked out ones, and by a guess. The second has the accuracy of a
classifier of the smile which learned from the photographs, from each kind of image alone, or from photographs with
generated ones. Means over the seeds, with limits over persons. With `--own-background .5` half of the images show their
person in one place and dress. With `--picture FILE.png` a picture of the first seed's images is drawn. No real face is
in this. `python -m benchmarks.deidentification`
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, Never

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks import parameters
from benchmarks.gan_contest import Nowhere
from stages.downstream.arm_data import ArmData, SyntheticData
from stages.downstream.arms import train_arm
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.requests import requests
from stages.generators.training import train
from stages.imaging.backbones import IN_PACKAGE, PACKAGED, open_backbone
from stages.imaging.networks import in_batches
from stages.imaging.normalise import to_mask, to_pixels
from stages.imaging.obscuring import obscured
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.memorization.reidentification import RIVALS, Photographs, Probes, photographs, reidentify
from stages.plumbing.errors import UserError
from stages.plumbing.params import Params
from stages.sources import registry

PRESET = "deidentified_faces"
FACTOR = 2  # generated images for each photograph
VALIDATION = 5  # photographs of each class that choices would be made on; here there is none to make
BACKBONE_SIZE = 64  # pixels that it sees along a side
LEFT_OUT = ("randaugment",)  # of the preset's arms
SHOWN = 12  # faces in the picture


@dataclass(frozen=True)
class Faces:
    """All photographs and their labels; rows of those that are learned from, (N,), the last VALIDATION of each class at
    the end, and of those that are tested on."""

    own: Photographs
    labels: Tensor
    learned: NDArray[np.int64]
    tested: NDArray[np.int64]

    @property
    def data(self) -> ReplicateData:
        """What a generator and arms see."""
        images, labels, masks = (each[self.learned] for each in (self.own.images, self.labels, self.own.regions))
        trained, choosing = slice(None, -2 * VALIDATION), slice(-2 * VALIDATION, None)
        parts = images[trained], labels[trained], images[:0], images[choosing], labels[choosing]
        return ReplicateData(*parts, classes=2, flip_ok=True, masks=masks)


def faces(params: Params, seed: int, own_background: float) -> Faces:
    """Other persons for each seed."""
    source = params.prepare.source.model_copy(update={"seed": seed, "own_background": own_background})
    listing, form = registry.find(source), params.prepare.image
    images = [to_pixels(each, form) for each in registry.read(source, listing.locators)]  # type: ignore[arg-type]
    masks = [to_mask(each, form)[None] for each in registry.masks(source, listing.locators) if each is not None]
    assert listing.groups is not None
    regions = torch.from_numpy(np.stack(masks))
    own = photographs(torch.from_numpy(np.stack(images)), regions, listing.groups, listing.ids.tolist())
    known = np.flatnonzero(own.persons < (own.persons.max() + 1) // 2)
    last = np.concatenate([known[listing.labels[known] == label][-VALIDATION:] for label in range(2)])
    learned = np.concatenate([np.setdiff1d(known, last), last])
    tested = np.setdiff1d(np.arange(len(listing)), known)
    return Faces(own, torch.from_numpy(listing.labels), learned, tested)


def generated(faces: Faces, made: TrainedGenerator, seed: int) -> tuple[Probes, Tensor]:
    """FACTOR images for each photograph that was learned from, and their labels."""
    data = faces.data.with_all_labels()
    assert data.masks is not None
    counts = [range(FACTOR * int(each)) for each in data.labels.bincount()]
    found = []
    for asked in requests(counts, seed, 0, sources_of(made.generator, data)):
        assert asked.sources is not None
        assert asked.masks is not None
        images = torch.from_numpy(made.draw(asked, data.images, 1.0, False, data.masks).images)
        rows = slice(asked.wanted)
        found.append((images, data.masks[asked.masks[rows]], asked.sources[rows], asked.labels[rows]))
    made_images, regions, sources, labels = zip(*found, strict=True)
    probes = Probes(torch.cat(made_images), torch.cat(regions), faces.learned[np.concatenate(sources)])
    return probes, torch.from_numpy(np.concatenate(labels))


def utility(params: Params, faces: Faces, probes: Probes, labels: Tensor, seed: int) -> dict[str, float]:
    """Accuracy of each arm of the preset on the tested persons' photographs; of its settings the middle one."""
    synthetic, found = SyntheticData(probes.images, labels), {}
    truth = faces.labels[faces.tested].numpy()
    for name, arm in params.train_downstream.arms.items():
        if name in LEFT_OUT:
            continue
        data = ArmData(faces.data, faces.own.images[faces.tested], synthetic if arm.adds_synthetic else None)
        chosen = len(arm.settings) // 2
        result = train_arm(arm, data, params.train_downstream, seed, _nobody, chosen, None)
        found[name] = float((result.test_probabilities.argmax(axis=1) == truth).mean())
    return found


def embedding() -> Callable[[Tensor], Tensor] | None:
    """The features of a pretrained network, where the extra is installed."""
    try:
        return partial(in_batches, open_backbone(PACKAGED, BACKBONE_SIZE, IN_PACKAGE))
    except UserError as error:
        print(f"without a backbone: {error}")
        return None


def identity(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Means over the seeds, in percent, by attacker and what was done; low, high: limits after, of the mean."""
    views = {view: [each["views"][view] for each in found] for view in found[0]["views"]}
    rows = {}
    for view, seeds in views.items():
        ways = ("before", "after", *RIVALS)
        row = {way: np.mean([each[way]["rate"] for each in seeds]) for way in ways}
        error = np.sqrt(
            np.mean([(each["after"]["high"] - each["after"]["low"]) ** 2 / 4 for each in seeds]) / len(seeds)
        )
        row |= {"±": error, "a guess": np.mean([each["chance"] for each in seeds])}
        rows[view] = {name: 100 * value for name, value in row.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def draw(faces: Faces, probes: Probes, path: Path) -> None:
    """A column for each of some images: the photograph, then generated, blurred, pixelated and blacked out."""
    rows = np.linspace(0, len(probes.images) - 1, SHOWN).astype(int)
    sources, regions = faces.own.images[probes.sources[rows]], probes.regions[rows]
    lines = [sources, probes.images[rows], *(obscured(sources, regions, way) for way in RIVALS)]
    grid = torch.cat([torch.cat(list(line), dim=2) for line in lines], dim=1).permute(1, 2, 0).numpy()
    Image.fromarray(grid).resize((grid.shape[1] * 3, grid.shape[0] * 3), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=400, help="of the generator")
    parser.add_argument("--reconstruction", type=float, help="of the generator; default: the preset's")
    parser.add_argument("--own-background", type=float, default=0.0)
    parser.add_argument("--picture", type=Path, help="PNG that the first seed's images are drawn to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params, embed = parameters.load(preset=PRESET), embedding()
    quiet: dict[str, Any] = {"steps": options.steps, "samples_every": options.steps, "checkpoint_every": options.steps}
    if options.reconstruction is not None:
        quiet["reconstruction"] = options.reconstruction
    section = params.train_gan.generators["infilling"].model_copy(update=quiet)
    found, scores = list[dict[str, Any]](), list[dict[str, float]]()
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        started, own = process_time(), faces(params, seed, options.own_background)
        made = train(own.data, pool.unguessed(own.data), section, seed, lambda _: None, Nowhere())
        probes, labels = generated(own, made, seed)
        trained = process_time()
        found.append(reidentify(own.own, probes, embed))
        searched = process_time()
        scores.append(utility(params, own, probes, labels, seed))
        seconds = trained - started, searched - trained, process_time() - searched
        print(
            f"seed {seed}: CPU seconds to train, search and test {', '.join(f'{each:.0f}' for each in seconds)}",
            flush=True,
        )
        if options.picture and seed == options.first_seed:
            draw(own, probes, options.picture)
    sizes = {name: found[0][name] for name in ("persons", "images", "photographs")}
    named, accuracy = identity(found), pd.DataFrame(scores)
    print(f"\nperson named, in percent {sizes}\n{named.round(1).to_string()}")
    smile = pd.DataFrame(
        {"accuracy": 100 * accuracy.mean(), "lost": 100 * (accuracy["classic"].mean() - accuracy.mean())}
    )
    print(f"\na smile told, in percent\n{smile.round(1).to_string()}")
    worst = named["after"].sub(named["a guess"]).max()
    print(
        json.dumps({"points above a guess, after": round(float(worst), 1), "smile": smile["lost"].round(1).to_dict()})
    )


def _nobody() -> Never:
    raise AssertionError("no arm here asks for the pool's labels")


if __name__ == "__main__":
    main()
