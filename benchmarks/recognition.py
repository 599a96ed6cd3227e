"""How often a pretrained network recognises the class of generated images of 64 pixels, beside that of real ones.

The recogniser is a linear head on the frozen features of EfficientNet-Lite0. It learns from real images that neither
the generators nor the test know, so that copies gain nothing by being copies. What it recognises are means over the
classes, of test images and of generated ones behind the memorization filter. `python -m benchmarks.recognition` makes
the red cells of 64 pixels, in colour, after ten CPU minutes of training; `--pictures FOLDER` is where grids of them go.
"""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel, delayed
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import one_hot

from benchmarks.gan_contest import accuracy, kept, ours, parser, sets_of
from benchmarks.gan_sets import GanSet
from stages.downstream.heads import fit_head
from stages.imaging.backbones import IN_PACKAGE, PACKAGED, open_backbone
from stages.imaging.networks import in_batches

SET = "red_cells_64"
ENLARGED = 128  # pixels that the recogniser sees
WEIGHT_DECAY = 0.1
PER_CLASS = 100  # generated images
SHOWN = 10  # of a class, in the pictures
REAL = "real test images"


def main() -> None:
    arguments = parser(__doc__, seeds=1)
    arguments.add_argument("--seconds", type=float, default=600.0, help="CPU seconds that GANs learn for")
    arguments.add_argument("--generators", nargs="+", default=["gaussian", "refined_gaussian"])
    arguments.add_argument("--pictures", type=Path, help="folder for a grid of each generator, a row for each class")
    options = arguments.parse_args()
    tested, held_out = (sets_of(options, [SET], part).get(SET, []) for part in ("test", "development"))
    if not tested:
        print(f"the source of {SET} does not lie in {options.data}")
        return
    work = (
        delayed(recognised)(*both, seed, kind, options.seconds, options.pictures)
        for seed, both in enumerate(zip(tested, held_out, strict=True))
        for kind in options.generators
    )
    found = pd.DataFrame(Parallel(n_jobs=options.jobs)(work)).groupby("generator", sort=False).mean()
    print(found.round(3).to_string(), flush=True)
    print(json.dumps({"of the real ones' rate": (found["recognised"] / found[REAL]).round(3).to_dict()}))


def recognised(
    own: GanSet, held_out: GanSet, seed: int, kind: str, seconds: float, pictures: Path | None
) -> dict[str, str | float]:
    """What the recogniser finds in a generator's images and in real ones, in a process of one thread."""
    torch.set_num_threads(1)
    recogniser = fitted(held_out)
    sample, steps = ours(kind, seconds)(own, seed)
    images, labels = sample(PER_CLASS, seed)
    if pictures is not None:
        draw(images, own.data.classes, pictures / f"{kind}_{seed}.png")
    passed = kept(images, own)
    generated = replace(own, test_images=images[passed], test_labels=labels[passed])
    return {
        "generator": kind,
        "recognised": accuracy(in_batches(recogniser, generated.test_images), generated),
        REAL: accuracy(in_batches(recogniser, own.test_images), own),
        "dropped": 1 - float(passed.float().mean()),
        "steps": steps,
    }


def fitted(held_out: GanSet) -> nn.Module:
    """The recogniser, of the development set's labelled images."""
    backbone = open_backbone(PACKAGED, ENLARGED, IN_PACKAGE)
    targets = one_hot(held_out.test_labels, held_out.data.classes).float()
    head, _, _ = fit_head(in_batches(backbone, held_out.test_images), targets, WEIGHT_DECAY)
    return nn.Sequential(backbone, head)


def draw(images: Tensor, classes: int, path: Path) -> None:
    """A row of each class's first images; images: uint8 (classes * PER_CLASS, C, H, W), class by class."""
    grid = images.unflatten(0, (classes, -1))[:, :SHOWN].permute(0, 3, 1, 4, 2)
    Image.fromarray(grid.flatten(2, 3).flatten(0, 1).squeeze(2).numpy()).save(path)


if __name__ == "__main__":
    main()
