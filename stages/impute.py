"""Fills missing pixels before anything else is done: `python -m stages.impute FOLDER TARGET`.

It learns from the images of FOLDER, whatever their classes, and writes each as PNG into TARGET, under its name;
observed pixels stay as they are. A pixel is missing where it is wholly transparent, or no number (in a TIFF of floats),
or, with `--masks`, where the mask of the same name is not black. Let `prepare.source.path` name TARGET then.
"""

import argparse
import sys
from pathlib import Path

from stages.plumbing.errors import UserError

BATCH_SIZE = 64


def impute(folder: Path, target: Path, masks: Path | None, steps: int, seed: int) -> list[str]:
    """Writes the completed images; returns what to say.

    Raises UserError, and writes nothing, for what cannot be filled.
    """
    from tqdm import tqdm

    from stages.imputation import folder as files
    from stages.imputation import gain

    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty: name another folder")
    names, given = files.read(folder, masks)
    with tqdm(total=steps, desc="impute", unit=" step") as bar:
        network = gain.fit(given, steps, BATCH_SIZE, seed, lambda _: bar.update() and None)
    files.write(target, names, gain.complete(network, given, seed))
    whole = int((~given.missing.flatten(1).any(dim=1)).sum())
    return [
        f"{len(names)} images in {target}, {given.missing.float().mean():.1%} of whose pixels were missing",
        *([f"{whole} of them had no gap and are as they were"] if whole else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.impute", description=__doc__)
    parser.add_argument("folder", type=Path, help="of images with gaps, all of one size, at most 128 pixels a side")
    parser.add_argument("target", type=Path, help="folder for the completed ones")
    parser.add_argument("--masks", type=Path, help="folder of masks, not black where a pixel is missing")
    parser.add_argument("--steps", type=int, default=1500, help="of the training")
    parser.add_argument("--seed", type=int, default=0, help="decides every random number")
    asked = parser.parse_args()
    try:
        lines = impute(asked.folder, asked.target, asked.masks, asked.steps, asked.seed)
    except UserError as error:
        sys.exit(f"impute: {error}")
    for line in lines:
        print(f"impute: {line}")  # noqa: T201


if __name__ == "__main__":
    main()
