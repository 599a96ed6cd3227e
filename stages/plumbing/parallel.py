"""Replicates on several processes of one thread each: of this machine, or of a cluster of dask's."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing.resource_tracker import ensure_running
from typing import Any, TextIO, TypeVar

import psutil
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from stages.plumbing.params import ParallelParams

# (work, jobs, what a job is called) -> the results in the order of the jobs; what nouns are handed to spread their work
FanOut = Callable[[Callable[[Any], Any], Sequence[Any], str], list[Any]]
Job = TypeVar("Job")
Result = TypeVar("Result")
_IDLE_SECONDS = 300  # after which a process without a job ends


def fan_out(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    params: ParallelParams,
    description: str,
    unit: str,
    show_bar: bool,
    preload: Sequence[str] = (),
) -> tuple[list[Result], float]:
    """The results of `work` over `jobs` in order, and the CPU seconds the work took in other processes.

    preload: modules that every job imports; on this machine they are imported once for all processes, and what the
    first call names holds for all that follow. The first exception of a job is raised here, and the other jobs are
    dropped, also those that have begun. Raises UserError when the cluster cannot do the work.
    """
    if not jobs:
        return [], 0.0
    before = _seconds_of_children()
    if params.backend == "dask":
        from stages.plumbing.cluster import on_cluster

        timed = on_cluster(work, jobs, params)
    else:
        timed = _on_this_machine(work, jobs, params, preload)
    results = list(progress_bar(timed, len(jobs), description, unit) if show_bar else timed)
    of_others = _seconds_of_children() - before  # what was imported for all; the jobs' processes are not our children
    return [result for result, _ in results], sum(seconds for _, seconds in results) + of_others


def in_order(
    submit: Callable[[Job], "Future[Any]"], read: Callable[["Future[Any]"], Result], jobs: Sequence[Job], most: int
) -> Iterator[Result]:
    """What is read of the jobs' futures, of which so many at most run at a time. The first exception comes at once."""
    waiting = enumerate(jobs)
    running: dict[Future[Any], int] = {}
    results: dict[int, Result] = {}
    for number in range(len(jobs)):
        while number not in results:
            running |= {submit(job): begun for begun, job in islice(waiting, most - len(running))}
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                results[running.pop(done)] = read(done)
        yield results.pop(number)


def _on_this_machine(
    work: Callable[[Job], Result], jobs: Sequence[Job], params: ParallelParams, preload: Sequence[str]
) -> Iterator[tuple[Result, float]]:
    """A server process imports what all need, and splits off a process for each job that runs at the same time."""
    processes = min(params.jobs, len(jobs))
    if processes == 1:  # another process would cost its imports and gain nothing
        yield from ((work(job), 0.0) for job in jobs)
        return
    multiprocessing.set_forkserver_preload(list(preload))
    executor = get_reusable_executor(processes, context="forkserver", timeout=_IDLE_SECONDS, initializer=_begin)

    def submit(job: Job) -> "Future[tuple[Result, float]]":
        with _deaf_to_ctrl_c():  # processes start here, and stay so
            return executor.submit(_timed, work, job)

    try:
        with warnings.catch_warnings():
            # loky takes the memory of an import for a leak, and starts a new worker: nothing that a user can mend
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            yield from in_order(submit, Future.result, jobs, processes)
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that start meanwhile never hear of Ctrl-C, which a terminal tells to all: their stage ends them."""
    ensure_running()  # Python 3.11 would lift the block when it starts that process with the first of the others
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """In a worker process: one thread for libraries that are loaded and those that will be; ends with the stage.

    It must not outlive a stage that was killed, and write where others do.
    """
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    threadpool_limits(1)
    stage = multiprocessing.parent_process()
    assert stage is not None

    def end() -> None:
        stage.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _timed(work: Callable[[Job], Result], job: Job) -> tuple[Result, float]:
    """The result, and the CPU seconds that it took."""
    started = time.process_time()
    result = work(job)
    return result, time.process_time() - started


def _seconds_of_children() -> float:
    """CPU seconds of this process's own children that live."""
    return sum(child.cpu_times().user + child.cpu_times().system for child in psutil.Process().children())


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
        leave=False,  # a stage says in a line of its own that it has ended
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
