"""A copy of the project to run in: a clone's files in a folder whose name has spaces, without a git identity."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from tests.fork_server import serving

# Before any test imports torch: as in the stages, one thread, because two on tiny networks collapse on a busy machine.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
# A machine's load says nothing about the code: no test case is too slow. Cases are the same in every run: what passes
# here passes in CI. `make drills` asks for the thorough profile.
settings.register_profile("understudy", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", settings.get_profile("understudy"), max_examples=500)
settings.load_profile("understudy")
ROOT = Path(__file__).parents[1]
DEFAULT_PARAMS = ROOT / "presets/base.yaml"  # params.yaml may hold any other set
# As few steps and images as keep every stage real; two replicates, the fewest that can be compared. One process: where
# tests run side by side, starting more of them takes longer than their work.
TINY: dict[str, Any] = {
    "prepare.replicates": 2,
    "train_gan.generators.gan.steps": 20,
    "train_gan.generators.gan.log_every": 10,
    "train_gan.generators.gan.samples_every": 10,
    "generate.plan.per_class": 25,
    "filter_memorized.planted_copies": 5,
    "train_downstream.classifier.steps": 10,
    "train_downstream.scikit_learn": {"classifiers": ["nearest_neighbours"], "images": 50},
    "evaluate.bootstrap": 100,
    "parallel.jobs": 1,
}
BASELINES = ("classic", "pseudo_label")
ARMS_OF_GAN = ("gan_classic", "synthetic_only")
KEPT_ARMS = (*BASELINES, *ARMS_OF_GAN, "gaussian_only")
SHARED = "UNDERSTUDY_SHARED"  # the folder that all processes share which share the tests out
# The files that take longest come first: begun last, one would keep one process busy and the other waiting. The first
# makes the project that the fourth and the fifth need; who takes the second need not wait for it.
FIRST = (
    "test_pipeline_runs.py",
    "test_mlflow_server.py",
    "generators/test_training.py",
    "test_pipeline_promises.py",
    "test_pipeline_results.py",
    "tracking/test_recording.py",
    "plumbing/test_cluster.py",
    "test_serving.py",
    "test_shards.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {ROOT / "tests" / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_configure(config: pytest.Config) -> None:
    """What all processes share is made by the first of them; the others inherit where it is."""
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        config.add_cleanup(stack.close)
        os.environ[SHARED] = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(serving(Path(os.environ[SHARED])))


def once(name: str, make: Callable[[Path], None]) -> Path:
    """A place that the first process to want it fills; the others wait meanwhile."""
    place = Path(os.environ[SHARED]) / name
    with place.with_name(f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done := place.with_name(f"{name}.done")).exists():
            make(place)
            done.touch()
    return place


def read_params(folder: Path) -> dict[str, Any]:
    """params.yaml of a project as nested dictionaries."""
    return YAML(typ="safe", pure=True).load((folder / "params.yaml").read_text())


def change_params(folder: Path, **changes: Any) -> None:
    """Sets dotted keys, written with double underscores as in prepare__replicates=5, in the project's params.yaml."""
    edit_params(folder, {key.replace("__", "."): value for key, value in changes.items()})


def edit_params(folder: Path, changes: dict[str, Any]) -> None:
    """Sets dotted keys in the project's params.yaml."""
    params = read_params(folder)
    for key, value in changes.items():
        section = params
        *above, last = key.split(".")
        for part in above:
            section = section[part]
        section[last] = value
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(params, file)


def copy_project(folder: Path) -> Path:
    """The files that git tracks or would track, without results, as a git repository of their own.

    Its parameters are the default ones, whatever params.yaml holds at the moment.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source, target = ROOT / name, folder / name
        if source.is_file() and not name.startswith("metrics/") and name != "dvc.lock":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (folder / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)  # noqa: S607
    return folder


def hasten_teachers(folder: Path) -> None:
    """Lets those who guess the labels of a copied project's pool learn for 10 steps; no parameter says how many."""
    module = folder / "stages/labelling/quick_classifier.py"
    before = module.read_text()
    module.write_text(before.replace("\nSTEPS = 100\n", "\nSTEPS = 10\n"))
    assert module.read_text() != before


def fresh_environment(anew: bool = False) -> dict[str, str]:
    """Variables as on a fresh machine: our Python first in PATH, no git identity, no MLflow server.

    anew: commands start as people start them, and not as copies of what `fork_server` has ready.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "GIT_"))}
    quick = [] if anew else [str(Path(os.environ[SHARED]) / "commands")]
    return inherited | {
        "PATH": os.pathsep.join([*quick, str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "DVC_NO_ANALYTICS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def hears_ctrl_c() -> None:
    """For `preexec_fn`: a shell lets what it runs in the background, these tests perhaps, ignore Ctrl-C, and so would
    all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def run_in() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a folder, with the variables of `fresh_environment`."""
    site_cache = str(Path(os.environ.get("TMPDIR", "/tmp")) / f"dvc-site-{os.getpid()}")  # noqa: S108
    environment = fresh_environment() | {"DVC_SITE_CACHE_DIR": site_cache}

    def run(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S602
            command, shell=True, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=1500
        )

    return run


@pytest.fixture(scope="session")
def finished(run_in: Callable[..., Any]) -> Path:
    """A tiny project in which `dvc repro` has run once, with KEPT_ARMS. Tests look at it, or take a copy."""
    from tests.tracking.toy import migrated_store

    def make(place: Path) -> None:
        folder = copy_project(place / "a project")
        arms = read_params(folder)["train_downstream"]["arms"]
        kept = {arm: arms[arm] for arm in KEPT_ARMS}
        fewer = {f"evaluate.{question}.rivals": [*BASELINES] for question in ("augment", "stand_in")}
        fewer |= {"evaluate.learning_curve": [], "train_downstream.arms": kept}
        edit_params(folder, TINY | fewer)
        hasten_teachers(folder)
        (folder / "mlflow.db").write_bytes(migrated_store())
        first = run_in("dvc repro", folder)
        assert first.returncode == 0, first.stdout + first.stderr

    return once("finished", make) / "a project"


def copy_of(finished: Path, folder: Path) -> Path:
    """A project of its own with all that `finished` has, DVC's cache and MLflow's store too."""
    shutil.copytree(finished, folder, symlinks=True)
    return folder
