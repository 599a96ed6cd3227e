"""Limits on what a hostile input may cost: a case that breaks one fails its test, whatever it returned."""

import faulthandler
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HANGS_AFTER = 120  # seconds of wall time; the process then ends with a traceback, even out of compiled code
MIB = 2**10  # in the KiB that Linux counts in
Limits = Callable[..., object]


def _memory(entry: str) -> int:
    """MiB of this process: VmRSS now, VmHWM at most since the last reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) // MIB


@contextmanager
def _within(seconds: float, mebibytes: int) -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before, started = _memory("VmRSS"), time.process_time()
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert time.process_time() - started < seconds
    assert _memory("VmHWM") - before < mebibytes


@pytest.fixture(scope="session")
def within() -> Limits:
    """`with within(seconds, mebibytes):` fails where the block took more CPU time or memory on top of what was held."""
    return _within
