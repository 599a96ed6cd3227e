"""Tracking on a real `mlflow server`, through a proxy that plays a bad network: down, slow, failing, forgetful."""

import http.client
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any

import pytest

from stages.plumbing.params import Params
from stages.tracking import __main__ as command
from stages.tracking import recording
from stages.tracking.mlflow_store import without_secrets
from stages.tracking.ui import wait_for
from tests.conftest import KEPT_ARMS, TINY, copy_project, edit_params, read_params
from tests.tracking import toy

TRAININGS = {f"train_gan/{generator}" for generator in toy.GENERATORS}
RUNS = {"comparison"} | TRAININGS | {f"{p}/{r}" for p in {*TRAININGS, *toy.ARMS} for r in range(toy.REPLICATES)}
SECRET = "open-sesame-4711"  # noqa: S105
AGAIN = "python -m stages.tracking"
Fault = Callable[[str], str | None]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Server:
    """A running `mlflow server`; all it writes lies in `folder`."""

    folder: Path
    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    (folder / "mlflow.db").write_bytes(toy.migrated_store())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield Server(folder, port)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the command and the server it started
            process.wait()


@dataclass
class Proxy:
    """Stands before the server. `fault` says of each request, by its path, what goes wrong: `down` (no answer), `lost`
    (the server did it, and the answer was lost), `500`, `busy` (503, come back in an hour), or nothing."""

    target: int
    fault: Fault = lambda _: None
    delay: float = 0.0
    authorization: str | None = None
    port: int = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Handler(BaseHTTPRequestHandler):
    """One request to the proxy that `proxy` describes."""

    proxy: Proxy

    def answer(self) -> None:
        body = self.body()
        time.sleep(self.proxy.delay)
        fault = self.proxy.fault(self.path)
        if self.proxy.authorization not in (None, self.headers.get("Authorization")):
            self.say(401, b"who are you?")
        elif fault == "500":
            self.say(500, b"something <b>broke</b>\non the server")
        elif fault == "busy":
            self.say(503, b"", ("Retry-After", "3600"))
        elif fault == "down":
            self.connection.shutdown(SHUT_RDWR)
        else:
            status, kind, content = self.pass_on(body)
            if fault == "lost":
                self.connection.shutdown(SHUT_RDWR)
            else:
                self.say(status, content, ("Content-Type", kind))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def pass_on(self, body: bytes) -> tuple[int, str, bytes]:
        headers = {name: value for name, value in self.headers.items() if name != "Transfer-Encoding"}
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=60)
        with closing(upstream):
            upstream.request(self.command, self.path, body, headers)
            given = upstream.getresponse()
            return given.status, given.headers.get("Content-Type", ""), given.read()

    def say(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silent."""


class Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that has given up is no news here."""


@contextmanager
def proxy_before(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    with Listener(("127.0.0.1", 0), type("ThisHandler", (Handler,), {"proxy": proxy})) as listener:
        proxy.port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield proxy
        listener.shutdown()


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that works as yet, named by MLFLOW_TRACKING_URI."""
    with proxy_before(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        yield proxy


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pipeline left, as far as tracking reads it."""
    folder = tmp_path_factory.mktemp("pipeline") / "my project"
    toy.write_pipeline(folder)
    return folder


@pytest.fixture
def project(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """These files as the current folder, in a process that has not spoken with MLflow yet."""
    monkeypatch.chdir(files)
    for name in ("DVC_EXP_NAME", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    forget(files)
    yield files
    forget(files)


def forget(files: Path) -> None:
    """As in a fresh clone and a process of its own: nothing was begun, nothing warned of."""
    shutil.rmtree(files / ".work/tracking", ignore_errors=True)
    recording._warned.clear()


@pytest.fixture
def everything(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters with an experiment of the test's own."""
    made = toy.settings(publish=True, name=request.node.name)
    monkeypatch.setattr(command.params, "load", lambda: made)
    return made


def run_stages(everything: Params) -> float:
    """What the stages call, in their order; how many seconds that took."""
    started = time.monotonic()
    with recording.live(everything, "gan", toy.FINGERPRINT) as live:
        live.log(0, toy.progress(100, 0))
        live.log(1, toy.progress(100, 1))
    for generator in toy.GENERATORS:
        recording.record_generator(everything, generator)
    recording.record_comparison(everything)
    return time.monotonic() - started


def shown(server: Server, everything: Params) -> dict[str, Any]:
    """All that the server shows of an experiment, without ids and times; each run must be there once.

    But for runs whose creation was answered and not heard: such a run stays behind, empty.
    """
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name(everything.tracking.experiment)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    runs = [run for run in found if run.data.metrics]
    names = {run.info.run_id: run.data.tags["understudy.run"] for run in runs}
    assert Counter(names.values()) == Counter(RUNS), "each run once"

    def files(run_id: str, folder: str | None = None) -> list[str]:
        listed = client.list_artifacts(run_id, folder)
        return [p for each in listed for p in (files(run_id, each.path) if each.is_dir else [each.path])]

    def facts(run: Any) -> dict[str, Any]:
        points = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        tags = {key: names.get(value, value) for key, value in run.data.tags.items()}
        return {
            "status": run.info.status,
            "params": run.data.params,
            "points": {key: sorted((each.step, each.value) for each in given) for key, given in points.items()},
            "tags": tags,
            "files": sorted(files(run.info.run_id)),
            "data": sorted(each.dataset.name for each in run.inputs.dataset_inputs),
        }

    name = f"{everything.tracking.registered_model}-pets"
    versions = client.search_model_versions(f"name = '{name}'")
    best = client.get_model_version_by_alias(name, "best")
    return {names[run.info.run_id]: facts(run) for run in runs} | {
        "versions": [names[version.run_id] for version in versions],
        "best": names[best.run_id],
    }


def without_speed(shown_: dict[str, Any]) -> dict[str, Any]:
    """Without what only training knows, while it goes on."""
    for replicate in range(toy.REPLICATES):
        shown_[f"train_gan/gan/{replicate}"]["points"].pop("images_per_second", None)
    return shown_


@pytest.fixture(scope="module")
def undisturbed(server: Server, files: Path) -> dict[str, Any]:
    """What the server shows when nothing goes wrong."""
    everything = toy.settings(publish=True, name="undisturbed")
    forget(files)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(files)
        patch.delenv("DVC_EXP_NAME", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        run_stages(everything)
    assert not recording._warned.is_set()
    return shown(server, everything)


def test_everything_arrives(undisturbed: dict[str, Any], files: Path) -> None:
    assert {undisturbed[name]["status"] for name in RUNS} == {"FINISHED"}
    assert (undisturbed["versions"], undisturbed["best"]) == (["gan_classic/1"], "gan_classic/1")
    report = ["dvc_hashes.yaml", "evaluate.json", "figures/comparison.png", "params.yaml", "report.html", "scores.csv"]
    assert undisturbed["comparison"]["files"] == report
    assert "model/MLmodel" in undisturbed["gan_classic/1"]["files"]
    assert undisturbed["train_gan/gan/1"]["files"] == ["samples/step_000200.png", "samples/step_000300.png"]
    assert undisturbed["train_gan/gan/0"]["points"]["images_per_second"] == [(100, 1000.0)]
    assert not (files / "mlruns").exists()
    assert not (files / "mlartifacts").exists()


def after(count: int, fault: str) -> Fault:
    """The fault at every request after so many."""
    served = iter(range(count))
    return lambda _: fault if next(served, None) is None else None


def during(part: str, fault: str) -> Fault:
    """The fault at every request whose path has the part."""
    return lambda path: fault if part in path else None


def once(part: str, fault: str) -> Fault:
    """The fault at every other request whose path has the part: asked again, the server answers."""
    asked = itertools.count()
    return lambda path: fault if part in path and next(asked) % 2 == 0 else None


# name -> the fault, and whether it costs more than a repeated request
FAULTS: dict[str, tuple[Callable[[], Fault], bool]] = {
    "down from the start": (lambda: after(0, "down"), True),
    "down during the GANs": (lambda: after(20, "down"), True),
    "down while the model is uploaded": (lambda: during("MLmodel", "down"), True),
    "busy for an hour": (lambda: after(5, "busy"), True),
}
MORE_FAULTS: dict[str, tuple[Callable[[], Fault], bool]] = {
    "the first answer on every new run is lost": (lambda: once("runs/create", "lost"), False),
    "500 in the middle": (lambda: after(40, "500"), True),
    "down after the first call": (lambda: after(1, "down"), True),
    "down during the comparison": (lambda: after(60, "down"), True),
    "down at the alias": (lambda: during("registered-models/alias", "down"), True),
    "500 from the start": (lambda: after(0, "500"), True),
    "500 at the end": (lambda: during("registered-models/alias", "500"), True),
    "all answers on new runs are lost": (lambda: during("runs/create", "lost"), True),
    "all answers on the new version are lost": (lambda: during("model-versions/create", "lost"), True),
}
CASES = [*FAULTS, *(pytest.param(name, marks=pytest.mark.drill) for name in MORE_FAULTS)]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", CASES)
def test_a_server_that_fails_is_one_warning_and_what_is_missing_comes_later_once(
    name: str,
    server: Server,
    proxy: Proxy,
    everything: Params,
    undisturbed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, fails = (FAULTS | MORE_FAULTS)[name]
    proxy.fault = make()
    assert run_stages(everything) < 30
    spoken = capsys.readouterr().err
    assert (spoken.count("warning:"), spoken.count(AGAIN), len(spoken.splitlines())) == (fails, fails, fails)
    proxy.fault = lambda _: None
    command.main()
    filled = shown(server, everything)
    assert without_speed(filled) == without_speed(undisturbed)
    command.main()
    assert without_speed(shown(server, everything)) == filled


def silence(proxy: Proxy) -> None:
    """Lets a thread that was left behind come to its end, as the end of its process would."""
    proxy.delay, proxy.fault = 0.0, after(0, "down")
    for thread in threading.enumerate():
        if thread.name == "mlflow":
            thread.join(30)
            assert not thread.is_alive()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0.8, id="the whole takes long"),
        pytest.param(2.5, id="each answer is late", marks=pytest.mark.drill),
    ],
)
def test_a_slow_server_holds_no_stage_up(
    seconds: float,
    server: Server,
    proxy: Proxy,
    everything: Params,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each answer in time but the whole too slow; and each answer too late, so that all is asked twice."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the user's, in place of ours
    monkeypatch.setattr(recording, "CLOSE_SECONDS", 2.0)
    monkeypatch.setattr(recording, "RECORD_SECONDS", 3.0)
    proxy.delay = seconds
    assert run_stages(everything) < 30, "about 80 answers at this speed take longer"
    spoken = capsys.readouterr().err
    assert (spoken.count("warning:"), len(spoken.splitlines())) == (1, 1)
    silence(proxy)
    recording._warned.clear()
    proxy.fault = lambda _: None
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    command.main()
    assert without_speed(shown(server, everything)) == without_speed(undisturbed)


def basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("way", ["token", pytest.param("password", marks=pytest.mark.drill), "address"])
def test_secrets_come_from_the_environment_and_go_nowhere(
    way: str,
    server: Server,
    proxy: Proxy,
    project: Path,
    everything: Params,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if way == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
        proxy.authorization = f"Bearer {SECRET}"
    elif way == "password":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
        proxy.authorization = basic("me", SECRET)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri.replace("://", f"://me:{SECRET}@"))
        proxy.authorization = basic("me", SECRET)
    run_stages(everything)
    assert "warning" not in capfd.readouterr().err
    assert shown(server, everything)["best"] == "gan_classic/1"
    for spoil in (lambda: setattr(proxy, "fault", after(0, "down")), lambda: setattr(proxy, "authorization", "other")):
        spoil()
        recording._warned.clear()
        run_stages(everything)
        with pytest.raises(SystemExit) as end:
            command.main()
        spoken = capfd.readouterr()
        assert "warning" in spoken.err
        assert SECRET not in f"{spoken.out}{spoken.err}{end.value}"
        proxy.fault = lambda _: None
    written = [path for folder in (server.folder, project) for path in folder.rglob("*") if path.is_file()]
    assert {"MLmodel", "mlflow.db", "log", "report.html"} <= {path.name for path in written}
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("http://me:pass@127.0.0.1:5000", "pass"),
        ("https://me:pa%2Fss@mlflow.example/x", "pa/ss"),
        ("postgresql://me:pa/ss@ward@db.example/mlflow", "pa/ss@ward"),
    ],
)
def test_no_message_shows_the_password_of_an_address(uri: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    told = without_secrets(f"cannot reach {uri}: wrong password {secret}, token {SECRET}, see http://you:{secret}@x/")
    assert not [part for part in (secret, SECRET, "ward", "me:") if part in told]
    assert uri.rpartition("@")[2] in told


@pytest.mark.drill
def test_the_pipeline_ends_well_when_the_server_goes_away_in_its_middle(
    server: Server, tmp_path: Path, run_in: Run
) -> None:
    folder = copy_project(tmp_path / "a project")
    arms = read_params(folder)["train_downstream"]["arms"]
    kept = {"train_downstream.arms": {arm: arms[arm] for arm in KEPT_ARMS}}
    named = {f"evaluate.{question}.rivals": ["classic", "pseudo_label"] for question in ("augment", "stand_in")}
    rivals = named | {"evaluate.learning_curve": []}
    edit_params(folder, TINY | kept | rivals | {"tracking.experiment": "pipeline"})
    with proxy_before(server) as proxy:
        proxy.fault = after(10, "down")
        ended = run_in("dvc repro", folder, MLFLOW_TRACKING_URI=proxy.uri)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr.count("warning: MLflow tracking") == 3, "one of each generator, one of evaluate"
    for _ in range(2):
        filled = run_in(AGAIN, folder, MLFLOW_TRACKING_URI=server.uri)
        assert filled.returncode == 0, filled.stderr
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    runs = client.search_runs([client.get_experiment_by_name("pipeline").experiment_id])
    expected = {f"{name}/{replicate}" for name in (*TRAININGS, *KEPT_ARMS) for replicate in range(2)}
    names = Counter(run.data.tags["understudy.run"] for run in runs)
    assert names == Counter({"comparison"} | TRAININGS | expected)
    assert {run.info.status for run in runs} == {"FINISHED"}
