"""Replicates on the workers of a dask cluster: real processes on this machine, started in a folder of their own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import cloudpickle
import distributed
import numpy as np
import pytest
from distributed import Client
from joblib.externals.loky import get_reusable_executor

from stages.plumbing import cluster as dask_cluster
from stages.plumbing import workdir
from stages.plumbing.errors import UserError
from stages.plumbing.parallel import fan_out
from stages.plumbing.params import ParallelParams
from tests.clusters import cluster_of, scheduling, wait_for
from tests.conftest import ROOT, TINY, copy_project, edit_params, hears_ctrl_c
from tests.counting import counting, wait_until_still

Run = Callable[..., "CompletedProcess[str]"]
ARMS = ("classic", "gan_classic")
LOKY = ParallelParams(backend="loky", jobs=2, scheduler="")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as the functions of a stage's `__main__` travel


@pytest.fixture(scope="module")
def cluster_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster_of(2, tmp_path_factory.mktemp("workers")) as (address, _):
        yield address


@pytest.fixture
def cluster(cluster_of_two: str) -> ParallelParams:
    """Two workers, whatever an earlier test did to them."""
    wait_for(2, cluster_of_two)
    return dask(cluster_of_two)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's code; the working directory."""
    folder = tmp_path / "a project"
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    get_reusable_executor().shutdown()  # loky's processes stay where they began
    return folder


def dask(address: str, jobs: int = 2) -> ParallelParams:
    return ParallelParams(backend="dask", jobs=jobs, scheduler=address)


def spread(work: Callable[[Any], Any], jobs: Sequence[Any], params: ParallelParams) -> list[Any]:
    return fan_out(work, jobs, params, "test", "job", show_bar=False)[0]


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in workdir.WORK.rglob("*") if path.is_file()}


# Jobs.


def multiply(seed: int) -> Path:
    def build(folder: Path) -> None:
        import torch

        numbers = torch.randn((300, 300), generator=torch.Generator().manual_seed(seed))
        np.save(folder / "product.npy", (numbers @ numbers).numpy(), allow_pickle=False)

    return workdir.finished("multiply", str(seed), build)


def die_once(number: int) -> Path:
    """Kills its process in the middle of the writing, once in all."""

    def build(folder: Path) -> None:
        (folder / "first half").write_text(str(number))
        if number == 1 and not (folder.parents[2] / "died").exists():
            (folder.parents[2] / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "second half").write_text(str(number))

    return workdir.finished("die_once", str(number), build)


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> None:
    Path(f"begun {number}").touch()
    if number == 1:
        raise UserError(f"job {number} says no")
    while not Path("begun 1").exists():  # which takes a busy machine a while
        time.sleep(0.05)
    time.sleep(6)
    Path(f"ended {number}").touch()


def where_and_with_how_many_threads(_: int) -> tuple[str, int, set[int], str]:
    import torch
    from joblib.parallel import get_active_backend
    from threadpoolctl import threadpool_info

    numbers = torch.randn(300, 300)
    (numbers @ numbers).sum().item()
    pools = {pool["num_threads"] for pool in threadpool_info()}
    return str(Path.cwd()), torch.get_num_threads(), pools, type(get_active_backend()[0]).__name__


def nap(_: int) -> tuple[float, float]:
    started = time.time()
    time.sleep(0.3)
    return started, time.time()


def loiter(_: int) -> None:
    Path("waiting").touch()
    time.sleep(10)


def edit(number: int) -> None:
    Path("stages/edited.py").write_text(f"VALUE = {number}\n")


def the_value(_: int) -> int:
    from stages.edited import VALUE  # type: ignore[import-not-found]

    return VALUE


@pytest.mark.usefixtures("project")
def test_results_order_and_files_are_those_of_this_machine(cluster: ParallelParams) -> None:
    results, written = [], []
    for params in (LOKY, cluster):
        results.append(spread(multiply, [3, 1, 2, 0], params))
        written.append(files())
        shutil.rmtree(workdir.WORK)
    assert results[0] == results[1] == [Path(f".work/multiply/{seed}") for seed in (3, 1, 2, 0)]
    assert len(written[0]) == 4
    assert written[0] == written[1]


def test_a_job_runs_in_the_project_with_one_thread_and_spreads_nothing_itself(
    project: Path, cluster: ParallelParams
) -> None:
    for told in spread(where_and_with_how_many_threads, range(4), cluster):
        assert told == (str(project), 1, {1}, "SequentialBackend")


@pytest.mark.usefixtures("project")
@pytest.mark.drill
def test_a_worker_killed_in_the_middle_of_a_job_changes_nothing(cluster: ParallelParams) -> None:
    expected = {
        f".work/die_once/{unit}/{half} half": str(unit).encode() for unit in range(4) for half in ("first", "second")
    }
    assert spread(die_once, range(4), cluster) == [Path(f".work/die_once/{unit}") for unit in range(4)]
    assert Path("died").exists()
    assert files() == expected


@pytest.mark.usefixtures("project")
@pytest.mark.drill
def test_a_job_that_kills_every_worker_is_given_up_in_words(cluster: ParallelParams) -> None:
    with pytest.raises(UserError, match=r"a job lost its worker 2 times, at last tcp://127\.0\.0\.1"):
        spread(die, [0], cluster)


def test_the_exception_of_a_job_arrives_with_its_place_and_the_rest_is_dropped(
    project: Path, cluster: ParallelParams
) -> None:
    with pytest.raises(UserError, match="job 1 says no") as caught:
        spread(refuse, range(4), cluster)
    assert not (project / "ended 0").exists()  # nobody waited for it
    assert "in refuse" in caught.value.__notes__[0]
    begun = {path.name for path in project.glob("begun *")}
    assert "begun 1" in begun
    assert begun <= {"begun 0", "begun 1"}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_job_ends_with_the_stage_that_asked_for_it(project: Path, cluster: ParallelParams, end: int) -> None:
    counter = project / "counter"
    with subprocess.Popen(  # noqa: S603
        counting(cluster, counter), cwd=project, stderr=subprocess.DEVNULL, preexec_fn=hears_ctrl_c
    ) as stage:
        while not counter.exists():
            assert stage.poll() is None
            time.sleep(0.05)
        stage.send_signal(end)
    wait_until_still([counter])
    assert spread(multiply, [1], cluster) == [Path(".work/multiply/1")]  # the worker is there, and free


@pytest.mark.usefixtures("project")
def test_no_more_jobs_run_at_once_than_params_allow(cluster: ParallelParams) -> None:
    times = spread(nap, range(3), dask(cluster.scheduler, jobs=1))
    assert all(ended <= started for (_, ended), (started, _) in pairwise(times))


def test_a_worker_does_not_remember_modules_from_before_an_edit(project: Path, cluster: ParallelParams) -> None:
    for value in (1, 22):
        (project / "stages/edited.py").write_text(f"VALUE = {value}\n")
        assert spread(the_value, range(4), cluster) == [value] * 4


def test_sources_edited_while_jobs_run_are_noticed_before_the_next_makes_a_result(
    project: Path, cluster: ParallelParams
) -> None:
    with pytest.raises(UserError, match="source files changed while the stage ran"):
        spread(edit, [0, 1, 2], dask(cluster.scheduler, jobs=1))
    assert (project / "stages/edited.py").read_text() == "VALUE = 0\n"


@pytest.mark.usefixtures("project")
def test_a_worker_with_a_copy_of_the_folder_is_refused(
    cluster: ParallelParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def elsewhere(**_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(name=".work/of another machine")

    monkeypatch.setattr(dask_cluster.tempfile, "NamedTemporaryFile", elsewhere)
    with pytest.raises(UserError, match=r"tcp://127.* has another folder at .*/a project: .* no copies"):
        spread(multiply, [0], cluster)
    assert not files()


@pytest.mark.usefixtures("project")
def test_a_worker_without_the_folder_is_refused(cluster: ParallelParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster.Path, "cwd", lambda: Path("/nowhere/project"))
    with pytest.raises(UserError, match="has no folder /nowhere/project: all machines must share"):
        spread(multiply, [0], cluster)


def test_a_worker_with_several_threads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SimpleNamespace(address="tcp://10.0.0.2:1", state=SimpleNamespace(nthreads=4))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    said = dask_cluster._in_project(str(tmp_path), str(tmp_path / "token"), "", b"")
    assert said == (
        "the worker tcp://10.0.0.2:1 runs 4 jobs in one process: start it with --nthreads 1, "
        "and as many with --nworkers"
    )


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address", "smoke://signals"])
def test_a_scheduler_that_cannot_be_reached_is_told_within_seconds(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dask_cluster._CONNECT_SECONDS <= 5
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(UserError, match=f"parallel.scheduler: cannot reach {address}"):
        spread(multiply, [0], dask(address))
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("project")
def test_dask_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="make extras"):
        spread(multiply, [0], dask("tcp://127.0.0.1:1"))


@pytest.mark.usefixtures("project")
def test_a_scheduler_without_workers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Client.wait_for_workers
    sooner = lambda client, count, timeout: wait(client, count, timeout=timeout / 50)  # noqa: E731
    monkeypatch.setattr(Client, "wait_for_workers", sooner)
    with (
        scheduling(tmp_path) as (address, _),
        pytest.raises(UserError, match=f"{address} has no workers"),
    ):
        spread(multiply, [0], dask(address))


@pytest.mark.drill
def test_a_scheduler_lost_in_the_middle_is_told(project: Path, tmp_path: Path) -> None:
    with cluster_of(1, tmp_path, "--no-nanny") as (address, scheduler):

        def kill_when_begun() -> None:
            while not (project / "waiting").exists():
                time.sleep(0.05)
            scheduler.kill()

        threading.Thread(target=kill_when_begun, daemon=True).start()
        with pytest.raises(UserError, match=f"{address} was lost meanwhile"):
            spread(loiter, [0], dask(address))


@pytest.mark.drill
def test_a_pipeline_on_a_cluster_that_loses_a_worker_ends_in_the_same_bytes(
    tmp_path: Path, run_in: Run, cluster: ParallelParams
) -> None:
    artifacts, project = [], copy_project(tmp_path / "a project")
    for params in (LOKY, cluster):
        folder = shutil.copytree(project, tmp_path / f"on {params.backend}")
        gan = "train_gan.generators.gan"
        more = {f"{gan}.steps": 100, f"{gan}.checkpoint_every": 20, "parallel": params.model_dump()}
        edit_params(folder, TINY | more)
        killer = threading.Thread(target=_kill_a_busy_worker, args=(folder, params.scheduler))
        if params.scheduler:
            killer.start()
        of_gan = [f"{stage} gan" for stage in ("train_gan", "generate", "filter_memorized")]
        stages = ["prepare", *of_gan, *(f"train_downstream {arm}" for arm in ARMS)]
        done = run_in(" && ".join(f"python -m stages.{stage}" for stage in stages), folder)
        assert done.returncode == 0, done.stderr
        if params.scheduler:
            killer.join()
            assert (folder / "killed").exists()
        paths = [path for path in (folder / "data").rglob("*") if path.is_file()]
        artifacts.append({str(path.relative_to(folder)): path.read_bytes() for path in paths})
        assert not list(folder.rglob("*.partial"))
    assert len(artifacts[0]) > 10
    assert artifacts[0] == artifacts[1]


def _kill_a_busy_worker(folder: Path, scheduler: str) -> None:
    """With kill -9, when a GAN's first checkpoint is there."""
    with Client(scheduler, set_as_default=False) as client:
        pids = client.run(os.getpid)
        while not list(folder.glob(".work/**/*.checkpoint/state.pt")):
            time.sleep(0.02)
        busy = [worker for worker, tasks in client.processing().items() if tasks]
        os.kill(pids[busy[0]], signal.SIGKILL)
        (folder / "killed").touch()
