"""What a second process gains, on this machine (loky) or in a dask cluster, and what a job costs beside its work.

The work is a matrix product of one thread, repeated, the same for each of two jobs. `efficiency`: the time that one
process takes, over twice the time that two take; 1 would be perfect. `bare`: processes without an engine, which no
engine can beat on the same machine. Processes are warm: a run that is not timed goes before each. Engines take turns,
since the machine's speed drifts, and a number is the median of the rounds. Overhead: the time of many jobs that do
nothing, for each, on two processes: `python -m benchmarks.parallel`.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stages.plumbing.parallel import fan_out
from stages.plumbing.params import ParallelParams

ROOT = Path(__file__).parents[1]
ROUNDS = 3
JOBS = 2
REPETITIONS = 200
EMPTY_JOBS = 40
BARE = """import sys; from benchmarks.parallel import multiply
for line in sys.stdin: print(*[multiply(int(each)) for each in line.split()], flush=True)"""
Spread = Callable[[Sequence[int], int], object]  # (repetitions of each job, processes)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        processes = [stack.enter_context(process("-c", BARE, cwd=ROOT)) for _ in range(2)]
        address = stack.enter_context(cluster(Path(folder)))
        (Path(folder) / "stages").symlink_to(ROOT / "stages")
        os.chdir(folder)
        engines = {"bare": bare(processes), "loky": engine("loky"), "dask": engine("dask", address)}
        overheads = {name: seconds(engines[name], [0] * EMPTY_JOBS, 2) / EMPTY_JOBS for name in ("loky", "dask")}
        times: dict[str, list[list[float]]] = {name: [] for name in engines}
        for _ in range(ROUNDS):
            for name, spread in engines.items():
                times[name].append([seconds(spread, [REPETITIONS] * JOBS, count) for count in (1, 2)])
        os.chdir(ROOT)
    report(times, overheads)


def report(times: dict[str, list[list[float]]], overheads: dict[str, float]) -> None:
    """Prints the table, and the ratios as JSON."""
    print(f"{'':<8}{'1 process, s':>14}{'2 processes, s':>16}{'efficiency':>12}{'overhead per job, ms':>22}")
    efficiency = {}
    for name, rounds in times.items():
        one, two = (statistics.median(column) for column in zip(*rounds, strict=True))
        efficiency[name] = statistics.median(one / (2 * two) for one, two in rounds)
        overhead = f"{1000 * overheads[name]:.1f}" if name in overheads else ""
        print(f"{name:<8}{one:>14.2f}{two:>16.2f}{efficiency[name]:>12.2f}{overhead:>22}")
    over_bare = {name: efficiency[name] / efficiency["bare"] for name in overheads}
    rounded = [{name: round(value, 3) for name, value in each.items()} for each in (efficiency, over_bare)]
    print(json.dumps({"efficiency": rounded[0], "efficiency over bare": rounded[1]}))


def seconds(spread: Spread, repetitions: Sequence[int], processes: int) -> float:
    """Wall time, once that many processes have started and imported torch."""
    spread([1] * processes, processes)
    started = time.perf_counter()
    spread(repetitions, processes)
    return time.perf_counter() - started


def multiply(repetitions: int) -> float:
    """The work of a job. torch is imported here, since this function travels by value."""
    import torch

    torch.set_num_threads(1)
    numbers = torch.full((512, 512), 1 / 512)
    for _ in range(repetitions):
        numbers = numbers @ numbers * 512
    return numbers.sum().item()


def engine(backend: str, scheduler: str = "") -> Spread:
    """`fan_out` as the stages use it."""

    def spread(repetitions: Sequence[int], processes: int) -> object:
        raw = {"backend": backend, "jobs": processes, "scheduler": scheduler}
        return fan_out(multiply, repetitions, ParallelParams.model_validate(raw), backend, "job", show_bar=False)

    return spread


def bare(processes: "Sequence[subprocess.Popen[str]]") -> Spread:
    """Lines of jobs to processes, and a line back from each."""

    def spread(repetitions: Sequence[int], count: int) -> None:
        for number, each in enumerate(processes[:count]):
            assert each.stdin
            print(*repetitions[number::count], file=each.stdin, flush=True)
        for each in processes[:count]:
            assert each.stdout
            each.stdout.readline()

    return spread


@contextmanager
def process(*arguments: str, cwd: Path) -> "Iterator[subprocess.Popen[str]]":
    """A Python process with pipes, of one thread, that ends with the block."""
    started = subprocess.Popen(  # noqa: S603
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The address of a scheduler on this machine with two workers."""
    from distributed import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    options = ("--host", "127.0.0.1", "--no-dashboard")
    with (
        process("-m", "dask", "scheduler", "--port", port, *options, cwd=folder),
        process("-m", "dask", "worker", address, "--nthreads", "1", "--nworkers", "2", *options, cwd=folder),
        Client(address, timeout=30, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield address


if __name__ == "__main__":
    main()
