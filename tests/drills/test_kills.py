"""kill -9 at random moments of fixed seeds: the next run ends in the bytes of an undisturbed one."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import edit_params
from tests.drills.exercise import (
    STAGES,
    Stage,
    copy_of,
    ended_within,
    forget,
    kill_once,
    results,
    run,
    runs_left_running,
    seconds_of,
    stage_of,
    start,
)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("prepare", 0),
        ("train_downstream@classic", 0),
        pytest.param("prepare", 1, marks=pytest.mark.drill),
        *(pytest.param("train_downstream@classic", seed, marks=pytest.mark.drill) for seed in (1, 2)),
    ],
)
def test_a_killed_stage_ends_in_the_same_bytes_the_next_time(begun: Path, tmp_path: Path, name: str, seed: int) -> None:
    stage, folder = stage_of(begun, name), copy_of(begun, tmp_path / "copy")
    forget(folder, stage)
    kill_once(stage.command, folder, seconds_of(begun, stage), np.random.default_rng(seed), stage)
    run(stage.command, folder)
    assert results(folder) == results(begun)


@pytest.mark.drill
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_killed_four_times_in_a_row_ends_in_the_same_bytes(
    whole: Path, tmp_path: Path, name: str, seed: int
) -> None:
    stage, folder = stage_of(whole, name), copy_of(whole, tmp_path / "copy")
    chance = np.random.default_rng([STAGES.index(name), seed])
    forget(folder, stage)
    for _ in range(4):
        kill_once(stage.command, folder, seconds_of(whole, stage), chance, stage)
    run(stage.command, folder)
    assert results(folder) == results(whole)
    assert runs_left_running(folder) == 0


@pytest.mark.drill
@pytest.mark.parametrize("name", STAGES)
def test_dvc_repro_killed_twice_ends_in_the_same_bytes(whole: Path, tmp_path: Path, name: str) -> None:
    stage, folder = stage_of(whole, name), copy_of(whole, tmp_path / "copy")
    chance = np.random.default_rng(STAGES.index(name))
    forget(folder, stage)
    for _ in range(2):
        kill_once("dvc repro", folder, 3 + seconds_of(whole, stage), chance, stage)
    run("dvc repro", folder)
    assert results(folder) == results(whole)
    assert runs_left_running(folder) == 0
    assert "up to date" in run("dvc status", folder)


def _with_two_workers(whole: Path, folder: Path, stage: Stage) -> Path:
    edit_params(copy_of(whole, folder), {"parallel.jobs": 2})
    forget(folder, stage)
    return folder


@pytest.fixture(scope="module", params=STAGES)
def timed(whole: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Stage, float]:
    """A stage, and the seconds that two workers take for it on this machine, as people start it."""
    stage = stage_of(whole, request.param)
    folder = _with_two_workers(whole, tmp_path_factory.mktemp("timed") / "copy", stage)
    began = time.monotonic()
    run(stage.command, folder, anew=True)
    return stage, time.monotonic() - began


@pytest.mark.drill
@pytest.mark.parametrize("moment", [0.4, 0.6, 0.8])
def test_workers_that_outlive_their_killed_stage_damage_nothing(
    whole: Path, tmp_path: Path, timed: tuple[Stage, float], moment: float
) -> None:
    stage, seconds = timed
    folder = _with_two_workers(whole, tmp_path / "copy", stage)
    process = start(stage.command, folder, anew=True)
    if not ended_within(process, moment * seconds):
        os.kill(process.pid, signal.SIGKILL)
    run(stage.command, folder)
    assert results(folder) == results(whole)
    assert runs_left_running(folder) == 0
