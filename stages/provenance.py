"""Says of images where they are from: `python -m stages.provenance FILES...`.

FILES are images, or Parquet files of images. It tells of each whether it carries a mark of ours, and whether the mark
is sound; and, by its pixels alone, which generator and replicate of this run's published sets it is likely from, or
that it looks like this run's real images, or like none of these. What it learns for that is kept in .work/provenance.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging import marks
from stages.imaging.decoding import BadItem, decode, read_bytes
from stages.plumbing import code, images, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.errors import UserError, reading

if TYPE_CHECKING:
    from stages.memorization.provenance import Attributor

STAGE = "provenance"
SETS = workdir.DATA / "evaluate" / "synthetic"
REAL = "a real image"
SEED = 0
NAMED = 3  # sources that a line names


@dataclass(frozen=True)
class Sources:
    """What images are told apart by: the published sets, and the real images as the last source.

    names: of the sources. generators: of each source. parts: their images, uint8 (N, C, S, S). key: of all that.
    """

    names: list[str]
    generators: list[str]
    parts: list[NDArray[np.uint8]]
    key: str

    @classmethod
    def read(cls, folder: Path, dataset: Dataset) -> "Sources":
        """Raises UserError where nothing is published there, or what is was made from other images."""
        files = sorted(folder.glob("*.parquet"))
        if not files:
            raise UserError(f"{folder} holds no published set: `dvc repro` makes it, or let --sets name another folder")
        names, generators, parts = list[str](), list[str](), list[NDArray[np.uint8]]()
        for path in files:
            own = images.read(path)
            if own.pixels.shape[1:] != dataset.shape:
                raise UserError(f"{path} has images of {_form(own.pixels)}, but data/prepare others: `dvc repro`")
            for replicate in np.unique(own.extra["replicate"]).tolist():
                names.append(f"{path.stem}, replicate {replicate}")
                generators.append(path.stem)
                parts.append(own.pixels[own.extra["replicate"] == replicate])
        real = dataset.folder / "images.parquet"
        module = code.digest(code.closure(Path("stages/memorization/provenance.py")))
        key = workdir.fingerprint(module, SEED, names, *files, real)
        return cls([*names, REAL], [*generators, REAL], [*parts, images.read(real).pixels], key)


@dataclass(frozen=True)
class Asked:
    """An image that is asked about: name, pixels uint8 (C, S, S), and its mark."""

    name: str
    pixels: NDArray[np.uint8]
    mark: marks.Mark | None


def read_asked(path: Path, dataset: Dataset) -> list[Asked]:
    """The image of a file, or those of a Parquet file. Raises UserError where one is not of the run's form."""
    if path.suffix != ".parquet":
        return [_asked(str(path), partial(read_bytes, path.parent, path.name), dataset)]
    table = images.read_table(path)
    with reading(path):
        contents = [each["bytes"] or b"" for each in table["image"].to_pylist()]
    return [_asked(f"{path}, row {row}", partial(bytes, content), dataset) for row, content in enumerate(contents)]


def _asked(name: str, content: Callable[[], bytes], dataset: Dataset) -> Asked:
    try:
        image = decode(content())
    except BadItem as bad:
        raise UserError(f"{name} {bad.reason}") from None
    return Asked(name, _pixels(name, image, dataset), marks.of_image(image))


def _pixels(name: str, image: Image.Image, dataset: Dataset) -> NDArray[np.uint8]:
    pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    if pixels.dtype != np.uint8 or pixels.shape != dataset.shape:
        raise UserError(
            f"{name} has {_form(pixels)}, but the images of this run have {_form(np.empty(dataset.shape, np.uint8))}: "
            "bring it to that first, as `prepare` does; the less it is changed, the better it is recognised"
        )
    return np.ascontiguousarray(pixels)


def _form(pixels: NDArray[Any]) -> str:
    """Of images (..., C, H, W), in words."""
    channels, height, width = pixels.shape[-3:]
    bits = "" if pixels.dtype == np.uint8 else f" of type {pixels.dtype}"
    return f"{width} x {height} pixels, {'grey' if channels == 1 else f'{channels} channels'}{bits}"


def learn(sources: Sources) -> "tuple[Attributor, dict[str, dict[str, float]]]":
    """The network that tells the sources apart, trained now or found from an earlier call, and `accuracies`."""
    from safetensors.torch import load_file

    from stages.memorization.provenance import Attributor, FingerprintNetwork

    folder = workdir.finished(STAGE, sources.key, lambda partial: _learn(sources, partial))
    workdir.forget_others(STAGE, [sources.key])
    _, channels, side, _ = sources.parts[0].shape
    network = FingerprintNetwork(channels, side, len(sources.names))
    with reading(folder):
        network.load_state_dict(load_file(folder / "network.safetensors"))
        held = load_file(folder / "calibration.safetensors")
        calibration = [held[str(number)].numpy() for number in range(len(sources.names))]
        accuracies = json.loads((folder / "accuracies.json").read_text())
    return Attributor(network.eval(), calibration), accuracies


def _learn(sources: Sources, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from tqdm import tqdm

    from stages.memorization import provenance

    parts = [torch.from_numpy(part) for part in sources.parts]
    with tqdm(total=provenance.STEPS, desc=STAGE, unit=" step") as bar:
        made = provenance.fit(parts, SEED, provenance.STEPS, bar.update)
    groups = np.unique(sources.generators, return_inverse=True)[1]
    save_file(made.network.state_dict(), folder / "network.safetensors")
    calibration = {str(number): torch.from_numpy(held) for number, held in enumerate(made.calibration)}
    save_file(calibration, folder / "calibration.safetensors")
    workdir.write_json(folder / "accuracies.json", provenance.accuracies(made, parts, groups, SEED))


def verdict(scores: NDArray[np.float64], p: NDArray[np.float64], names: Sequence[str], alpha: float) -> str:
    """Of one image, in words: the sources that it may be from, likeliest first. scores, p: (sources,)."""
    possible = [each for each in np.argsort(-scores).tolist() if p[each] > alpha]
    if not possible:
        return f"none of these (the nearest is {names[int(np.argmax(p))]}, p {p.max():.3f})"
    first, *others = [f"{names[each]} (p {p[each]:.2f})" for each in possible[:NAMED]]
    more = f", or one of {len(possible) - NAMED} others" if len(possible) > NAMED else ""
    return f"likely {first}" + "".join(f", or {each}" for each in others) + more


def mark_words(mark: marks.Mark | None) -> str:
    """What an image's own mark tells."""
    if mark is None:
        return "no mark"
    if not mark.is_sound:
        return "a mark that was altered, or is another image's"
    says = mark.manifest
    replicate = f", replicate {says['replicate']}" if "replicate" in says else ""
    return f"a sound mark: {says.get('generator')}{replicate}, run {str(says.get('run'))[:12]}"


def attribute(files: Sequence[Path], folder: Path, alpha: float) -> Iterator[str]:
    """Lines to say. Raises UserError, before anything is learned, for files or a run that cannot be used."""
    import torch

    from stages.memorization.provenance import check_counts, together

    torch.set_num_threads(1)
    dataset = Dataset.open()
    sources = Sources.read(folder, dataset)
    check_counts(dict(zip(sources.names, map(len, sources.parts), strict=True)), alpha)
    asked = [each for path in files for each in read_asked(path, dataset)]
    made, accuracies = learn(sources)
    pixels = torch.from_numpy(np.stack([each.pixels for each in asked]))
    scores, p = made.scores(pixels), made.p_values(pixels)
    for row, each in enumerate(asked):
        yield f"{each.name}: {verdict(scores[row], p[row], sources.names, alpha)}; {mark_words(each.mark)}"
    yield from (
        f"{path}: the set has {mark_words(marks.of_table(images.read_table(path)))}"
        for path in files
        if path.suffix == ".parquet"
    )
    if len(asked) > 1:
        counts = [len(each) for each in made.calibration]
        yield _together(scores, p, together(p, counts, alpha), sources.names, alpha)
    yield from _reliability(accuracies, sources, alpha)


def _together(
    scores: NDArray[np.float64], p: NDArray[np.float64], joint: NDArray[np.float64], names: Sequence[str], alpha: float
) -> str:
    """How many of all images are likeliest from which source, and whether all may be from one. joint: (sources,)."""
    possible = np.where(p > alpha, scores, -np.inf)
    found = [names[row.argmax()] if np.isfinite(row).any() else "none of these" for row in possible]
    counted = ", ".join(f"{name} ({count})" for name, count in Counter(found).most_common())
    return f"{len(found)} images: {counted}; if all have one source, {verdict(scores.sum(axis=0), joint, names, alpha)}"


def _reliability(accuracies: dict[str, dict[str, float]], sources: Sources, alpha: float) -> Iterator[str]:
    """How far all that can be believed."""
    yield (
        f"of a source's images, at most {alpha:.0%} are called none of these on average, where they were disturbed as "
        "those that it learned from; of other generators' images nothing is promised"
    )
    for disturbance, found in accuracies.items():
        yield (
            f"right on held-out images, disturbance {disturbance}: source {found['source']:.0%} (a guess "
            f"{1 / len(sources.names):.0%}), generator {found['generator']:.0%}"
        )


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < 1:
        raise ValueError
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.provenance", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILES", help="images, or Parquet files of images")
    parser.add_argument("--sets", type=Path, default=SETS, help=f"folder of the published sets (default: {SETS})")
    parser.add_argument("--alpha", type=_rate, default=0.05, help="share of a source's images called none of these")
    asked = parser.parse_args()
    try:
        for line in attribute(asked.files, asked.sets, asked.alpha):
            print(f"provenance: {line}")  # noqa: T201
    except UserError as error:
        sys.exit(f"provenance: {error}")


if __name__ == "__main__":
    main()
