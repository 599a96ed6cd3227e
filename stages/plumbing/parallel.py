"""Replicates on several processes of one thread each: of this machine, or of a cluster of dask's."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.resource_tracker import ensure_running
from typing import Any, TextIO, TypeVar

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from stages.plumbing.params import ParallelParams

# (work, jobs, what a job is called) -> the results in the order of the jobs; what nouns are handed to spread their work
FanOut = Callable[[Callable[[Any], Any], Sequence[Any], str], list[Any]]
Job = TypeVar("Job")
Result = TypeVar("Result")
_LOOK_EVERY = 0.5  # seconds


def fan_out(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    params: ParallelParams,
    description: str,
    unit: str,
    show_bar: bool,
) -> tuple[list[Result], float]:
    """The results of `work` over `jobs` in order, and the CPU seconds the work took in other processes.

    The first exception of a job is raised here, and the other jobs are dropped, also those that have begun. Raises
    UserError when the cluster cannot do the work.
    """
    if not jobs:
        return [], 0.0
    if params.backend == "dask":
        from stages.plumbing.cluster import on_cluster as spread
    else:
        spread = _on_this_machine
    timed = spread(work, jobs, params)
    results = list(progress_bar(timed, len(jobs), description, unit) if show_bar else timed)
    return [result for result, _ in results], sum(seconds for _, seconds in results)


def _on_this_machine(
    work: Callable[[Job], Result], jobs: Sequence[Job], params: ParallelParams
) -> Iterator[tuple[Result, float]]:
    config = parallel_config(
        backend="loky",
        n_jobs=min(params.jobs, len(jobs)),
        inner_max_num_threads=1,
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    with config, warnings.catch_warnings():
        # loky takes the memory of an import of torch for a leak, and starts a new worker: nothing that a user can mend
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        with _deaf_to_ctrl_c():  # joblib starts its processes here, and they stay so
            results = Parallel(return_as="generator")(delayed(_timed)(work, job, os.getpid()) for job in jobs)
        yield from results


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that start meanwhile never hear of Ctrl-C, which a terminal tells to all: their stage ends them."""
    ensure_running()  # Python 3.11 would lift the block when it starts that process with the first of the others
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(stage: int) -> None:
    """In a worker process: sees to it that it does not outlive a stage that was killed, and write where others do."""

    def watch() -> None:
        while os.getppid() == stage:
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _timed(work: Callable[[Job], Result], job: Job, stage: int) -> tuple[Result, float]:
    """The result, and the CPU seconds that it took another process than the stage's own, where single jobs are done."""
    started = time.process_time()
    result = work(job)
    return result, (time.process_time() - started) * (os.getpid() != stage)


def progress_bar(items: object, total: int, description: str, unit: str) -> tqdm:
    """A tqdm bar with its rate; when standard error is no terminal, a line now and then."""
    on_terminal = sys.stderr.isatty()
    return tqdm(
        items,
        total=total,
        desc=description,
        unit=f" {unit}",
        file=sys.stderr if on_terminal else _Lines(sys.stderr),
        mininterval=0.1 if on_terminal else 15.0,
        leave=on_terminal,
    )


class _Lines:
    """A text stream on which each redrawing of a bar becomes a line of its own, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()
