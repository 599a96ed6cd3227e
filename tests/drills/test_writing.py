"""What is written is whole or not there: by two processes at once, by killed ones, on full disks."""

import errno
import io
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.plumbing import workdir
from tests.conftest import ROOT

HOLD = "import time; from pathlib import Path; from stages.plumbing.workdir import alone\nwith alone(Path('data/x')):\n"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be larger than 4 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_unit_that_another_is_building_is_waited_for_and_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not capsys: its readouterr loses what another thread writes between its look and its clearing.
    begun, go_on, builders, said = Event(), Event(), [], io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)

    def build(folder: Path) -> None:
        builders.append(folder)
        begun.set()
        assert go_on.wait(10)
        (folder / "result").write_text("whole")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(workdir.finished, "stage", "key", build)
        assert begun.wait(10)
        second = pool.submit(workdir.finished, "stage", "key", build)
        while "waiting for another process" not in said.getvalue():
            assert not second.done()
        go_on.set()
    assert first.result() == second.result() == Path(".work/stage/key")
    assert len(builders) == 1
    assert [path.name for path in Path(".work/stage").iterdir()] == ["key"]
    assert not list(Path(".work/locks").iterdir())


def test_a_unit_that_is_being_built_is_not_forgotten() -> None:
    def build(folder: Path) -> None:
        workdir.forget_others("stage", [])
        (folder / "result").touch()

    assert [path.name for path in workdir.finished("stage", "key", build).iterdir()] == ["result"]
    workdir.forget_others("stage", [])
    assert not list(Path(".work/stage").iterdir())


def test_a_killed_process_holds_no_lock() -> None:
    hold = [sys.executable, "-c", f"{HOLD}    print('in it', flush=True); time.sleep(60)"]
    with subprocess.Popen(hold, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == "in it\n"
        with pytest.raises(BlockingIOError), workdir.alone(Path("data/x"), wait=False):
            pass
        process.kill()
    with workdir.alone(Path("data/x"), wait=False):
        pass


def test_a_folder_is_replaced_though_workers_of_a_killed_process_still_write_for_it() -> None:
    late = Path("data/x.0123abcd.partial")
    late.mkdir(parents=True)
    with workdir.replacing(Path("data/x")) as folder:
        assert folder != late
        workdir.write_bytes(late / "late", b"from a worker that outlived its stage")
        (folder / "result").touch()
    assert [str(path) for path in sorted(Path("data").rglob("*"))] == ["data/x", "data/x/result"]


def test_what_fails_leaves_nothing_half_written_beside_it() -> None:
    with pytest.raises(ValueError, match="JSON"), workdir.replacing(Path("data/x")) as folder:
        workdir.write_json(folder / "result", float("nan"))
    Path("data/y.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        workdir.write_json(Path("data/y.json"), 1)
    assert not list(Path("data").iterdir())


@pytest.mark.parametrize(
    "write",
    [
        lambda path: np.save(path, np.zeros(10_000)),
        lambda path: save_file({"weights": torch.zeros(10_000)}, path),
        lambda path: path.write_bytes(bytes(10_000)),
    ],
)
@pytest.mark.usefixtures("small_files")
def test_a_file_that_finds_no_room_is_known_by_its_number_whatever_library_writes_it(
    write: Callable[[Path], object],
) -> None:
    with pytest.raises(OSError, match=r".") as caught, workdir.replacing(Path("data/x")) as folder:
        write(folder / "file.npy")
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
