"""dask clusters of real processes on this machine, started in a folder of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from distributed import Client


@contextmanager
def scheduling(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A scheduler on this machine: its address and its process. It gives a job up when that lost its worker twice."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    host, port = address.removeprefix("tcp://").split(":")
    patience = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with running(["scheduler", "--host", host, "--port", port], folder, **patience) as process:
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
                break
            assert process.poll() is None
            time.sleep(0.05)
        yield address, process


@contextmanager
def running(arguments: Sequence[str], folder: Path, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def cluster_of(workers: int, folder: Path, *options: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Worker processes that know nothing of the project, and that are started anew when they die."""
    with scheduling(folder) as (address, process):
        # two threads unless someone sees to it
        told = {"DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON__OMP_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
        arguments = ["worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--nworkers", str(workers), *options]
        with running(arguments, folder, **told):
            wait_for(workers, address)
            yield address, process


def wait_for(workers: int, address: str) -> None:
    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)
