"""Shows runs in MLflow. Files are the record and MLflow is a view of them, so nothing here can fail or hold up a stage.

A stage's run is written once, at its end. A training also shows its curves while it goes on.
"""

import os
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from stages.comparison.params import EvaluateParams
from stages.plumbing import workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.params import Params, as_yaml
from stages.plumbing.stage import timings
from stages.tracking import run_contents
from stages.tracking.mlflow_store import Store, Tree, tracking_uri, without_secrets
from stages.tracking.registered_model import Candidate, model_name, register
from stages.tracking.run_contents import Content, Json

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

TRAINING, COMPARISON = "train_gan", "comparison"
FLUSH_SECONDS = 5.0
RECORD_SECONDS = 300.0  # after so long a stage no longer waits for a slow server
CLOSE_SECONDS = 30.0  # the same for what is left to show when training ends
_GENERATORS = workdir.DATA / "train_gan"
_ARMS = workdir.DATA / "train_downstream"
_COMPARED = workdir.DATA / "evaluate"
_NOTE = (
    "A generator with a nested run for each replicate, whose means are here. `samples/...` says by step how like the "
    "real images its samples were, the same names without it how they are in the end."
)
_THREAD = "mlflow"
_warned = Event()


@contextmanager
def live(params: Params, generator: str, fingerprint: str) -> Iterator["Live"]:
    """While the block runs, a generator's training is shown; `record_generator` completes the runs afterwards.

    When the block raises, the runs end as failed (killed for Ctrl-C), and a later training of the same fingerprint goes
    on with them.
    """
    shown = Live(params, generator, fingerprint)
    try:
        yield shown
    except BaseException as error:
        shown.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    shown.close()


class Live:
    """A generator's runs while it trains. A thread of its own speaks with MLflow, so that training never waits for it.

    A kind that trains without steps has nothing to show, and opens no store.
    """

    def __init__(self, params: Params, generator: str, fingerprint: str) -> None:
        self._params, self._name, self._fingerprint = params, f"{TRAINING}/{generator}", fingerprint
        self._records: deque[tuple[int, Mapping[str, Any]]] = deque()
        self._over, self._status = Event(), ""
        self._thread = _start(self._show)

    def log(self, replicate: int, record: Mapping[str, Any]) -> None:
        """Shows a record of `progress.say`: `step`, `measures` of any names, and `picture`, a path or None.

        Returns at once. A step that an interrupted training has shown already is not shown again.
        """
        self._records.append((replicate, record))

    def close(self, status: str = "") -> None:
        """Shows what is pending, and ends the runs if they end in another way than well; within CLOSE_SECONDS."""
        self._status = status
        self._over.set()
        _wait(self._thread, CLOSE_SECONDS)

    def _show(self) -> None:
        tree, over = None, False
        with ExitStack() as stack:
            while not over:
                over = self._over.wait(FLUSH_SECONDS)
                if self._records and tree is None:
                    tree = _generator_tree(Store.open(self._params.tracking.experiment), self._name, self._fingerprint)
                    tree.resume()
                    if not tree.complete:
                        stack.enter_context(tree.watching_the_machine())
                if tree and not tree.complete:
                    self._flush(tree)
        if tree and self._status:
            tree.end(self._status)

    def _flush(self, tree: Tree) -> None:
        points, pictures = defaultdict(list), []
        while self._records:
            replicate, record = self._records.popleft()
            child = f"{self._name}/{replicate}"
            points[child].append({"step": record["step"], **record["measures"]})
            pictures += [(child, [Path(record["picture"])])] if record["picture"] else []
        for child, history in points.items():
            tree.log(child, Content(curves=run_contents.curves(history)))
        for child, files in pictures if self._params.evaluate.publish_real_images else ():
            tree.add_files(child, files, "samples")


def record_generator(params: Params, generator: str) -> None:
    """Makes sure that MLflow shows the generator's training, as its files have it.

    Warns when it cannot, in RECORD_SECONDS.
    """
    _record(lambda: _log_generator(Store.open(params.tracking.experiment), params, generator))


def record_comparison(params: Params) -> None:
    """Makes sure that MLflow shows the comparison and its generators, as the files have them.

    Warns when it cannot, in RECORD_SECONDS.
    """
    _record(lambda: list(log_missing(params)))


def log_missing(params: Params) -> Iterator[tuple[str, str | None]]:
    """Logs whatever the store lacks: (name, id) of every parent run, None where no files are there to log."""
    store, links = Store.open(params.tracking.experiment), {}
    for generator in params.train_gan.generators:
        name = f"{TRAINING}/{generator}"
        if run_id := _log_generator(store, params, generator):
            links[f"understudy.{name}"] = run_id
        yield name, run_id

    yield COMPARISON, _log_comparison(store, params.tracking.registered_model, links)


def _log_generator(store: Store, params: Params, generator: str) -> str | None:
    folder, samples = _GENERATORS / generator, params.evaluate.publish_real_images
    if (record := _record_of(folder)) is None:
        return None
    tree = _generator_tree(store, f"{TRAINING}/{generator}", record["fingerprint"])
    return tree.complete or tree.finish(_write_generator(tree, record["params"], folder, samples))


def _log_comparison(store: Store, model: str, links: Mapping[str, str]) -> str | None:
    """Id of the parent run, which is written now if the store lacks it; None without its files. links: tags that lead
    to the generators' runs."""
    path = workdir.METRICS / "evaluate.json"
    if (record := _record_of(_COMPARED)) is None or not path.is_file():
        return None
    numbers = workdir.read_json(path)
    title = run_contents.title(Dataset.open().name, numbers["answers"])
    tree = _tree(store, COMPARISON, title, record["fingerprint"])
    if not tree.complete:
        tree.log(COMPARISON, Content(tags=links))
        return tree.finish(_write_comparison(tree, record["params"], numbers, model))
    return tree.complete


def _record_of(folder: Path) -> Json | None:
    """Fingerprint and parameters of what lies in the folder; None where nothing does."""
    path = folder / "run.json"
    return workdir.read_json(path) if path.is_file() else None


def _write_generator(tree: Tree, given: Json, folder: Path, samples: bool) -> list["DatasetInput"]:
    dataset = Dataset.open()
    histories = [workdir.read_json(folder / str(replicate) / "history.json") for replicate in range(dataset.replicates)]
    content = run_contents.texts({TRAINING: given}), run_contents.training(*histories), {"mlflow.note.content": _NOTE}
    tree.log(tree.name, Content(*content))
    for replicate, history in enumerate(histories):
        child = f"{tree.name}/{replicate}"
        tree.log(child, Content({"replicate": str(replicate)}, run_contents.training(history)))
        if samples:
            tree.add_files(child, sorted((folder / str(replicate) / "samples").glob("*.png")), "samples")
    return [run_contents.data_set(dataset.name, dataset.folder, "images.parquet", run_contents.dvc_hashes())]


def _write_comparison(tree: Tree, given: Json, numbers: Json, model: str) -> list["DatasetInput"]:
    import pandas as pd

    dataset, hashes, generators = Dataset.open(), run_contents.dvc_hashes(), list(given["train_gan"]["generators"])
    scores = pd.read_csv(workdir.METRICS / "scores.csv")
    summary = workdir.read_json(workdir.METRICS / "evaluate_summary.json")
    privacy = {each: workdir.read_json(workdir.METRICS / "filter_memorized" / f"{each}.json") for each in generators}
    seconds = {stage: spent for stage, spent, _ in timings() if stage != "evaluate"}
    measure = EvaluateParams(**given["evaluate"]).measure_key

    tree.log(COMPARISON, run_contents.comparison(given, numbers, summary, measure))
    tree.log(COMPARISON, Content(curves=run_contents.details(numbers, measure, scores, privacy, seconds)))
    tree.add_files(COMPARISON, [workdir.METRICS / name for name in ("report.html", "scores.csv", "evaluate.json")])
    tree.add_files(COMPARISON, sorted((workdir.METRICS / "figures").glob("*.png")), "figures")
    tree.add_text(COMPARISON, as_yaml(dict(given)), "params.yaml")
    tree.add_text(COMPARISON, as_yaml(hashes), "dvc_hashes.yaml")
    for arm, rows in scores.groupby("arm", sort=False):
        facts, own = workdir.read_json(_ARMS / str(arm) / "arm.json"), given["train_downstream"]["arms"][arm]
        for row in rows.to_dict("records"):
            tree.log(f"{arm}/{row['replicate']}", run_contents.arm_replicate(str(arm), own, facts, row))
    arm, replicate, score = run_contents.best_classifier(scores, measure)
    classifier = {name: given["train_downstream"]["classifier"][name] for name in ("kind", "width")}
    own = given["train_downstream"]["arms"][arm]
    config = classifier | {
        "backbone": own.get("backbone"),
        "calibrated": own["settings"][0].get("head") == "calibrated",
        "image": dataset.image.model_dump(mode="json"),
        "classes": dataset.classes,
    }
    best = Candidate(arm, replicate, config, measure, score, _test_set(dataset), hashes.get(str(_ARMS / arm)))
    register(tree, model_name(model, dataset.name), best)
    folders = {f"{dataset.name}-{each}": workdir.DATA / "filter_memorized" / each for each in generators}
    made = [run_contents.data_set(name, folder, "[0-9]*.parquet", hashes) for name, folder in folders.items()]
    return [run_contents.data_set(dataset.name, dataset.folder, "images.parquet", hashes), *made]


def _test_set(dataset: Dataset) -> str:
    """What scores are comparable by: ids and true classes of the test images."""
    truth = dataset.test_labels().sort_index()
    return workdir.fingerprint(truth.index.tolist(), [dataset.classes[label] for label in truth])


def _generator_tree(store: Store, name: str, fingerprint: str) -> Tree:
    return _tree(store, name, f"{Dataset.open().name}: generator {name.removeprefix(f'{TRAINING}/')}", fingerprint)


def _tree(store: Store, name: str, title: str, fingerprint: str) -> Tree:
    """The tree of runs, each of which says where it comes from."""
    from mlflow.utils.git_utils import get_git_commit

    stage = "evaluate" if name == COMPARISON else TRAINING
    tags = {
        "mlflow.source.name": f"stages/{stage}.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": get_git_commit("."),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME"),
    }
    return store.tree(name, title, fingerprint, {key: value for key, value in tags.items() if value})


def _record(work: Callable[[], object]) -> None:
    """Does the work, in RECORD_SECONDS or behind the stage's back; never beside a thread that was left behind so."""
    if not any(thread.name == _THREAD for thread in threading.enumerate()):
        _wait(_start(work), RECORD_SECONDS)


def _start(work: Callable[[], object]) -> Thread:
    """A thread for the work, whose failure is told and harms nothing else; a process that ends does not wait for it."""

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            _warn(error)

    thread = Thread(target=attempt, name=_THREAD, daemon=True)
    thread.start()
    return thread


def _wait(thread: Thread, seconds: float) -> None:
    thread.join(seconds)
    if thread.is_alive():
        _warn(TimeoutError(f"slow: not done after {seconds:.0f} s"))


def _warn(error: Exception) -> None:
    """Tells the first failure of this process on standard error."""
    if not _warned.is_set():
        _warned.set()
        again = "`python -m stages.tracking` logs later what is missing"
        tqdm.write(f"warning: {reason(error)}; the results are safe in files, and {again}", file=sys.stderr)


def reason(error: Exception) -> str:
    """What went wrong with tracking, in one line without secrets."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    cause = without_secrets(lines[0].rpartition("(Caused by ")[2])  # of urllib3; what stands before it is an address
    short = cause if len(cause) <= 200 else cause[:200] + "..."
    return f"MLflow tracking at {without_secrets(tracking_uri())} failed ({short})"
