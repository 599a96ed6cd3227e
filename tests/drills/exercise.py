"""What every drill does: start a command, disturb it at some moment, and look at what lies there afterwards."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from tests.conftest import TINY, copy_project, edit_params, fresh_environment, hears_ctrl_c, read_params

MODEST: dict[str, Any] = TINY | {
    "prepare.test_share": 0.1,
    "prepare.unlabelled": {"count": 60},
    "prepare.calibration": 30,
    "train_gan.generators.gan.width": 32,
    "train_gan.generators.gan.checkpoint_every": 5,
    "generate.plan.per_class": 15,
    "filter_memorized.planted_copies": 2,
    "train_downstream.classifier.width": 4,
    "evaluate.augment": {"arms": ["gan_classic"], "rivals": ["classic"]},
    "evaluate.stand_in": {"arms": [], "rivals": ["classic"]},
    "evaluate.learning_curve": [],
    "evaluate.examples_per_class": 1,
    "evaluate.nearest_pairs": 2,
}
ARMS = {
    "classic": [{}],
    "pseudo_label": [{"pool_share": 0.8, "teacher": "classifier"}],
    "gan_classic": [{"synthetic_share": 0.5}],
}
STAGES = (
    "prepare",
    "train_gan@gan",
    "generate@gan",
    "filter_memorized@gan",
    "train_downstream@gan_classic",
    "evaluate",
)
SECONDS = 300  # after which a command hangs
_VIEWS = ("mlflow.db*", "mlartifacts", "__pycache__")  # MLflow's store names its own place, so no copy has it


@dataclass(frozen=True)
class Stage:
    """A stage as dvc.lock has it: the command, and what it makes."""

    name: str
    command: str
    outs: tuple[str, ...]


def modest_project(folder: Path, changes: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """A project with one generator and three arms that every stage is quick with, in which nothing has run."""
    params = read_params(copy_project(folder))
    generators, arms = params["train_gan"]["generators"], params["train_downstream"]["arms"]
    kept = {arm: arms[arm] | {"settings": settings} for arm, settings in ARMS.items()}
    edit_params(folder, {"train_gan.generators": {"gan": generators["gan"]}, "train_downstream.arms": kept})
    edit_params(folder, {**MODEST, **changes})
    return folder


def copy_of(project: Path, folder: Path) -> Path:
    """A copy of a project to disturb."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(*_VIEWS), symlinks=True)
    return folder


def results(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in data/ and metrics/, and the folders, so that nothing left over goes unseen."""
    paths = [path for root in ("data", "metrics") for path in sorted((folder / root).rglob("*"))]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in paths
    }


def stage_of(folder: Path, name: str) -> Stage:
    """A stage that has run in the project."""
    entry = _lock(folder)["stages"][name]
    return Stage(name, entry["cmd"], tuple(out["path"] for out in entry["outs"]))


def forget(folder: Path, stage: Stage) -> None:
    """Makes the project one in which the stage has not run yet, while all others have.

    What is guessed of the pool's labels is forgotten too: the stages share it, so that the stage would only read it.
    """
    lock = _lock(folder)
    lock["stages"].pop(stage.name, None)
    with (folder / "dvc.lock").open("w") as file:
        YAML().dump(lock, file)
    made = [folder / out for out in stage.outs]
    kept = (folder / ".work").glob(f"{stage.name}*")
    for path in (*made, *kept, folder / ".work/labelling", folder / ".dvc/cache/runs"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _lock(folder: Path) -> Any:
    return YAML(typ="safe", pure=True).load((folder / "dvc.lock").read_text())


def start(command: str, folder: Path, anew: bool = False, **options: Any) -> subprocess.Popen[str]:
    """Starts a command as a process group of its own, as a shell does.

    anew: the process itself is the command, as where it alone is killed or limited; see `fresh_environment`.
    """
    site_cache = str(folder.with_name(f"{folder.name} site cache"))
    environment = fresh_environment(anew) | {"DVC_SITE_CACHE_DIR": site_cache}
    return subprocess.Popen(  # noqa: S602
        f"exec {command}",
        shell=True,
        cwd=folder,
        env=environment | options.pop("variables", {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
        **({"preexec_fn": hears_ctrl_c} | options),
    )


def said(process: subprocess.Popen[str], status: int = 0) -> str:
    """All that a process says; it must end with this exit status, and without a traceback."""
    words, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == status, words
    assert "Traceback" not in words
    return words


def run(command: str, folder: Path, status: int = 0, **options: Any) -> str:
    """Runs a command to its end; see `said`."""
    return said(start(command, folder, **options), status)


def ended_within(process: subprocess.Popen[str], seconds: float) -> bool:
    """Waits so long; whether the process has ended by itself."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Waits until something has happened, while the process is at work."""
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def kill_once(command: str, folder: Path, seconds: float, chance: np.random.Generator, stage: Stage) -> None:
    """Kills the command with all its processes at a random moment of the `seconds` that it takes.

    Where it ended sooner, the stage is forgotten and it begins anew, with half the time.
    """
    while True:
        process = start(command, folder)
        ended = ended_within(process, chance.uniform(0, seconds))
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            _wait_for_the_last_of(process.pid)
            return
        forget(folder, stage)
        seconds /= 2


def _wait_for_the_last_of(group: int) -> None:
    """Waits until no process of a killed group is left: DVC takes one that nobody has buried yet for a running one."""
    latest = time.monotonic() + SECONDS
    while time.monotonic() < latest:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise TimeoutError(f"a process of the killed group {group} is left after {SECONDS} s")


def seconds_of(folder: Path, stage: Stage) -> float:
    """How long the stage took the last time it ran."""
    record = YAML(typ="safe", pure=True).load((folder / f".work/timing/{stage.name}.json").read_text())
    return float(record["seconds"])


def runs_left_running(folder: Path) -> int:
    """How many runs of the project's MLflow store are still shown as running."""
    store = folder / "mlflow.db"
    if not store.exists():
        return 0
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return int(database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0])
