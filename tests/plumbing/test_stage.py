"""What a stage does around its work, and what bad input gets: one clear message, exit status 1, nothing lost."""

import errno
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from joblib.externals.loky import get_reusable_executor

import stages.evaluate
import stages.filter_memorized
import stages.generate
import stages.prepare
import stages.train_downstream
import stages.train_gan
from stages.labelling import pool
from stages.plumbing.errors import UserError
from stages.plumbing.stage import StageRun, execute
from stages.tracking import recording
from tests.conftest import ROOT, TINY, copy_project, edit_params, hears_ctrl_c, read_params
from tests.labelling.toy import hasty_fit

Run = Callable[..., "CompletedProcess[str]"]
Fail = Callable[..., str]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one generator, `gan`, with everything up to its generated images."""
    folder = copy_project(tmp_path_factory.mktemp("stage") / "a project")
    params = read_params(folder)
    arms = {name: arm for name, arm in params["train_downstream"]["arms"].items() if "gaussian" not in arm["images"]}
    generators = {"gan": params["train_gan"]["generators"]["gan"]}
    without = {"evaluate.stand_in.arms": ["synthetic_only"]}
    edit_params(folder, {"train_gan.generators": generators, "train_downstream.arms": arms, **without, **TINY})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(recording, "record_generator", lambda *_: None)
        patch.setattr(recording.Live, "log", lambda *_: None)
        patch.setattr(pool, "fit", hasty_fit(2))
        execute("prepare", stages.prepare.main)
        execute("train_gan", stages.train_gan.main, item="gan")
        execute("generate", stages.generate.main, item="gan")
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to damage; the working directory, also of workers: those of an earlier test have their own."""
    get_reusable_executor().shutdown(wait=True)
    shutil.copytree(prepared, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Fail:
    """Runs a stage in this process, which must end with status 1 (or the one given), and returns what it said."""

    def run(name: str, main: Callable[[StageRun], None], item: str = "", status: int = 1) -> str:
        with pytest.raises(SystemExit) as stop:
            execute(name, main, item=item)
        assert stop.value.code == status
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert any(line.startswith(f"{name}: ") for line in said.splitlines()), "after the bar, if there is one"
        return said

    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluate.confidense": 0.9}, "evaluate.confidense: unknown parameter"),
        ({"prepare.labels_per_class": 400}, "class '0' has 89 images beside the test set"),
        ({"prepare.calibration": 2000}, "prepare.calibration asks for 2000 images"),
    ],
)
def test_impossible_parameters_stop_the_first_stage_and_leave_its_artifacts(
    project: Path, fail: Fail, changes: dict[str, Any], words: str
) -> None:
    before = {path: path.read_bytes() for path in Path("data/prepare").iterdir()}
    edit_params(project, changes)
    assert words in fail("prepare", stages.prepare.main)
    assert {path: path.read_bytes() for path in Path("data/prepare").iterdir()} == before


@pytest.mark.parametrize(
    ("artifact", "name", "main"),
    [
        ("data/prepare/images.parquet", "generate", stages.generate.main),
        ("data/prepare/roles.parquet", "generate", stages.generate.main),
        ("data/prepare/dataset.json", "generate", stages.generate.main),
        ("data/train_gan/gan/1/weights.safetensors", "generate", stages.generate.main),
        ("data/train_gan/gan/0/plan.json", "generate", stages.generate.main),
        ("data/generate/gan/1.parquet", "filter_memorized", stages.filter_memorized.main),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_missing_and_damaged_artifacts_are_named_with_a_remedy(
    project: Path, fail: Fail, artifact: str, name: str, main: Callable[[StageRun], None], damage: str
) -> None:
    path = project / artifact
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = fail(name, main, "gan")
    assert artifact.rsplit("/", 1)[0] in said
    assert "dvc" in said


@pytest.mark.usefixtures("project")
def test_an_arm_without_predictions_is_named(fail: Fail, capsys: pytest.CaptureFixture[str]) -> None:
    execute("filter_memorized", stages.filter_memorized.main, item="gan")
    capsys.readouterr()
    assert "data/train_downstream/real/predictions.parquet is missing" in fail("evaluate", stages.evaluate.main)


def test_a_damaged_synthetic_set_stops_the_arm_that_adds_it(project: Path, fail: Fail) -> None:
    images = project / "data/filter_memorized/gan"
    assert "data/filter_memorized/gan/0.parquet" in fail("train_downstream", stages.train_downstream.main, "gan")
    images.mkdir(parents=True)
    (images / "0.parquet").write_bytes(b"PAR1")
    (images / "1.parquet").write_bytes(b"PAR1")
    said = fail("train_downstream", stages.train_downstream.main, "gan")  # of the two workers, either may be first
    assert re.search(r"data/filter_memorized/gan/[01]\.parquet is damaged", said)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("name", "main", "section"),
    [
        ("train_gan", stages.train_gan.main, "train_gan.generators (gan)"),
        ("generate", stages.generate.main, "train_gan.generators (gan)"),
        ("filter_memorized", stages.filter_memorized.main, "train_gan.generators (gan)"),
        ("train_downstream", stages.train_downstream.main, "train_downstream.arms (real, classic, "),
    ],
)
@pytest.mark.parametrize("item", ["gann", ""])
def test_an_unknown_generator_or_arm_is_named_with_those_there_are(
    fail: Fail, name: str, main: Callable[[StageRun], None], section: str, item: str
) -> None:
    assert f"{item!r} is not in {section}" in fail(name, main, item)


def test_too_few_calibration_images_for_alpha_are_told(project: Path, fail: Fail) -> None:
    edit_params(project, {"filter_memorized.alpha": 0.001})
    assert "999" in fail("filter_memorized", stages.filter_memorized.main, "gan")


@pytest.mark.usefixtures("project")
def test_a_full_disk_is_told_and_loses_nothing(fail: Fail) -> None:
    before = Path("metrics/prepare.json").read_bytes()
    Path("metrics/prepare.json.partial").symlink_to("/dev/full")
    assert "the disk is full" in fail("prepare", stages.prepare.main)
    assert Path("metrics/prepare.json").read_bytes() == before


def test_a_file_size_limit_is_told(project: Path, fail: Fail) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        said = fail("prepare", stages.prepare.main)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot write" in said
    assert (project / "data/prepare/images.parquet").stat().st_size > 4096


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_refuses_is_told(fail: Fail, number: int) -> None:
    def main(_: StageRun) -> None:
        raise OSError(number, "refused", "data/x")

    assert "cannot write data/x" in fail("prepare", main)


@pytest.mark.usefixtures("project")
def test_an_unforeseen_error_keeps_its_traceback() -> None:
    def main(_: StageRun) -> None:
        raise OSError(errno.EIO, "broken disk")

    with pytest.raises(OSError, match="broken disk"):
        execute("prepare", main)


@pytest.mark.usefixtures("project")
def test_ctrl_c_ends_with_130_and_clean_words(fail: Fail) -> None:
    def main(_: StageRun) -> None:
        raise KeyboardInterrupt

    assert "interrupted" in fail("prepare", main, status=130)


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_ctrl_c_while_a_stage_imports_has_clean_words_too(seconds: float) -> None:
    stage = subprocess.Popen(
        [sys.executable, "-m", "stages.evaluate"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )
    time.sleep(seconds)
    stage.send_signal(signal.SIGINT)
    assert stage.communicate(timeout=60)[1] == "interrupted before the stage began; run it again\n"
    assert stage.returncode == -signal.SIGINT  # 130 in a shell


def test_sources_edited_while_a_stage_runs_are_noticed_before_it_writes(project: Path, fail: Fail) -> None:
    before = (project / "data/prepare/roles.parquet").read_bytes()

    def main(run: StageRun) -> None:
        with (project / "stages/sources/splits.py").open("a") as module:
            module.write("\n# an edit\n")
        stages.prepare.main(run)

    assert "source files changed" in fail("prepare", main)
    assert (project / "data/prepare/roles.parquet").read_bytes() == before


@pytest.mark.usefixtures("project")
def test_each_stage_leaves_its_seconds_where_no_artifact_is() -> None:
    execute("prepare", stages.prepare.main)
    record = json.loads(Path(".work/timing/prepare.json").read_text())
    assert record["seconds"] > 0
    assert record["cpu_seconds"] > 0


@pytest.mark.usefixtures("project")
def test_a_stage_that_imported_torch_before_runs_one_thread_all_the_same() -> None:
    seen = []
    torch.set_num_threads(2)
    execute("prepare", lambda _: seen.append(torch.get_num_threads()))
    assert seen == [1]


@pytest.mark.usefixtures("project")
def test_the_same_parameters_give_the_same_bytes() -> None:
    def artifacts() -> dict[str, bytes]:
        folders = ("data/prepare", "data/generate", "data/filter_memorized", "metrics")
        paths = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in paths}

    runs = []
    for _ in range(2):
        execute("prepare", stages.prepare.main)
        execute("generate", stages.generate.main, item="gan")
        execute("filter_memorized", stages.filter_memorized.main, item="gan")
        runs.append(artifacts())
    assert runs[0] == runs[1]


def test_the_error_of_a_worker_arrives_as_words(project: Path, fail: Fail) -> None:
    def refuse(_: int) -> None:  # not of this module, which would have the workers import torch
        raise UserError("worker says no")

    edit_params(project, {"parallel.jobs": 2})
    assert "worker says no" in fail("prepare", lambda run: run.fan_out(refuse, [1, 2], "job", show_bar=False))
