"""`make ui`: says where MLflow's pages are once they answer, and leaves nothing running."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from stages.plumbing import params
from stages.plumbing.errors import UserError
from stages.tracking import ui
from tests.conftest import DEFAULT_PARAMS
from tests.test_mlflow_server import free_port
from tests.tracking import toy

VIEW = "runs?workflowType=machine_learning"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store without runs."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    (tmp_path / "mlflow.db").write_bytes(toy.migrated_store())
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    (tmp_path / "stages").symlink_to(toy.ROOT / "stages")
    return tmp_path


@pytest.mark.usefixtures("project")
def test_a_port_that_is_taken_is_said_so_and_no_server_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken.*PORT={port + 1}"):
            ui.main(port)


def test_a_server_that_ends_at_once_is_said_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('no such store')"])
    with pytest.raises(UserError, match=f"{ui.LOG} says why"):
        ui.main(free_port())
    assert "no such store" in (project / ui.LOG).read_text()


@pytest.mark.usefixtures("project")
def test_where_a_server_is_named_its_page_is_told_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow.example/")
    monkeypatch.setattr(ui.Store, "open", lambda _: ui.Store(None, "7"))
    ui.main()
    assert capsys.readouterr().out == f"http://mlflow.example/#/experiments/7/{VIEW}\n"


def test_there_is_one_worker_and_no_runner_of_jobs_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    command, variable = ui.command("sqlite:///x", 5000), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
    assert command[command.index("--workers") + 1] == "1"
    monkeypatch.delenv(variable, raising=False)
    assert ui.environment()[variable] == "false"
    monkeypatch.setenv(variable, "true")
    assert ui.environment()[variable] == "true"


@pytest.mark.drill
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_opens_the_experiment_that_params_name_and_leaves_nothing_running(
    project: Path, end: signal.Signals
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "stages.tracking.ui", str(port)]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        line = process.stdout.readline() if process.stdout else ""
        experiment = ui.Store.open(params.load().tracking.experiment).experiment
        assert f"http://127.0.0.1:{port}/#/experiments/{experiment}/{VIEW}" in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
            assert answer.status == 200
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(end)
        process.wait(60)
    assert len(started) > 0
    _, left = psutil.wait_procs(started, timeout=30)
    assert left == []
