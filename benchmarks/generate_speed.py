"""What `generate` costs beside its bare forward passes and bare PNG encoding, and its memory for few and many images.

One process of one thread. f: images per second of the generator's forward passes alone, e: of PNG encoding alone,
whole: of images drawn, named and written as Parquet; the ratio is whole to 1 / (1/f + 1/e). Seconds are the process's
own, so that a busy machine changes little: `python -m benchmarks.generate_speed`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from stages.generate import named
from stages.generators.moments import plain
from stages.generators.network_config import NetworkConfig
from stages.generators.networks import build_generator
from stages.generators.sampling import BATCH, generate
from stages.plumbing import images

ROUNDS = 3
CLASSES = [str(label) for label in range(10)]
DENSE = NetworkConfig(
    family="projection",
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
    generator = _generator(config)
    count = batches * BATCH * config.classes
    latents, labels = torch.randn(BATCH, config.latent_dim), torch.zeros(BATCH, dtype=torch.int64)
    drawn = [each for block in _blocks(generator, config, count) for each in block.pixels]

    @torch.no_grad()
    def forward() -> None:
        for _ in range(count // BATCH):
            generator(latents, labels)

    def encode() -> None:
        for each in drawn:
            images.encode_png(each)

    def whole() -> None:
        _write(generator, config, count)

    seconds = [[_seconds(work) for work in (forward, encode, whole)] for _ in range(ROUNDS)]
    f, e, rate = (count / min(column) for column in zip(*seconds, strict=True))
    ratio = rate * (1 / f + 1 / e)
    print(f"{name:<24}{f:>10.0f}{e:>10.0f}{rate:>10.0f}{ratio:>8.2f}")
    return round(ratio, 3)


def _generator(config: NetworkConfig) -> nn.Module:
    torch.manual_seed(0)
    return build_generator(config, plain(config)).eval()


def _blocks(generator: nn.Module, config: NetworkConfig, count: int) -> Iterator[images.ImageSet]:
    each = [range(count // config.classes)] * config.classes
    return (named(block, replicate=0) for block in generate(generator, config, each, 0, 0, 1.0))


def _write(generator: nn.Module, config: NetworkConfig, count: int) -> None:
    """What the stage does for one replicate."""
    with tempfile.TemporaryDirectory() as folder:
        tables = (images.as_table(block, CLASSES) for block in _blocks(generator, config, count))
        images.write_tables(Path(folder) / "0.parquet", tables)


def _seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _peak(count: int) -> float:
    """The most memory, in MiB, that this process has taken after `count` images."""
    _write(_generator(MEMORY), MEMORY, count)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _peak_of_process(count: int) -> float:
    """The same of a process of its own, which inherits this one's peak on Linux: ask before this one has done work."""
    command = [sys.executable, "-m", "benchmarks.generate_speed", "--peak", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


if __name__ == "__main__":
    main()
