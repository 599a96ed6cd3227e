"""What a GPU makes of the convolutional GANs: `python -m benchmarks.gpu`, made to take six minutes at most on one.

Each kind trains at 64 and at 128 pixels, RGB, in bfloat16 and compiled, beside the same networks' steps in an eager
float32 loop on one batch that stays. Printed are real images per second, the training's share of what the GPU reaches
in a large product of bfloat16 matrices, and memory. Then it is checked that a training which goes on from its
checkpoint ends as one that was never interrupted, in the same bytes (`deterministic`), and that what the GPU draws is
what a CPU draws from the same weights. `--device cpu --sizes 16 --steps 8` is the same in miniature.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import parameters
from benchmarks.gan_speed import SEED, batch_of, digits
from stages.generators import training
from stages.generators.drawing import TrainedGenerator
from stages.generators.interface import Batch, Feed, Learner
from stages.generators.params import KINDS, LearningParams
from stages.generators.quality import draw_classes
from stages.generators.registry import kind
from stages.generators.state import TrainingState, start
from stages.imaging import devices
from stages.labelling import pool
from stages.labelling.data import ReplicateData

WIDTHS = {"refined_gaussian": 64, "projection": 512}
REPORTS = 6  # of a training; before the first one, the networks are compiled
DRAWN, ON_CPU = 1000, 20  # images of each class that are drawn to take the time, and to be compared with a CPU's
MATRIX = {"cuda": 8192, "cpu": 512}  # rows of the matrices whose product shows what the device can do


class Remembered:
    """A checkpoint in memory, which a training that is to be interrupted finds at its start."""

    def __init__(self, saved: list[bytes] | None = None) -> None:
        self.saved = saved or []

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self.saved[-1]), weights_only=True) if self.saved else None

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.saved.append(buffer.getvalue())


class _SameBatch(Feed):
    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def draw(self, among: torch.Tensor | None = None) -> Batch:
        assert among is None
        return self.batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=MATRIX, default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    device = devices.choose(options.device, "the benchmark", deterministic=False)
    found = {
        f"{name} {size}x{size}x3": measure(name, size, options.steps, device)
        for size in options.sizes
        for name in WIDTHS
    }
    devices.choose(options.device, "the benchmark", deterministic=True)
    found |= {name: check(name, min(options.sizes), options.steps, device) for name in WIDTHS}
    print(json.dumps(found))


def section(name: str, steps: int, device: torch.device, **changes: Any) -> LearningParams:
    """The default run's GAN as one of this kind; on a GPU in large batches."""
    default = parameters.load().train_gan.generators["gan"].model_dump()
    every = max(steps // REPORTS, 1)
    own = {"kind": name, "layers": "convolutional", "width": WIDTHS[name] if device.type == "cuda" else 8}
    own |= {"steps": steps, "batch_size": 256 if device.type == "cuda" else 16, "log_every": every}
    own |= {"samples_every": 10 * steps, "checkpoint_every": max(steps // 2, 1)}
    own |= {"drawn_size": 128}  # the images' own, as far as it is asked for
    schema, _ = KINDS[name]
    values = default | own | changes
    made = schema.model_validate({field: values[field] for field in schema.model_fields})
    assert isinstance(made, LearningParams)
    return made


def measure(name: str, size: int, steps: int, device: torch.device) -> dict[str, float]:
    """Prints and returns images per second and memory of the training and the eager loop, and the share of the peak."""
    fast: dict[str, Any] = {"precision": "bfloat16", "compile": True} if device.type == "cuda" else {}
    data, params = digits(size, 3).to(device), section(name, steps, device, **fast)
    eager = _eager_step(data, section(name, steps, device), device)
    with FlopCounterMode(display=False) as counter:
        eager()
    rates = {"eager": _rate(eager, steps, device) * params.batch_size, "training": _training_rate(data, params, device)}
    share = counter.get_total_flops() / params.batch_size * rates["training"] / _peak(device)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    print(
        f"{name}, {size}x{size}x3, width {params.width}, batches of {params.batch_size}: "
        f"{rates['training']:.0f} images/s, eager float32 {rates['eager']:.0f}, "
        f"{share:.1%} of the peak, {memory:.2f} GiB",
        flush=True,
    )
    return {"speed": round(rates["training"] / rates["eager"], 3), "share_of_peak": round(share, 4)}


def _eager_step(data: ReplicateData, params: LearningParams, device: torch.device) -> Callable[[], object]:
    """A step of all players, without drawing a batch, augmentation, average or log."""
    state = _state(data, params, device)
    learner = Learner(state.optimisers, lambda images: images, nullcontext)
    feed = _SameBatch(batch_of(data, params.batch_size, state.generator.latent_dim))
    return lambda: state.generator.learn(feed, learner)


def _state(data: ReplicateData, params: LearningParams, device: torch.device) -> TrainingState:
    chosen = kind(params.kind)
    real = pool.unguessed(data).among(data)
    return start(chosen, *chosen.study(data, real, params, SEED), params, SEED, device)  # type: ignore[arg-type]


def _rate(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Steps per second."""
    started = _now(device)
    for _ in range(steps):
        step()
    return steps / (_now(device) - started)


def _training_rate(data: ReplicateData, params: LearningParams, device: torch.device) -> float:
    """Real images per second of the whole training, from its first report on."""
    times: list[float] = []
    _train(data, params, Remembered(), lambda _: times.append(_now(device)))
    return params.log_every * params.batch_size / float(np.median(np.diff(times)))


def _train(
    data: ReplicateData, params: LearningParams, checkpoint: Remembered, report: training.Report = lambda _: None
) -> TrainedGenerator:
    return training.train(data, pool.unguessed(data), params, SEED, report, checkpoint)


def check(name: str, size: int, steps: int, device: torch.device) -> dict[str, float]:
    """Whether a resumed training ends in the same weights, and how far images drawn here and on a CPU lie apart.

    Raises AssertionError where the weights differ, or an image by more than two grey levels on average.
    """
    data, params = digits(size, 3).to(device), section(name, steps, device)
    whole, begun = Remembered(), Remembered()
    made = _train(data, params, whole)
    begun.saved = whole.saved[:1]
    again = _train(data, params, begun)
    apart = max(
        float((ours - theirs).abs().max())
        for ours, theirs in zip(
            made.generator.state_dict().values(), again.generator.state_dict().values(), strict=True
        )
    )
    assert apart == 0, f"{name}: weights of a resumed training differ by up to {apart}"

    count = DRAWN if device.type == "cuda" else ON_CPU
    _draw(made, data, ON_CPU, device)  # what is done once is done
    started = _now(device)
    drawn = _draw(made, data, count, device)
    rate = len(drawn) / (_now(device) - started)
    levels = float((_draw(made, data, ON_CPU, device) - _draw(made, data, ON_CPU, torch.device("cpu"))).abs().mean())
    assert levels <= 2, f"{name}: images drawn on {device} and on a CPU differ by {levels:.1f} grey levels"
    print(f"{name}: resumed to the same bytes; draws {rate:.0f} images/s, {levels:.3f} grey levels from a CPU's")
    return {"drawn_per_second": round(rate), "levels_from_a_cpu": round(levels, 4)}


def _draw(made: TrainedGenerator, data: ReplicateData, count: int, device: torch.device) -> torch.Tensor:
    """So many images of each class, drawn on this device, as float32 on the CPU."""
    generator = made.generator.to(device).eval()
    images, _ = draw_classes(generator.network, generator, data.to(device), count, SEED)
    return images.cpu().float()


def _peak(device: torch.device) -> float:
    """Floating-point operations per second of a large product of bfloat16 matrices, the best of several rounds."""
    side = MATRIX[device.type]
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 * max(_rate(lambda: matrix @ matrix, 1, device) for _ in range(10))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
