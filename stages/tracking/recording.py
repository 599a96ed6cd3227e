"""Shows runs in MLflow. Files are the record and MLflow is a view of them, so nothing here can fail or hold up a stage.

`python -m stages.tracking.recording` logs whatever the store lacks; a second time changes nothing.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import pandas as pd
from tqdm import tqdm

from stages.plumbing import params, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.params import Params
from stages.plumbing.stage import timings
from stages.tracking import run_contents
from stages.tracking.mlflow_store import RunTree, Store, tracking_uri, without_secrets
from stages.tracking.registered_model import Classifier, register
from stages.tracking.run_contents import Content

GAN, COMPARISON = "train_gan", "comparison"
FLUSH_SECONDS = 5.0
RECORD_SECONDS = 300.0  # after so long a stage no longer waits for a slow server
CLOSE_SECONDS = 30.0  # the same for what is left to show when training ends
_SAMPLES_LOGGED = "understudy.samples"
_GAN_DATA = workdir.DATA / "train_gan"
_ARMS_DATA = workdir.DATA / "train_downstream"
_EVALUATE_DATA = workdir.DATA / "evaluate"
_warned = Event()
_given_up = Event()  # a thread may still speak with a slow server: a second one beside it would log things twice


@contextmanager
def live_gan_run(everything: Params, fingerprint: str) -> Iterator["LiveGan"]:
    """While the block runs, the GANs' training is shown as it goes on; `record_gan` completes the runs afterwards.

    When the block raises, the runs end as failed (killed for Ctrl-C), and a later run of the same fingerprint goes on
    with them.
    """
    live = LiveGan(everything, fingerprint)
    try:
        yield live
    except BaseException as error:
        live.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    live.close()


class LiveGan:
    """The GAN's runs while it trains. A thread of its own speaks with MLflow, so that training never waits for it."""

    def __init__(self, everything: Params, fingerprint: str) -> None:
        self._params = everything
        self._fingerprint = fingerprint
        self._tree: RunTree | None = None
        self._works = True
        self._pending: dict[str, list[dict[str, float]]] = {}
        self._there: dict[str, set[int]] = {}
        self._flushed = time.monotonic()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._queue.put(self._open)
        self._thread = Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def log(self, replicate: int, record: Mapping[str, Any]) -> None:
        """Shows a record of `progress.say`: `step`, `measures` and, maybe, `picture`, the path of a grid of samples.

        Returns at once. Steps that an interrupted run has shown already are not shown again.
        """
        point = {"step": record["step"], **record["measures"]}
        self._queue.put(partial(self._write, f"{GAN}/{replicate}", point, record["picture"]))

    def close(self, status: str | None = None) -> None:
        """Writes out what is pending, and ends the runs if they end in another way than well.

        Gives MLflow up for this process when that takes more than CLOSE_SECONDS.
        """
        self._queue.put(self._flush)
        if status:
            self._queue.put(lambda: self._tree.abandon(status) if self._tree else None)
        self._queue.put(None)
        _wait(self._thread, CLOSE_SECONDS)

    def _run(self) -> None:
        while work := self._queue.get():
            self._works = self._works and _attempt(work)

    def _open(self) -> None:
        store = Store.open(self._params.tracking.experiment)
        store.end_orphans()
        tree = store.tree(GAN, self._fingerprint, _common_tags(GAN))
        if not tree.complete:
            tree.resume()
            self._tree = tree

    def _write(self, child: str, point: dict[str, float], picture: str | None) -> None:
        if self._tree is None:
            return
        self._pending.setdefault(child, []).append(point)
        if picture and _may_show_samples(self._params):
            self._tree.store.add_files(self._tree.child(child), [Path(picture)], "samples")
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._tree is None:
            return
        for name, points in self._pending.items():
            store, run = self._tree.store, self._tree.child(name)
            if name not in self._there:
                metric = next(key for key in points[0] if key != "step")
                self._there[name] = store.steps(run, metric)
            fresh = [point for point in points if point["step"] not in self._there[name]]
            store.log(run.info.run_id, Content(curves=run_contents.curves(fresh)))
        self._pending.clear()
        self._flushed = time.monotonic()


def record_gan(everything: Params) -> None:
    """Makes sure that MLflow shows the GANs, as data/train_gan has them. Warns when it cannot, in RECORD_SECONDS."""
    _record(lambda: _complete_gan(Store.open(everything.tracking.experiment), everything))


def record_comparison(everything: Params) -> None:
    """Makes sure that MLflow shows the comparison and its GANs, as the files have them.

    Warns when it cannot, in RECORD_SECONDS.
    """

    def record() -> None:
        store = Store.open(everything.tracking.experiment)
        _complete_comparison(store, everything, _complete_gan(store, everything))

    _record(record)


def _complete_gan(store: Store, everything: Params) -> str | None:
    """The GANs' parent run, completed from the files; None where no GAN was trained."""
    if not (_GAN_DATA / "run.json").is_file():
        return None
    record = workdir.read_json(_GAN_DATA / "run.json")
    store.end_orphans()
    tree = store.tree(GAN, record["fingerprint"], _common_tags(GAN))
    dataset = Dataset.open()
    replicates = sorted(int(path.parent.name) for path in _GAN_DATA.glob("*/gan.json"))
    if not tree.complete:
        gans = [workdir.read_json(_GAN_DATA / str(replicate) / "gan.json") for replicate in replicates]
        for replicate, gan in zip(replicates, gans, strict=True):
            tree.fill_child(f"{GAN}/{replicate}", run_contents.gan_replicate(replicate, gan))
        data = run_contents.real_data(dataset, run_contents.dvc_hashes(Path("dvc.lock")))
        tree.finish(run_contents.gan_parent(record["params"], gans), [data])
    if _may_show_samples(everything) and _SAMPLES_LOGGED not in tree.parent.data.tags:
        for replicate in replicates:
            samples = sorted((_GAN_DATA / str(replicate) / "samples").glob("*.png"))
            store.add_files(tree.child(f"{GAN}/{replicate}"), samples, "samples")
        store.client.set_tag(tree.run_id, _SAMPLES_LOGGED, "true")
    return tree.run_id


def _complete_comparison(store: Store, everything: Params, gan_run: str | None) -> str:
    """The comparison's parent run, completed from the files."""
    record = workdir.read_json(_EVALUATE_DATA / "run.json")
    store.end_orphans()
    tree = store.tree(COMPARISON, record["fingerprint"], _common_tags(COMPARISON))
    if tree.complete:
        return tree.run_id
    dataset, hashes = Dataset.open(), run_contents.dvc_hashes(Path("dvc.lock"))
    scores = pd.read_csv(workdir.METRICS / "scores.csv")
    numbers = workdir.read_json(workdir.METRICS / "evaluate.json")
    privacy = workdir.read_json(workdir.METRICS / "filter_memorized.json")
    seconds = {stage: spent for stage, spent, _ in timings() if stage != "evaluate"}

    for arm, rows in scores.groupby("arm", sort=False):
        facts = workdir.read_json(_ARMS_DATA / str(arm) / "arm.json")
        own = record["params"]["train_downstream"]["arms"][arm]
        for row in rows.to_dict("records"):
            content = run_contents.comparison_child(str(arm), own, facts, row)
            tree.fill_child(f"{arm}/{row['replicate']}", content)

    _register_best(tree, record, everything.tracking.registered_model, scores, dataset, hashes)
    files = [workdir.METRICS / name for name in ("report.html", "scores.csv", "evaluate.json")]
    store.add_files(tree.parent, files)
    store.add_files(tree.parent, sorted((workdir.METRICS / "figures").glob("*.png")), "figures")
    content = run_contents.comparison_parent(record["params"], numbers, scores, privacy, seconds)
    links = {f"dvc.{path}": md5 for path, md5 in hashes.items()} | ({"understudy.gan_run": gan_run} if gan_run else {})
    data = [run_contents.real_data(dataset, hashes), run_contents.synthetic_data(dataset, hashes)]
    tree.finish(Content(content.params, content.curves, {**content.tags, **links}), data)
    return tree.run_id


def _register_best(
    tree: RunTree, record: dict[str, Any], model: str, scores: pd.DataFrame, dataset: Dataset, hashes: dict[str, str]
) -> None:
    """Registers the classifier that `validation`, not `test`, says is best."""
    best = run_contents.best_classifier(scores)
    if best is None:
        return
    arm, replicate = best
    folder = _ARMS_DATA / arm
    network = record["params"]["train_downstream"]["classifier"]
    weights = folder / f"{replicate}.safetensors"
    classifier = Classifier(weights, dataset.image, network["kind"], network["width"], dataset.classes)
    tags = {"arm": arm, "replicate": str(replicate)}
    if str(folder) in hashes:
        tags[f"dvc.{folder}"] = hashes[str(folder)]
    register(tree, f"{arm}/{replicate}", model, classifier, tags)


def _common_tags(name: str) -> dict[str, str]:
    """What every run of this process says about where it comes from."""
    stage = "train_gan" if name == GAN else "evaluate"
    tags = {"mlflow.source.name": f"stages/{stage}.py", "mlflow.source.type": "LOCAL"}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = experiment
    if commit := _git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def _git_commit() -> str | None:
    try:
        command = ["git", "rev-parse", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _may_show_samples(everything: Params) -> bool:
    """Sample grids are unfiltered, so they may show copies of real images."""
    return everything.evaluate.publish_real_images


def _record(work: Callable[[], object]) -> None:
    """Attempts the work, and waits no longer than RECORD_SECONDS for it."""
    thread = Thread(target=_attempt, args=[work], name="mlflow", daemon=True)
    thread.start()
    _wait(thread, RECORD_SECONDS)


def _wait(thread: Thread, seconds: float) -> None:
    """Waits for a thread that speaks with MLflow; when time is up, leaves it behind and gives MLflow up."""
    thread.join(seconds)
    if thread.is_alive():
        _given_up.set()
        _warn(TimeoutError(f"slow: not done after {seconds:.0f} s"))


def _attempt(work: Callable[[], object]) -> bool:
    """Whether it went well. The first failure of this process is told on standard error, later ones are not."""
    if _given_up.is_set():
        return False
    try:
        work()
    except Exception as error:
        _warn(error)
        return False
    return True


def _warn(error: Exception) -> None:
    if not _warned.is_set():
        _warned.set()
        again = "`python -m stages.tracking.recording` logs later what is missing"
        tqdm.write(f"warning: {_reason(error)}; the results are safe in files, and {again}", file=sys.stderr)


def _reason(error: Exception) -> str:
    """What went wrong with tracking, in one line without secrets."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    cause = lines[0].rpartition("(Caused by ")[2]  # of urllib3; what stands before it is an address
    reason = without_secrets(cause)
    short = reason if len(reason) <= 200 else reason[:200] + "..."
    return f"MLflow tracking at {without_secrets(tracking_uri())} failed ({short})"


def main() -> None:
    """Logs whatever the store lacks of the runs whose files lie here; exit status 1 when that is impossible."""
    try:
        everything = params.load()
        store = Store.open(everything.tracking.experiment)
        gan_run = _complete_gan(store, everything)
        print(f"{GAN}: {gan_run or 'nothing to log, data/train_gan is not there'}")  # noqa: T201
        if (_EVALUATE_DATA / "run.json").is_file():
            print(f"{COMPARISON}: {_complete_comparison(store, everything, gan_run)}")  # noqa: T201
        else:
            print(f"{COMPARISON}: nothing to log, data/evaluate is not there")  # noqa: T201
    except UserError as error:
        sys.exit(f"tracking: {error}")
    except KeyboardInterrupt:
        print("tracking: interrupted; run it again to log what is missing", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except Exception as error:
        sys.exit(f"tracking: {_reason(error)}")


if __name__ == "__main__":
    main()
