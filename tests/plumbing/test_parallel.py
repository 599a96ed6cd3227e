"""Replicates on processes of this machine; tests/plumbing/test_cluster.py has those on a cluster."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_info

from stages.plumbing.errors import UserError
from stages.plumbing.parallel import fan_out
from stages.plumbing.params import ParallelParams
from tests.conftest import ROOT, hears_ctrl_c
from tests.counting import counting, wait_until_still

TWO = ParallelParams(backend="loky", jobs=2, scheduler="")


def square(number: int) -> int:
    time.sleep(0.1 * (3 - number))  # the last job is done first
    return number**2


def busy(seconds: float) -> None:
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass


def note_or_refuse(place: Path) -> None:
    if place.name == "0":
        raise UserError("no such thing")
    time.sleep(0.5)
    place.touch()


def threads(_: int) -> tuple[set[int], int]:
    numbers = np.ones((50, 50))
    assert (numbers @ numbers).sum()
    return {pool["num_threads"] for pool in threadpool_info()}, os.getpid()


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert fan_out(square, [0, 1, 2, 3], TWO, "squares", "job", show_bar=False)[0] == [0, 1, 4, 9]


def test_no_jobs_have_no_results_and_start_no_process() -> None:
    assert fan_out(square, [], TWO, "squares", "job", show_bar=True) == ([], 0.0)


def test_cpu_seconds_are_those_of_the_jobs() -> None:
    _, seconds = fan_out(busy, [0.3, 0.2], TWO, "busy", "job", show_bar=False)
    assert seconds == pytest.approx(0.5, abs=0.2)


def test_cpu_seconds_of_jobs_that_this_process_does_count_once() -> None:
    alone = TWO.model_copy(update={"jobs": 1})
    assert fan_out(busy, [0.1], alone, "busy", "job", show_bar=False)[1] == 0


def test_the_first_exception_arrives_and_jobs_that_have_not_begun_are_dropped(tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(20)]
    with pytest.raises(UserError, match="no such thing"):
        fan_out(note_or_refuse, places, TWO, "places", "job", show_bar=False)
    assert len(list(tmp_path.iterdir())) < 10


def test_jobs_run_in_processes_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    get_reusable_executor().shutdown()
    for library in ("OMP", "MKL", "OPENBLAS"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "2")
    told, _ = fan_out(threads, [0, 1], TWO, "threads", "job", show_bar=False)
    assert all(counts == {1} for counts, _ in told)
    assert os.getpid() not in {pid for _, pid in told}


def test_workers_do_not_outlive_a_stage_that_was_killed(tmp_path: Path) -> None:
    counters = [tmp_path / name for name in ("one", "two")]
    with subprocess.Popen(counting(TWO, *counters), cwd=ROOT, stderr=subprocess.DEVNULL) as stage:  # noqa: S603
        while not all(counter.exists() for counter in counters):
            assert stage.poll() is None
            time.sleep(0.05)
        stage.kill()
    wait_until_still(counters)


@pytest.mark.parametrize("seconds", [0, 0.3, 1])
def test_ctrl_c_is_heard_by_the_stage_alone_also_while_workers_start(tmp_path: Path, seconds: float) -> None:
    """A terminal sends it to all processes; those that import something at the moment would show tracebacks."""
    with subprocess.Popen(  # noqa: S603
        counting(TWO, tmp_path / "one", tmp_path / "two"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    ) as stage:
        while not workers(stage.pid):
            assert stage.poll() is None
            time.sleep(0.01)
        time.sleep(seconds)
        os.killpg(stage.pid, signal.SIGINT)
        words = stage.communicate(timeout=60)[1]
    assert "Traceback" not in words, words
    assert stage.returncode == 3


_PRELOADING = """import os, sys
from stages.plumbing.parallel import fan_out
from stages.plumbing.params import ParallelParams

def look(_):
    return "graphlib" in sys.modules, os.getppid()

params = ParallelParams(backend="loky", jobs=2, scheduler="")
for preload in (["graphlib", "no_such_module"], []):
    told, _ = fan_out(look, [0, 1, 2], params, "looking", "job", False, preload)
    assert {known for known, _ in told} == {True}, told
    assert len({server for _, server in told} - {os.getpid()}) == 1, told
assert "graphlib" not in sys.modules"""


def test_what_all_jobs_import_is_imported_once_in_a_process_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", _PRELOADING], cwd=ROOT, check=True)  # noqa: S603


def workers(stage: int) -> list[psutil.Process]:
    """What a stage has started to do its jobs: the server process, and those that it has split off."""
    return [each for each in psutil.Process(stage).children(recursive=True) if "forkserver" in " ".join(each.cmdline())]


def test_a_bar_without_a_terminal_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    fan_out(square, [0, 1], TWO, "squares", "job", show_bar=True)
    said = capsys.readouterr().err
    assert "squares" in said
    assert "\r" not in said
