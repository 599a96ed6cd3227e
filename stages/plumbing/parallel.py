"""Replicates on several processes of one thread each: of this machine, or of a cluster of dask's."""

import contextlib
import importlib
import os
import pickle
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeVar

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from stages.plumbing import workdir
from stages.plumbing.errors import UserError
from stages.plumbing.params import ParallelParams

if TYPE_CHECKING:
    from distributed import Client
    from joblib.parallel import ParallelBackendBase

# (work, jobs, what a job is called) -> the results in the order of the jobs; what nouns are handed to spread their work
FanOut = Callable[[Callable[[Any], Any], Sequence[Any], str], list[Any]]
Job = TypeVar("Job")
Result = TypeVar("Result")
_CONNECT_SECONDS = 5


def fan_out(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    params: ParallelParams,
    description: str,
    unit: str,
    show_bar: bool,
) -> tuple[list[Result], float]:
    """The results of `work` over `jobs` in order, and the CPU seconds the work took.

    The first exception of a job is raised here, and jobs that have not begun are dropped; those that run on a cluster
    go on to their end there. Raises UserError when the cluster cannot do the work.
    """
    if not jobs:
        return [], 0.0
    spread = _on_cluster if params.backend == "dask" else _on_this_machine
    timed = spread(work, jobs, params)
    results = list(progress_bar(timed, len(jobs), description, unit) if show_bar else timed)
    return [result for result, _ in results], sum(seconds for _, seconds in results)


def _on_this_machine(
    work: Callable[[Job], Result], jobs: Sequence[Job], params: ParallelParams
) -> Iterator[tuple[Result, float]]:
    with (
        parallel_config(backend="loky", n_jobs=min(params.jobs, len(jobs)), inner_max_num_threads=1),
        warnings.catch_warnings(),
    ):
        # loky takes the memory of an import of torch for a leak, and starts a new worker: nothing that a user can mend
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield from Parallel(return_as="generator")(delayed(_timed)(work, job) for job in jobs)


def _timed(work: Callable[[Job], Result], job: Job) -> tuple[Result, float]:
    started = time.process_time()
    result = work(job)
    return result, time.process_time() - started


def _on_cluster(
    work: Callable[[Job], Result], jobs: Sequence[Job], params: ParallelParams
) -> Iterator[tuple[Result, float]]:
    """At most `params.jobs` at a time, which joblib alone would not heed. A job lost with its worker is done again."""
    try:
        import cloudpickle  # type: ignore[import-untyped]
        from distributed import KilledWorker
    except ImportError:
        raise UserError("parallel.backend: dask needs dask: `pip install 'understudy[dask]'`") from None

    workdir.WORK.mkdir(exist_ok=True)
    with (
        _connected(params.scheduler) as client,
        tempfile.NamedTemporaryFile(prefix="cluster-", dir=workdir.WORK) as witness,
        parallel_config(backend=_backend(client)),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed", UserWarning)
        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker need not know the project beforehand
        project = _Project(str(Path.cwd()), str(Path(witness.name).absolute()), _sources())

        def run(call: bytes) -> bytes | str:  # a local function, since pickle would send a global one by its name
            return _in_project(project, call)

        calls = [delayed(run)(cloudpickle.dumps((work, job))) for job in jobs]
        try:
            yield from Parallel(return_as="generator", pre_dispatch=params.jobs)(calls)
        except KilledWorker as error:
            raise UserError(
                f"a job lost its worker {error.allowed_failures + 1} times, at last {error.last_worker.address}: is "
                "there too little memory? The log there may tell. Finished replicates are kept"
            ) from None
        except CancelledError:
            raise UserError(
                f"the scheduler {params.scheduler} was lost meanwhile. Finished replicates are kept: run it again"
            ) from None


@contextlib.contextmanager
def _connected(scheduler: str) -> "Iterator[Client]":
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two where TLS is on one side alone
        reason = str(error).split("\n", 1)[0]
        raise UserError(f"parallel.scheduler: cannot reach {scheduler} ({reason}): see docs/cluster.md") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError:
            raise UserError(f"parallel.scheduler: {scheduler} has no workers: see docs/cluster.md") from None
        yield client


def _backend(client: "Client") -> "ParallelBackendBase":
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's, except that work stays on the cluster, and that a job which dask has given up is known to fail.

        joblib does the work itself where a cluster has one worker, and waits for ever for what dask has given up.
        """

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Future:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> list[tuple[Any, float]]:
            """Called as soon as a job ends, well or badly, so that an exception stops those that have not begun."""
            if isinstance(out, Future):
                return out.result()
            return [_read(answer) for answer in super().retrieve_result_callback(out)]

    return Backend(client=client)


def _read(answer: bytes | str) -> tuple[Any, float]:
    """Result and CPU seconds; raises the job's exception, or UserError where the worker refused."""
    if isinstance(answer, str):
        raise UserError(answer)
    result, seconds = pickle.loads(answer)  # noqa: S301 - the cluster's workers are trusted with running the code
    if isinstance(result, Exception):
        raise result
    return result, seconds


class _Project(NamedTuple):
    """What a worker must find. `token`: a new file of the project, which a copy of the project lacks."""

    root: str
    token: str
    sources: str


def _in_project(project: _Project, call: bytes) -> bytes | str:
    """On a worker: from a pickled job to its pickled (result or exception, CPU seconds), or words of refusal.

    Answers are pickled here, because before dask does it the next job may have taken the project's modules away.
    """
    import cloudpickle

    if refused := _refusal(project):
        return refused
    started = time.process_time()
    with contextlib.chdir(project.root), _fresh_modules(project.root), _one_thread():
        if _sources() != project.sources:  # before any result is made under the name of other code
            return "source files changed while the stage ran; nothing was written, run it again"
        try:
            work, job = pickle.loads(call)  # noqa: S301 - whoever reaches a worker of dask can run code on it anyway
            if torch := sys.modules.get("torch"):
                torch.set_num_threads(1)
            result = work(job)
        except Exception as error:
            error.add_note(traceback.format_exc())
            result = error
    return cloudpickle.dumps((result, time.process_time() - started))


def _sources() -> str:
    """Digest of all code of the project that lies in the current folder."""
    from stages.plumbing import code  # here, because a worker knows no module of the project before it is there

    return code.digest(sorted(Path("stages").rglob("*.py")))


def _refusal(project: _Project) -> str:
    """Why this worker is not fit, or nothing."""
    from distributed import get_worker

    worker = get_worker()
    name, threads = f"the worker {worker.address}", worker.state.nthreads
    if threads > 1:  # the current folder and torch's random state belong to the whole process
        return f"{name} runs {threads} jobs in one process: start it with --nthreads 1, and as many with --nworkers"
    if not Path(project.root).is_dir():
        return f"{name} has no folder {project.root}: all machines must share the project's folder, at the same path"
    if not Path(project.token).is_file():
        return f"{name} has another folder at {project.root}: all machines must share the project's folder, no copies"
    return ""


@contextlib.contextmanager
def _fresh_modules(root: str) -> Iterator[None]:
    """The project's modules are those of `root` as they are now: a worker outlives edits, and serves other projects."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For libraries that are loaded and those that will be. joblib's part: it would spread a job over the cluster."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    with threadpool_limits(1), parallel_config(backend="sequential"):
        yield


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
