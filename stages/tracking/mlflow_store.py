"""The MLflow store: opened safely, and filled with trees of runs, where writing the same again changes nothing.

MLflow is imported when a store is opened, since that takes seconds.
"""

import fcntl
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from stages.plumbing import workdir
from stages.tracking.run_contents import Content

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

FINGERPRINT = "understudy.fingerprint"
RUN = "understudy.run"  # what a run is, whatever it is called
COMPLETE = "understudy.complete"
_SECRETS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # pages for training, not for chatbots

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
    experiment: str

    @classmethod
    def open(cls, name: str) -> "Store":
        """The experiment in the store at `tracking_uri()`; both are created if need be.

        Raises whatever SQLite, the network or MLflow raise.
        """
        uri = tracking_uri()
        local = not re.match(r"https?://|databricks", uri)
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        for library in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
            logging.getLogger(library).setLevel(logging.ERROR)
        with _one_at_a_time() if local else nullcontext():
            if uri.startswith("sqlite:///"):
                _prepare_sqlite(Path(uri.removeprefix("sqlite:///")))
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri=uri)
            # A server knows itself where artifacts go; a plain database would put them into the current folder.
            artifacts = (project_root() / "mlartifacts").as_uri() if local else None
            found = client.get_experiment_by_name(name)
            return cls(client, found.experiment_id if found else client.create_experiment(name, artifacts, _KIND))

    def tree(self, name: str, title: str, fingerprint: str, tags: Mapping[str, str]) -> "Tree":
        """The complete tree of this name and fingerprint, or the one that was begun here, or a new one."""
        tree = Tree(self.client, self.experiment, name, title, {**tags, FINGERPRINT: fingerprint})
        ours = f"tags.`{FINGERPRINT}` = '{fingerprint}' AND tags.`{RUN}` = '{name}'"
        found = {run.info.run_id: run.data.tags for run in self.client.search_runs([self.experiment], ours)}
        tree.complete = next((run_id for run_id, own in found.items() if own.get(COMPLETE) == "true"), None)
        if not tree.complete and tree.note.is_file():
            begun = workdir.read_json(tree.note)
            if begun["runs"][name] in found:
                tree.began, tree.runs = begun["began"], begun["runs"]
        return tree


@dataclass
class Tree:
    """A parent run and its children. All have `tags`, among them the fingerprint of what they show. Readers see the
    parent as `title`, and children by their names.

    Until it is complete, the ids of its runs lie in the stage's work folder, and whoever writes this tree next goes on
    with them. All points have the time `began` (milliseconds), by which MLflow knows a point that it is given again.
    """

    client: "MlflowClient"
    experiment: str
    name: str
    title: str
    tags: Mapping[str, str]
    complete: str | None = None  # id of the parent, where nothing is missing
    began: int = field(default_factory=lambda: int(time.time() * 1000))
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> Path:
        """The file with the ids."""
        return workdir.WORK / "tracking" / f"{self.name}.json"

    def run(self, name: str) -> str:
        """Id of the parent or a child, created if need be."""
        if name not in self.runs:
            own = {RUN: name} if name == self.name else {RUN: name, "mlflow.parentRunId": self.run(self.name)}
            shown = self.title if name == self.name else name
            made = self.client.create_run(self.experiment, tags={**self.tags, **own}, run_name=shown)
            self.runs[name] = made.info.run_id
            facts = {"fingerprint": self.tags[FINGERPRINT], "began": self.began, "runs": self.runs}
            workdir.write_json(self.note, facts)
        return self.runs[name]

    def log(self, name: str, content: Content) -> None:
        """Logs the content in one call. What the run has already stays as it is."""
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            self.run(name),
            [Metric(key, value, self.began, step) for key, points in content.curves.items() for step, value in points],
            [Param(key, text) for key, text in content.params.items()],
            [RunTag(key, value) for key, value in content.tags.items()],
        )

    def add_files(self, name: str, files: Iterable[Path], folder: str | None = None) -> None:
        """Copies files into the run's artifacts; one that is there already is replaced."""
        for path in files:
            self.client.log_artifact(self.run(name), str(path), folder)

    def add_text(self, name: str, text: str, file: str) -> None:
        """Writes a file of the run's artifacts; one that is there already is replaced."""
        self.client.log_text(self.run(name), text, file)

    def resume(self) -> None:
        """Shows runs that an interrupted process left behind as running again."""
        for run_id in self.runs.values():
            self.client.update_run(run_id, "RUNNING")

    @contextmanager
    def watching_the_machine(self) -> Iterator[None]:
        """While the block runs, the parent shows the machine too: processors, memory, GPUs: MLflow's system metrics."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(self.run(self.name), resume_logging=True, tracking_uri=tracking_uri())
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def end(self, status: str) -> None:
        """Ends all runs as FINISHED, FAILED or KILLED."""
        for run_id in self.runs.values():
            self.client.set_terminated(run_id, status)

    def finish(self, data: "Sequence[DatasetInput]") -> str:
        """Completes the tree, whose parent's id this returns. The tag that says so comes last."""
        parent = self.run(self.name)
        self.client.log_inputs(parent, data)
        self.end("FINISHED")
        self.client.set_tag(parent, COMPLETE, "true")
        self.note.unlink()
        return parent


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Waits for other processes that open the store: several that create one SQLite file at once damage it."""
    lock = project_root() / ".work" / "mlflow.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _prepare_sqlite(path: Path) -> None:
    """Makes sure at once that the file can be written, where MLflow would retry for minutes; readers stop no writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=10)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
