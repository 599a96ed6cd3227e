"""Full disks, read-only checkouts, edits and clocks in the middle of a run, and two of everything at once."""

import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import edit_params
from tests.drills.exercise import STAGES, copy_of, forget, results, run, said, stage_of, start, wait_for

CLOCK = """
import time
_now, _start = time.time, time.monotonic()
def backwards():
    "An hour back, every two seconds."
    return _now() - 3600 * ((time.monotonic() - _start) // 2)
time.time = backwards
"""


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def _refused_by_file_size(name: str, project: Path, folder: Path) -> None:
    stage = stage_of(project, name)
    shutil.rmtree(copy_of(project, folder) / ".work")
    before = results(folder)
    words = run(stage.command, folder, status=1, anew=True, preexec_fn=_small_files)
    assert "the file would be larger than allowed here. Run it again once that is mended" in words
    assert results(folder) == before
    run(stage.command, folder)
    assert results(folder) == results(project)


def test_a_stage_that_may_not_write_so_much_says_so_and_loses_nothing(begun: Path, tmp_path: Path) -> None:
    _refused_by_file_size("prepare", begun, tmp_path / "copy")


@pytest.mark.drill
@pytest.mark.parametrize("name", STAGES)
def test_every_stage_that_may_not_write_so_much_says_so(whole: Path, tmp_path: Path, name: str) -> None:
    _refused_by_file_size(name, whole, tmp_path / "copy")


def _mounting(command: str) -> str:
    """The command where it may mount what nobody else sees."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:  # noqa: S607
        pytest.skip("mounting is not permitted here")
    return f"unshare --mount sh -c '{command}'"


@pytest.mark.drill
@pytest.mark.parametrize("name", STAGES)
def test_a_full_disk_is_told_and_loses_nothing(whole: Path, tmp_path: Path, name: str) -> None:
    folder, disk = copy_of(whole, tmp_path / "copy"), tmp_path / "disk"
    for path in (folder / ".work", folder / ".dvc", folder / ".git"):
        shutil.rmtree(path)
    disk.mkdir()
    script = tmp_path / "fill.sh"  # one block is left, and what lies there afterwards is brought back
    script.write_text(f"""
        mount -t tmpfs -o size=64m none {disk} && cp -a . {disk} && rm -r data metrics && cd {disk} || exit 2
        cat /dev/zero > filler 2> /dev/null; truncate -s -4k filler
        {stage_of(whole, name).command}; status=$?; cp -a data metrics "{folder}"; exit $status
    """)
    words = run(_mounting(f"sh {script}"), folder, status=1, anew=True)
    assert "the disk is full. Run it again once that is mended" in words
    assert results(folder) == results(whole)


def _refused_by_read_only_checkout(name: str, project: Path, folder: Path) -> None:
    stage, mount = stage_of(project, name), 'mount --bind "$PWD" "$PWD" && mount -o remount,ro,bind "$PWD" && cd "$PWD"'
    copy_of(project, folder)
    words = run(_mounting(f"{mount} && exec {stage.command}"), folder, status=1, anew=True)
    assert "the file system is read-only" in words
    assert results(folder) == results(project)


def test_a_read_only_checkout_is_told(begun: Path, tmp_path: Path) -> None:
    _refused_by_read_only_checkout("prepare", begun, tmp_path / "copy")


@pytest.mark.drill
@pytest.mark.parametrize("name", STAGES)
def test_a_read_only_checkout_is_told_by_every_stage(whole: Path, tmp_path: Path, name: str) -> None:
    _refused_by_read_only_checkout(name, whole, tmp_path / "copy")


def test_sources_edited_while_a_stage_runs_are_refused(begun: Path, tmp_path: Path) -> None:
    stage, folder = stage_of(begun, "prepare"), copy_of(begun, tmp_path / "copy")
    process = start(stage.command, folder)
    wait_for((folder / ".work/prepare").is_dir, process)
    with (folder / "stages/sources/splits.py").open("a") as module:
        module.write("\n# an edit\n")
    assert "source files changed while it ran; nothing was written" in said(process, status=1)
    assert results(folder) == results(begun)


def _interrupted(name: str, project: Path, folder: Path) -> None:
    stage = stage_of(project, name)
    edit_params(copy_of(project, folder), {"parallel.jobs": 2})
    forget(folder, stage)
    process = start(stage.command, folder)
    wait_for(lambda: [*(folder / ".work" / name).glob("*.partial")], process)
    os.killpg(process.pid, signal.SIGINT)  # to all of them, as a terminal does
    words = said(process, status=130)
    assert words.rstrip().endswith("interrupted; finished replicates are kept, run it again to go on")
    run(stage.command, folder)
    assert results(folder) == results(project)


def test_ctrl_c_ends_a_stage_with_clean_words_and_it_goes_on_later(begun: Path, tmp_path: Path) -> None:
    _interrupted("train_downstream@classic", begun, tmp_path / "copy")


@pytest.mark.drill
@pytest.mark.parametrize("name", ["train_gan@gan", "train_downstream@gan_classic"])
def test_ctrl_c_ends_workers_that_train(whole: Path, tmp_path: Path, name: str) -> None:
    _interrupted(name, whole, tmp_path / "copy")


@pytest.mark.drill
def test_two_repros_at_once_end_in_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    stage, folder = stage_of(whole, "generate@gan"), copy_of(whole, tmp_path / "copy")
    forget(folder, stage)
    processes = [start("dvc repro", folder) for _ in range(2)]
    words = [process.communicate(timeout=300)[0] for process in processes]
    for process, told in zip(processes, words, strict=True):
        assert "Traceback" not in told
        assert process.returncode == 0 or "lock" in told, told
    assert 0 in [process.returncode for process in processes]
    assert results(folder) == results(whole)
    assert "up to date" in run("dvc status", folder)


@pytest.mark.drill
@pytest.mark.parametrize("name", STAGES)
def test_two_processes_of_a_stage_at_once_end_in_the_same_bytes(whole: Path, tmp_path: Path, name: str) -> None:
    stage, folder = stage_of(whole, name), copy_of(whole, tmp_path / "copy")
    forget(folder, stage)
    processes = [start(stage.command, folder) for _ in range(2)]
    for process in processes:
        said(process)
    assert results(folder) == results(whole)


@pytest.mark.drill
def test_a_clock_that_jumps_back_changes_no_byte(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path / "copy")
    for name in STAGES:
        stage = stage_of(whole, name)
        forget(folder, stage)
    for number, path in enumerate((folder / ".work").rglob("*")):
        moment = time.time() + (-1) ** number * 1e8
        os.utime(path, (moment, moment))
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(CLOCK)
    run("dvc repro", folder, anew=True, variables={"PYTHONPATH": str(tmp_path / "clock")})
    assert results(folder) == results(whole)
