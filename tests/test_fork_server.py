"""A command that is a copy of the server does what it would do as a process of its own."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import fresh_environment

# Workers import the script too, and would talk at the same time.
SAY = """
import os, sys
if __name__ != "__mp_main__":
    print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("WORD"), flush=True)
    print("heard", file=sys.stderr)
"""
POOL = """
from joblib.externals.loky import get_reusable_executor
if __name__ == "__main__":
    print(list(get_reusable_executor(2, context="forkserver", timeout=300).map(int, "01")))
"""
ENDS = {
    "well": "",
    "with workers": POOL,
    "with a status": "sys.exit(3)",
    "with words": "sys.exit('no')",
    "by an error": "1 / 0",
}
WAIT = """
import os, time
print(os.getpid(), flush=True)
time.sleep(60)
"""


def started(folder: Path, script: str, anew: bool, *words: str) -> "subprocess.Popen[str]":
    (folder / "stages").mkdir(exist_ok=True)
    (folder / "stages/__init__.py").touch()
    (folder / "stages/script.py").write_text(script)
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    environment = fresh_environment(anew) | {"WORD": "a word"}
    command = ["python", "-m", "stages.script", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, process_group=0, **pipes)  # noqa: S603


@pytest.mark.parametrize("end", ENDS)
def test_it_says_and_ends_alike(tmp_path: Path, end: str) -> None:
    told = []
    for anew in (False, True):
        process = started(tmp_path, SAY + ENDS[end], anew, "one", "two words")
        out, err = process.communicate(timeout=120)
        assert ("ZeroDivisionError" in err) == (end == "by an error")
        told.append((process.returncode, out, err.splitlines()[0]))
    assert told[0] == told[1]
    assert "['one', 'two words']" in told[0][1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_process_group(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, WAIT, False)
    assert process.stdout is not None
    copy = psutil.Process(int(process.stdout.readline()))
    os.killpg(process.pid, number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    for _ in range(100):
        if not copy.is_running() or copy.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError(copy)
