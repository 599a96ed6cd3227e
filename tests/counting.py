"""A stage in a process of its own, whose jobs count up in files for half a minute: so it can be seen when they end."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stages.plumbing.params import ParallelParams

_SCRIPT = """import sys
from stages.plumbing.parallel import fan_out
from stages.plumbing.params import ParallelParams

def count_up(name):
    import time
    for number in range(600):
        with open(name, "w") as file:
            file.write(str(number))
        time.sleep(0.05)

params = ParallelParams.model_validate_json(sys.argv[1])
try:
    fan_out(count_up, sys.argv[2:], params, "counting", "job", show_bar=False)
except KeyboardInterrupt:
    sys.exit(3)"""


def counting(params: ParallelParams, *files: Path) -> list[str]:
    """The command, with a job for each file. It ends with status 3 on Ctrl-C."""
    return [sys.executable, "-c", _SCRIPT, params.model_dump_json(), *map(str, files)]


def wait_until_still(files: Sequence[Path], seconds: float = 5) -> None:
    """Returns when nobody has counted for half a second, ten times as long as a count takes; within so many seconds."""
    end, before = time.monotonic() + seconds, list[str]()
    while (now := [file.read_text() for file in files]) != before:
        assert time.monotonic() < end, "the jobs go on"
        before = now
        time.sleep(0.5)
