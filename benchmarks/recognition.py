"""How often a pretrained network recognises the class of generated images of 64 pixels, beside that of real ones.

The recogniser is a linear head on the frozen features of EfficientNet-Lite0. It learns from real images that neither
the generators nor the test know, so that copies gain nothing by being copies. What it recognises are means over the
classes, of test images ("real labels") and of generated ones behind the memorization filter. Beside it stands the
`accuracy` of a small classifier taught by the images alone: `projected` learned through the recogniser's own backbone,
and may please that more than anyone else. Below each generator stands what is left when several times as many images
are drawn and those stay in whose class a teacher, who learned from the generator's own real images, is surest, much as
`generate.candidates: 16` chooses. `python -m benchmarks.recognition` makes the red cells of 64 pixels, in colour, after
ten CPU minutes of training; `--generators` names kinds and, where they are installed, others' GANs; `--pictures FOLDER`
is where grids of them go.
"""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel, delayed
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import one_hot

from benchmarks.gan_contest import (
    REAL,
    Fit,
    accuracy,
    called,
    kept,
    other_gans,
    ours,
    parser,
    real,
    sets_of,
    surest,
    taught,
    teacher_of,
)
from benchmarks.gan_sets import GanSet
from stages.downstream.heads import fit_head
from stages.imaging.backbones import IN_PACKAGE, PACKAGED, open_backbone
from stages.imaging.networks import in_batches
from stages.labelling.soft_labels import Teacher

SET = "red_cells_64"
ENLARGED = 128  # pixels that the recogniser sees
WEIGHT_DECAY = 0.1
PER_CLASS = 100  # generated images
# What our GANs have otherwise here than elsewhere, chosen on development images (docs/gan_measured.md).
OWN = {"latent_dim": 16, "objective": {"kind": "hinge", "margin": 0.1}}
SUREST = 1 / 16  # share of the images drawn that stays in where a teacher chooses: the most that `candidates` takes
SHOWN = 10  # of a class, in the pictures


def main() -> None:
    arguments = parser(__doc__, seeds=1)
    arguments.add_argument("--seconds", type=float, default=600.0, help="CPU seconds that GANs learn for")
    arguments.add_argument("--generators", nargs="+", default=["gaussian", "refined_gaussian", "projected"])
    arguments.add_argument("--pictures", type=Path, help="folder for a grid of each generator, a row for each class")
    options = arguments.parse_args()
    tested, held_out = (sets_of(options, [SET], part).get(SET, []) for part in ("test", "development"))
    if not tested:
        print(f"the source of {SET} does not lie in {options.data}")
        return
    recognisers = [fitted(each) for each in held_out]
    others = other_gans(options.seconds)
    fits: dict[str, Fit] = {REAL: real}
    fits |= {
        name: others[name] if name in others else ours(name, options.seconds, **OWN) for name in options.generators
    }
    parallel = Parallel(n_jobs=options.jobs)
    teachers = parallel(delayed(teacher_of)(own, seed) for seed, own in enumerate(tested))
    work = (
        delayed(recognised)(name, fit, *given, seed, options.pictures)
        for seed, given in enumerate(zip(tested, recognisers, teachers, strict=True))
        for name, fit in fits.items()
    )
    rows = chain.from_iterable(parallel(work))
    found = pd.DataFrame(rows).groupby("generator", sort=False).mean()
    print(found.round(3).to_string(), flush=True)
    print(json.dumps({"of the real ones' rate": (found["recognised"] / found["recognised"][REAL]).round(3).to_dict()}))


def recognised(
    name: str, fit: Fit, own: GanSet, recogniser: nn.Module, teacher: Teacher, seed: int, pictures: Path | None
) -> list[dict[str, str | float]]:
    """What the recogniser finds in a generator's images, and a classifier learns from them, on one thread.

    A row for all images alike, and one for the surest share of more.
    """
    torch.set_num_threads(1)
    sample, steps = fit(own, seed)
    if name == REAL:  # those that are recognised are the images of the test
        images, labels = sample(PER_CLASS, seed)
        return [{"generator": name, **_told(images, labels, own, own, recogniser, seed), "steps": steps}]
    rows = list[dict[str, str | float]]()
    for share in (1.0, SUREST):
        images, labels = surest(sample, teacher, PER_CLASS, seed, share)
        row = called(name, share)
        if pictures is not None:
            draw(images, labels, pictures / f"{row}_{seed}.png")
        passed = kept(images, own)
        shown = replace(own, test_images=images[passed], test_labels=labels[passed])
        told = _told(images[passed], labels[passed], own, shown, recogniser, seed)
        rows.append({"generator": row, **told, "dropped": 1 - float(passed.float().mean()), "steps": steps})
    return rows


def _told(
    images: Tensor, labels: Tensor, own: GanSet, shown: GanSet, recogniser: nn.Module, seed: int
) -> dict[str, float]:
    """What is recognised of the images that are shown, and what a classifier learns from `images` (N, C, H, W)."""
    return {
        "recognised": accuracy(in_batches(recogniser, shown.test_images), shown),
        "accuracy": taught(images, one_hot(labels, own.data.classes).float(), own, seed),
    }


def fitted(held_out: GanSet) -> nn.Module:
    """The recogniser, of the development set's labelled images."""
    backbone = open_backbone(PACKAGED, ENLARGED, IN_PACKAGE)
    targets = one_hot(held_out.test_labels, held_out.data.classes).float()
    head, _, _ = fit_head(in_batches(backbone, held_out.test_images), targets, WEIGHT_DECAY)
    return nn.Sequential(backbone, head)


def draw(images: Tensor, labels: Tensor, path: Path) -> None:
    """A row of each class's first images; images: uint8 (N, C, H, W), SHOWN of each class at least."""
    grid = torch.stack([images[labels == label][:SHOWN] for label in labels.unique()]).permute(0, 3, 1, 4, 2)
    Image.fromarray(grid.flatten(2, 3).flatten(0, 1).squeeze(2).numpy()).save(path)


if __name__ == "__main__":
    main()
