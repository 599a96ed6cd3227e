"""Jobs on the workers of a dask cluster that shares the project's folder.

dask spreads them, and does again what is lost with a worker. What it does not do for us, the project's modules on
workers that outlive edits, one thread a job, refusing what would give other results, is done here.
"""

import contextlib
import ctypes
import importlib
import os
import pickle
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from joblib import parallel_config

from stages.plumbing import workdir
from stages.plumbing.errors import UserError
from stages.plumbing.parallel import in_order
from stages.plumbing.params import ParallelParams

if TYPE_CHECKING:
    from distributed import Client

Job = TypeVar("Job")
Result = TypeVar("Result")
_CONNECT_SECONDS = 5
_LOOK_EVERY = 0.5  # seconds


def on_cluster(
    work: Callable[[Job], Result], jobs: Sequence[Job], params: ParallelParams
) -> Iterator[tuple[Result, float]]:
    """The results of `work` over `jobs` in order, each with the CPU seconds it took; `params.jobs` run at a time.

    Raises UserError when the cluster cannot do the work.
    """
    try:
        import cloudpickle  # type: ignore[import-untyped]
        from distributed import KilledWorker
    except ImportError:
        raise UserError("parallel.backend: dask needs dask: `make extras` installs it") from None

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker need not know the project beforehand
    workdir.WORK.mkdir(exist_ok=True)
    with (
        _connected(params.scheduler) as client,
        tempfile.NamedTemporaryFile(prefix="cluster-", dir=workdir.WORK) as witness,
    ):
        root, token, sources = str(Path.cwd()), str(Path(witness.name).absolute()), _sources()

        executor = client.get_executor(pure=False)

        def run(call: bytes) -> bytes | str:  # a local function, since pickle would send a global one by its name
            return _in_project(root, token, sources, call)

        def submit(job: Job) -> "Future[bytes | str]":
            return executor.submit(run, cloudpickle.dumps((work, job)))

        try:
            yield from in_order(submit, _read, jobs, params.jobs)
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


def _read(future: "Future[bytes | str]") -> tuple[Any, float]:
    """Result and CPU seconds; raises the job's exception, or UserError where the worker refused."""
    answer = future.result()
    if isinstance(answer, str):
        raise UserError(answer)
    result, seconds = pickle.loads(answer)  # noqa: S301 - the cluster's workers are trusted with running the code
    if isinstance(result, Exception):
        raise result
    return result, seconds


def _in_project(root: str, token: str, sources: str, call: bytes) -> bytes | str:
    """On a worker: from a pickled job to its pickled (result or exception, CPU seconds), or words of refusal.

    Answers are pickled here, because before dask does it the next job may have taken the project's modules away.
    token: a new file of the project, which a copy of the project lacks. sources: digest of the stage's code.
    """
    import cloudpickle

    if refused := _refusal(root, token):
        return refused
    started = time.process_time()
    with contextlib.chdir(root), _fresh_modules(root), _one_thread():
        if _sources() != sources:  # before any result is made under the name of other code
            return "source files changed while the stage ran; nothing was written, run it again"
        try:
            work, job = pickle.loads(call)  # noqa: S301 - whoever reaches a worker of dask can run code on it anyway
            if torch := sys.modules.get("torch"):
                torch.set_num_threads(1)
            with _while_wanted():
                result = work(job)
        except Exception as error:
            error.add_note(traceback.format_exc())
            result = error
    return cloudpickle.dumps((result, time.process_time() - started))


def _sources() -> str:
    """Digest of all code of the project that lies in the current folder."""
    from stages.plumbing import code  # here, because a worker knows no module of the project before it is there

    return code.digest(sorted(Path("stages").rglob("*.py")))


def _refusal(root: str, token: str) -> str:
    """Why this worker is not fit, or nothing."""
    from distributed import get_worker

    worker = get_worker()
    name, threads = f"the worker {worker.address}", worker.state.nthreads
    if threads > 1:  # the current folder and torch's random state belong to the whole process
        return f"{name} runs {threads} jobs in one process: start it with --nthreads 1, and as many with --nworkers"
    if not Path(root).is_dir():
        return f"{name} has no folder {root}: all machines must share the project's folder, at the same path"
    if not Path(token).is_file():
        return f"{name} has another folder at {root}: all machines must share the project's folder, no copies"
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
def _while_wanted() -> Iterator[None]:
    """Ends the block by an exception when nobody waits for its result, as the stage that asks has ended or was killed.

    dask notices, but stops nothing that has begun: the next run would find its workers busy with units that it needs.
    """
    from distributed import get_worker

    worker, thread, over = get_worker(), ctypes.c_ulong(threading.get_ident()), threading.Event()
    tasks, key = worker.state.tasks, worker.get_current_task()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY):
            if key not in tasks or tasks[key].state == "cancelled":
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(CancelledError))
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For libraries that are loaded and those that will be. joblib's part: a job starts no processes of its own."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    with threadpool_limits(1), parallel_config(backend="sequential"):
        yield
