"""Opens MLflow's pages on this machine alone, and says where: `python -m stages.tracking.ui [PORT]`, or `make ui`."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from stages.plumbing import params, workdir
from stages.plumbing.errors import UserError
from stages.tracking import recording
from stages.tracking.mlflow_store import Store, tracking_uri, without_secrets

PORT = 5000
LOG = workdir.WORK / "mlflow-ui.log"
SECONDS_TO_START = 180.0


def main(port: int = PORT) -> None:
    """Serves until Ctrl-C. Where `MLFLOW_TRACKING_URI` names a server, says its address and ends."""
    experiment = Store.open(params.load().tracking.experiment).experiment
    uri = tracking_uri()
    if uri.startswith("http"):
        print(page(without_secrets(uri), experiment))  # noqa: T201
        return
    _refuse_taken(port)
    with LOG.open("w") as log:
        server = subprocess.Popen(  # noqa: S603
            command(uri, port), env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", server, LOG)
        print(f"Open {page(address, experiment)} (Ctrl-C ends it)", flush=True)  # noqa: T201
        server.wait()
        raise UserError(f"MLflow's server has ended; {LOG} says why")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # the command, and the server that it started
        server.wait()


def page(address: str, experiment: str) -> str:
    """The experiment's runs in MLflow's view for training; its other view is for chatbots."""
    return f"{address.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning"


def command(uri: str, port: int) -> list[str]:
    """One worker serves one reader."""
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, *where]


def environment() -> dict[str, str]:
    """MLflow's runner of jobs is for chatbots: without it there are 15 processes fewer, and the pages open sooner."""
    return {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ


def _refuse_taken(port: int) -> None:
    """MLflow itself would say it in a traceback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(f"port {port} is taken; another one: `make ui PORT={port + 1}`") from None


def wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the server answers. Raises UserError where it has ended, or does not answer in SECONDS_TO_START."""
    end = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise UserError(f"MLflow's server did not start; {log} says why")


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the server ends, too, when the terminal is closed
        signal.signal(ending, signal.default_int_handler)
    try:
        main(*map(int, sys.argv[1:]))
    except UserError as error:
        sys.exit(f"ui: {error}")
    except KeyboardInterrupt:
        print()  # noqa: T201
    except Exception as error:
        sys.exit(f"ui: {recording.reason(error)}")
