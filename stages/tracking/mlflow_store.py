"""The MLflow store as tracking needs it: opened safely, searched by fingerprint, given only what it still lacks.

MLflow is imported when a store is opened, since that takes seconds.
"""

import fcntl
import json
import logging
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import psutil

from stages.tracking.run_contents import Content, DataFacts

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run
    from mlflow.tracking import MlflowClient

FINGERPRINT = "understudy.fingerprint"
COMPLETE = "understudy.complete"
PROCESS = "understudy.process"
_PARENT = "mlflow.parentRunId"
_MANY = 50_000  # as many runs as MLflow lists in one answer
_SECRETS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
_DAYS_UNSEEN = 7  # after these, a run that another machine began counts as left behind
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # pages for training, not for chatbots

# Quiet, and quick to give up: a stage must not hang on a server that is down. What the user has set stays.
_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # it may ask for hours
}


def project_root() -> Path:
    """The project's root; in the temporary copy of a DVC experiment the root of the project itself."""
    here = Path.cwd()
    outer, copies, _ = str(here).rpartition("/.dvc/tmp/exps/")
    return Path(outer) if copies else here


def tracking_uri() -> str:
    """Where runs are logged: `MLFLOW_TRACKING_URI`, or the SQLite file at the project's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_root() / 'mlflow.db'}"


def without_secrets(text: str) -> str:
    """The text without what the environment keeps secret, and without user names and passwords in addresses."""
    address = tracking_uri().partition("://")[2]
    login = address.rpartition("@")[0]  # by the last @, and with any /: a password need not be quoted as it should
    password = login.partition(":")[2]
    for secret in (login, password, unquote(password), *map(os.environ.get, _SECRETS)):
        if secret:
            text = text.replace(secret, "***")
    return re.sub(r"(?<=://)[^/\s]+@", "", text)


@dataclass(frozen=True)
class Store:
    """One experiment of an MLflow store."""

    client: "MlflowClient"
    experiment_id: str

    @classmethod
    def open(cls, experiment: str) -> "Store":
        """The experiment in the store at `tracking_uri()`; both are created if need be.

        Raises whatever SQLite, the network or MLflow raise.
        """
        uri = tracking_uri()
        local = not re.match(r"https?://|databricks", uri)
        _set_up_environment()
        with _one_at_a_time() if local else nullcontext():
            if uri.startswith("sqlite:///"):
                _prepare_sqlite(Path(uri.removeprefix("sqlite:///")))
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri=uri)
            # A server knows itself where artifacts go; a plain database would put them into the current folder.
            artifacts = (project_root() / "mlartifacts").as_uri() if local else None
            found = client.get_experiment_by_name(experiment)
            return cls(
                client,
                found.experiment_id if found else client.create_experiment(experiment, artifacts, _EXPERIMENT_TAGS),
            )

    def tree(self, name: str, fingerprint: str, tags: Mapping[str, str]) -> "RunTree":
        """The complete tree of this fingerprint, else one that was left incomplete, else a new one.

        Incomplete trees that another living process works at are left alone.
        """
        of_fingerprint = f"tags.`{FINGERPRINT}` = '{fingerprint}'"
        runs = self.client.search_runs([self.experiment_id], of_fingerprint, max_results=_MANY)
        parents = [run for run in runs if _PARENT not in run.data.tags and run.info.run_name == name]
        parents = [run for run in parents if is_complete(run) or not _has_another_owner(run)]
        everywhere = {**tags, FINGERPRINT: fingerprint, PROCESS: _this_process()}
        parent = max(parents, key=is_complete, default=None) or self._create(name, everywhere)
        families: dict[str, list[Run]] = {}
        for run in runs:
            families.setdefault(run.data.tags.get(_PARENT, ""), []).append(run)
        barren = [run for run in parents if not is_complete(run) and run.info.run_id not in families]
        self._delete([run for run in barren if run is not parent])
        return RunTree(self, everywhere, parent, self._by_name(families.get(parent.info.run_id, [])))

    def _by_name(self, runs: "Iterable[Run]") -> "dict[str, Run]":
        """One run of each name, a finished one if there is one; the others are deleted."""
        kept: dict[str, Run] = {}
        for run in sorted(runs, key=lambda run: run.info.status != "FINISHED"):
            kept.setdefault(run.info.run_name, run)
        self._delete([run for run in runs if run is not kept[run.info.run_name]])
        return kept

    def _delete(self, twins: "Iterable[Run]") -> None:
        """Deletes runs that are there twice: where a server's answer was lost, MLflow asked again and got another."""
        for run in twins:
            self.client.delete_run(run.info.run_id)

    def end_orphans(self) -> None:
        """Ends the runs, as killed, whose process is gone."""
        running = "attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment_id], running, max_results=_MANY):
            if PROCESS in run.data.tags and not _is_alive(run):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def log(self, run_id: str, content: Content) -> None:
        """Logs all of the content in one call."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        self.client.log_batch(
            run_id,
            [Metric(key, value, now, step) for key, points in content.curves.items() for step, value in points],
            [Param(key, str(value)) for key, value in content.params.items()],
            [RunTag(key, value) for key, value in content.tags.items()],
        )

    def log_missing(self, run: "Run", content: Content) -> None:
        """Logs the content without the points whose step the run had when it was looked up."""
        steps = {key: self.steps(run, key) for key in content.curves}
        curves = {
            key: [(step, value) for step, value in points if step not in steps[key]]
            for key, points in content.curves.items()
        }
        self.log(run.info.run_id, Content(content.params, curves, content.tags))

    def steps(self, run: "Run", metric: str) -> set[int]:
        """The steps at which the run has the metric; of a run that was just created none, without asking."""
        if metric not in run.data.metrics:
            return set()
        return {point.step for point in self.client.get_metric_history(run.info.run_id, metric)}

    def add_files(self, run: "Run", files: Iterable[Path], folder: str | None = None) -> None:
        """Copies files into the run's artifacts; one that is there already is replaced."""
        for path in files:
            self.client.log_artifact(run.info.run_id, str(path), folder)

    def _create(self, name: str, tags: Mapping[str, str]) -> "Run":
        return self.client.create_run(self.experiment_id, tags=dict(tags), run_name=name)


@dataclass(frozen=True)
class RunTree:
    """A parent run and its children by name; `tags` are given to every run that is created here."""

    store: Store
    tags: Mapping[str, str]
    parent: "Run"
    children: dict[str, "Run"]

    @property
    def run_id(self) -> str:
        return str(self.parent.info.run_id)

    @property
    def complete(self) -> bool:
        return is_complete(self.parent)

    def child(self, name: str) -> "Run":
        """The child, created if need be."""
        if name not in self.children:
            self.children[name] = self.store._create(name, {**self.tags, _PARENT: self.run_id})
        return self.children[name]

    def resume(self) -> None:
        """Marks runs that an interrupted process left as running again, in this one."""
        for run in (self.parent, *self.children.values()):
            if run.info.status in ("FAILED", "KILLED") or run.data.tags.get(PROCESS) != self.tags[PROCESS]:
                self.store.client.update_run(run.info.run_id, status="RUNNING")
                self.store.client.set_tag(run.info.run_id, PROCESS, self.tags[PROCESS])

    def fill_child(self, name: str, content: Content) -> None:
        """Completes and finishes a child, unless it is finished."""
        run = self.child(name)
        if run.info.status != "FINISHED":
            self.store.log_missing(run, content)
            self.store.client.set_terminated(run.info.run_id, "FINISHED")

    def finish(self, content: Content, datasets: Sequence[DataFacts]) -> None:
        """Completes and finishes the parent; the tag that makes the tree complete comes last."""
        self.store.log_missing(self.parent, content)
        self.store.client.log_inputs(self.run_id, [_dataset_input(facts) for facts in datasets])
        self.store.client.set_terminated(self.run_id, "FINISHED")
        self.store.client.set_tag(self.run_id, COMPLETE, "true")

    def abandon(self, status: str) -> None:
        """Ends every run that is not finished as FAILED or KILLED."""
        for run in (*self.children.values(), self.parent):
            if run.info.status != "FINISHED":
                self.store.client.set_terminated(run.info.run_id, status)


def is_complete(run: "Run") -> bool:
    """Whether nothing is missing in the tree that this parent heads."""
    return bool(run.data.tags.get(COMPLETE) == "true")


def _dataset_input(facts: DataFacts) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source, profile = json.dumps({"uri": facts.path}), json.dumps(dict(facts.profile))
    dataset = Dataset(facts.name, facts.digest, "local", source, profile=profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", facts.context)])


def _set_up_environment() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Waits for other processes that open the store: several that create one SQLite file at once damage it."""
    lock = project_root() / ".work" / "mlflow.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _prepare_sqlite(path: Path) -> None:
    """Makes sure that the file can be written, at once, where MLflow would retry for minutes, and makes commits cheap.

    With a write-ahead log a commit need not wait for the disk, and the file stays sound when the power fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=10)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _commit_without_waiting):
        event.listen(Engine, "connect", _commit_without_waiting)


def _commit_without_waiting(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = NORMAL")


def _this_process() -> str:
    return _process(psutil.Process())


def _process(process: psutil.Process) -> str:
    """`host/pid/start`, the start in seconds since the machine's: a number alone is soon another process's."""
    return f"{socket.gethostname()}/{process.pid}/{process.create_time() - psutil.boot_time():.2f}"


def _has_another_owner(run: "Run") -> bool:
    return run.info.status == "RUNNING" and run.data.tags.get(PROCESS) != _this_process() and _is_alive(run)


def _is_alive(run: "Run") -> bool:
    """Whether the process that began the run goes on; of one on another machine, whether it may."""
    owner = run.data.tags.get(PROCESS, "")
    host, _, number = owner.partition("/")
    if host != socket.gethostname():
        return time.time() - run.info.start_time / 1000 < _DAYS_UNSEEN * 86_400
    try:
        process = psutil.Process(int(number.partition("/")[0]))
        return _process(process) == owner and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, ValueError):
        return False
