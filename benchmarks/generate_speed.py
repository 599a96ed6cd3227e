"""What `generate` costs beside its bare forward passes and bare PNG encoding, and its memory for few and many images.

One process of one thread. f: images per second of the generator's forward passes alone, e: of PNG encoding alone,
whole: of images drawn, named and written as Parquet; the ratio is whole to 1 / (1/f + 1/e). Seconds are the process's
own, so that a busy machine changes little: `python -m benchmarks.generate_speed`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from benchmarks import parameters
from stages.generators.drawing import TrainedGenerator
from stages.generators.interface import Draws
from stages.generators.kinds.projection import Kind
from stages.generators.network_config import NetworkConfig
from stages.generators.requests import BATCH
from stages.jobs import drawing
from stages.plumbing import images, workdir
from stages.plumbing.dataset import TRAIN
from stages.plumbing.images import ImageSet

ROUNDS = 3
CLASSES = [str(label) for label in range(10)]
DENSE = NetworkConfig(
    layers="dense",
    classes=10,
    channels=1,
    size=8,
    latent_dim=64,
    width=256,
    components=40,
    spectral=True,
)
CONVOLUTIONAL = replace(DENSE, layers="convolutional", channels=3, components=0)
SETTINGS = {  # the networks, and batches of each class
    "dense 8x8x1": (DENSE, 4),
    "convolutional 32x32x3": (replace(CONVOLUTIONAL, size=32), 1),
    "convolutional 64x64x3": (replace(CONVOLUTIONAL, size=64), 1),
}
MEMORY = replace(DENSE, size=16)
FEW, MANY = 20_000, 100_000
NAME = "speed"
DEFAULT = parameters.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", type=int, help="only draw so many images, and print the most memory taken in MiB")
    peak_of = parser.parse_args().peak
    torch.set_num_threads(1)
    if peak_of:
        print(_peak(peak_of))
        return
    few, many = (_peak_of_process(count) for count in (FEW, MANY))
    print(f"{'images/s':<24}{'f':>10}{'e':>10}{'whole':>10}{'ratio':>8}")
    ratios = {name: _speed(name, config, batches) for name, (config, batches) in SETTINGS.items()}
    print(f"peak memory for images of 16x16: {few:.0f} MiB for {FEW}, {many:.0f} MiB for {MANY}")
    print(json.dumps(ratios | {"memory": round(many / few, 3)}))


def _speed(name: str, config: NetworkConfig, batches: int) -> float:
    """Prints the best rates of several rounds; returns their ratio."""
    count = batches * BATCH * config.classes
    latents, labels = torch.randn(BATCH, config.latent_dim), torch.zeros(BATCH, dtype=torch.int64)
    draws = Draws(labels, latents, torch.arange(BATCH))
    with project(config) as (network, path):
        _write(count, path)
        drawn = images.read(path).pixels

        @torch.no_grad()
        def forward() -> None:
            for _ in range(count // BATCH):
                network(draws)

        def encode() -> None:
            for each in drawn:
                images.encode_png(each)

        works = forward, encode, lambda: _write(count, path)
        seconds = [[_seconds(work) for work in works] for _ in range(ROUNDS)]
    f, e, rate = (count / min(column) for column in zip(*seconds, strict=True))
    ratio = rate * (1 / f + 1 / e)
    print(f"{name:<24}{f:>10.0f}{e:>10.0f}{rate:>10.0f}{ratio:>8.2f}")
    return round(ratio, 3)


@contextmanager
def project(config: NetworkConfig) -> Iterator[tuple[nn.Module, Path]]:
    """Works in a project with an untrained generator and an image of each class: its network, and a file to write."""
    torch.manual_seed(0)
    generator = Kind({"networks": asdict(config), "objective": {"kind": "hinge", "margin": 1.0}}).eval()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            _write_dataset(config)
            trained = drawing.GENERATORS / NAME / "0"
            trained.mkdir(parents=True)
            TrainedGenerator("projection", generator).save(trained)
            yield generator.network, Path(folder) / "0.parquet"
        finally:
            os.chdir(before)


def _write_dataset(config: NetworkConfig) -> None:
    """What `prepare` leaves behind, as far as `generate` reads it."""
    folder = workdir.DATA / "prepare"
    folder.mkdir(parents=True)
    black = np.zeros((len(CLASSES), *config.image_shape), dtype=np.uint8)
    images.write(folder / "images.parquet", ImageSet(np.array(CLASSES), black, np.arange(len(CLASSES))), CLASSES)
    roles = {"id": CLASSES, "replicate": [0] * len(CLASSES), "role": [TRAIN] * len(CLASSES)}
    images.write_table(folder / "roles.parquet", pa.table(roles))
    channels = "grey" if config.channels == 1 else "rgb"
    image = {"size": config.size, "channels": channels, "fit": "pad", "flip_ok": False}
    facts = {"name": NAME, "classes": CLASSES, "replicates": 1, "image": image}
    workdir.write_json(folder / "dataset.json", facts)


def _write(count: int, path: Path) -> None:
    """What the stage does for one replicate."""
    wanted, gan = [range(count // len(CLASSES))] * len(CLASSES), DEFAULT.train_gan.generators["gan"]
    drawing.draw(drawing.Shard(NAME, 0, wanted, path, gan, DEFAULT.generate, DEFAULT.train_downstream.classic))


def _seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _peak(count: int) -> float:
    """The most memory, in MiB, that this process has taken after `count` images."""
    with project(MEMORY) as (_, path):
        _write(count, path)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _peak_of_process(count: int) -> float:
    """The same of a process of its own, which inherits this one's peak on Linux: ask before this one has done work."""
    command = [sys.executable, "-m", "benchmarks.generate_speed", "--peak", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


if __name__ == "__main__":
    main()
