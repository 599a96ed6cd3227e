"""What a second process gains, on this machine (loky) or in a dask cluster, and what a job costs beside its work.

The work is a matrix product of one thread, repeated, the same for each of two jobs. `efficiency`: the time that one
process takes, over twice the time that two take; 1 would be perfect. `CPU`: the CPU seconds of a job on one of two
processes, which other work on the machine disturbs less. `bare`: processes without an engine, which no engine can beat.
Processes are warm: a run that is not timed goes before each. Engines take turns, since the machine's speed drifts, and
a number is the median of the rounds. Overhead: the time of many jobs that do nothing, for each, on two processes.
Workers are started as docs/cluster.md says: `python -m benchmarks.parallel`.
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
ROUNDS = 5
JOBS = 2
REPETITIONS = 600
EMPTY_JOBS = 40
BARE = """import sys, time; from benchmarks.parallel import multiply
for line in sys.stdin:
    started = time.process_time()
    for each in line.split(): multiply(int(each))
    print(time.process_time() - started, flush=True)"""
MEMORY = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432"}
Times = dict[str, list[list[tuple[float, float]]]]  # of each engine and round, with one and two processes: wall, CPU
Spread = Callable[[Sequence[int], int], float]  # (repetitions of each job, processes) -> CPU seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        processes = [stack.enter_context(process("-c", BARE, cwd=ROOT)) for _ in range(2)]
        address = stack.enter_context(cluster(Path(folder)))
        (Path(folder) / "stages").symlink_to(ROOT / "stages")
        os.chdir(folder)
        engines = {"bare": bare(processes), "loky": engine("loky"), "dask": engine("dask", address)}
        overheads = {name: seconds(engines[name], [0] * EMPTY_JOBS, 2)[0] / EMPTY_JOBS for name in ("loky", "dask")}
        times: Times = {name: [] for name in engines}
        for _ in range(ROUNDS):
            for name, spread in engines.items():
                times[name].append([seconds(spread, [REPETITIONS] * JOBS, count) for count in (1, 2)])
        os.chdir(ROOT)
    report(times, overheads)


def report(times: Times, overheads: dict[str, float]) -> None:
    """Prints the table, and the ratios as JSON."""
    print(
        f"{'':<8}{'1 process, s':>14}{'2 processes, s':>16}{'efficiency':>12}{'CPU, s':>8}{'overhead per job, ms':>22}"
    )
    efficiency, cpu = {}, {}
    for name, rounds in times.items():
        one, two = (statistics.median(wall for wall, _ in column) for column in zip(*rounds, strict=True))
        efficiency[name] = statistics.median(one / (2 * two) for (one, _), (two, _) in rounds)
        cpu[name] = statistics.median(seconds for _, (_, seconds) in rounds) / JOBS
        overhead = f"{1000 * overheads[name]:.1f}" if name in overheads else ""
        print(f"{name:<8}{one:>14.2f}{two:>16.2f}{efficiency[name]:>12.2f}{cpu[name]:>8.2f}{overhead:>22}")
    ratios = {
        "efficiency": efficiency,
        "efficiency over bare": {name: efficiency[name] / efficiency["bare"] for name in overheads},
        "CPU of bare over that of the engine": {name: cpu["bare"] / cpu[name] for name in overheads},
    }
    print(json.dumps({key: {name: round(ratio, 3) for name, ratio in each.items()} for key, each in ratios.items()}))


def seconds(spread: Spread, repetitions: Sequence[int], processes: int) -> tuple[float, float]:
    """Wall time and CPU time, once that many processes have started and imported torch.

    The jobs before are long enough that no process does those of all, and leaves another one without torch.
    """
    spread([REPETITIONS // 4] * processes, processes)
    started = time.perf_counter()
    cpu = spread(repetitions, processes)
    return time.perf_counter() - started, cpu


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

    def spread(repetitions: Sequence[int], processes: int) -> float:
        raw = {"backend": backend, "jobs": processes, "scheduler": scheduler}
        params = ParallelParams.model_validate(raw)
        return fan_out(multiply, repetitions, params, backend, "job", show_bar=False)[1]

    return spread


def bare(processes: "Sequence[subprocess.Popen[str]]") -> Spread:
    """Lines of jobs to processes, and a line back from each."""

    def spread(repetitions: Sequence[int], count: int) -> float:
        for number, each in enumerate(processes[:count]):
            assert each.stdin
            print(*repetitions[number::count], file=each.stdin, flush=True)
        return sum(float(each.stdout.readline()) for each in processes[:count] if each.stdout)

    return spread


@contextmanager
def process(*arguments: str, cwd: Path, **variables: str) -> "Iterator[subprocess.Popen[str]]":
    """A Python process with pipes, of one thread, that ends with the block."""
    started = subprocess.Popen(  # noqa: S603
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | variables | {"OMP_NUM_THREADS": "1"},
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
        process("-m", "dask", "worker", address, "--nthreads", "1", "--nworkers", "2", *options, cwd=folder, **MEMORY),
        Client(address, timeout=30, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield address


if __name__ == "__main__":
    main()
