"""A training that was killed loses no more than the steps since its last checkpoint, and no byte."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import save_file

import stages.prepare
import stages.train_gan
from stages.labelling import pool
from stages.plumbing.stage import execute
from tests.conftest import DEFAULT_PARAMS, ROOT, edit_params, fresh_environment, hasten_teachers
from tests.generators.toy import toy_params
from tests.labelling.toy import hasty_fit

BACKBONE = {"name": "test_efficientnet", "size": 32, "weights": "own.safetensors"}  # timm's, for tests
TRAIN = ["python", "-m", "stages.train_gan", "gan"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The digits, prepared for one replicate; the working directory."""
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    for name in ("digits", "none"):
        (tmp_path / "data/raw" / name).mkdir(parents=True)
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    gan = {"steps": 150, "checkpoint_every": 50, "log_every": 50, "samples_every": 50}
    changes = {f"train_gan.generators.gan.{name}": value for name, value in gan.items()}
    changes |= {"prepare.replicates": 1, "prepare.test_share": 0.8}  # a small pool is labelled sooner
    edit_params(tmp_path, changes)
    monkeypatch.chdir(tmp_path)
    execute("prepare", stages.prepare.main)
    return tmp_path


def outputs() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path("data/train_gan").rglob("*")) if path.is_file()}


def test_what_auto_made_on_this_device_is_found_where_the_device_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    edit_params(project, {"train_gan.generators.gan.steps": 2, "train_gan.generators.gan.samples_every": 2})

    def unit() -> Path:
        execute("train_gan", stages.train_gan.main, item="gan")
        (folder,) = Path(".work/train_gan@gan").iterdir()
        return folder

    (unit() / "seen").touch()
    edit_params(project, {"train_gan.device": "cpu"})
    assert (unit() / "seen").exists()


def test_other_weights_of_the_same_name_make_another_generator(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    section = toy_params("projected", steps=2, backbone=BACKBONE).model_dump()
    edit_params(project, {"train_gan.generators.gan": section})

    def units() -> list[str]:
        import timm

        random = timm.create_model(BACKBONE["name"])
        save_file(random.state_dict(), BACKBONE["weights"])
        execute("train_gan", stages.train_gan.main, item="gan")
        return [folder.name for folder in Path(".work/train_gan@gan").iterdir()]

    (first,), (second,) = units(), units()  # each of other random weights
    assert first != second


def test_killed_in_the_middle_and_run_again_it_ends_in_the_bytes_of_an_undisturbed_run(project: Path) -> None:
    (project / "stages").unlink()
    shutil.copytree(ROOT / "stages", project / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    hasten_teachers(project)
    with subprocess.Popen(TRAIN, env=fresh_environment(), process_group=0) as stage:  # noqa: S603
        while not list(Path(".work/train_gan@gan").glob("*.checkpoint/state.pt")):
            assert stage.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.05)
        os.killpg(stage.pid, signal.SIGKILL)
    assert not Path("data/train_gan").exists()
    subprocess.run(TRAIN, env=fresh_environment(), check=True)  # noqa: S603
    resumed = outputs()
    assert not list(Path(".work").rglob("*.checkpoint"))
    shutil.rmtree(".work/train_gan@gan")
    subprocess.run(TRAIN, env=fresh_environment(), check=True)  # noqa: S603
    assert outputs() == resumed
    assert any(path.endswith("samples/step_000150.png") for path in resumed)
