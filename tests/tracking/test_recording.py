"""Properties of tracking: MLflow shows what the files say, once, and no trouble with it reaches a stage."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.plumbing import workdir
from stages.tracking import __main__ as command
from stages.tracking import mlflow_store, recording, run_contents
from stages.tracking.registered_model import model_name
from tests.tracking import toy
from tests.tracking.toy import ARMS, FINGERPRINT, MD5, REPLICATES, STEPS, SUMMARY, progress, settings

GAN, GAUSSIAN = "train_gan/gan", "train_gan/gaussian"
CHILDREN = {f"{parent}/{replicate}" for parent in (GAN, GAUSSIAN, *ARMS) for replicate in range(REPLICATES)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a pipeline left in a folder with a space in its name, the current one, with an empty store."""
    recording._warned.clear()
    yield begin_in(tmp_path / "my project", monkeypatch)
    recording._warned.clear()


def begin_in(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    toy.write_pipeline(folder)
    (folder / "mlflow.db").write_bytes(toy.migrated_store())
    patch.chdir(folder)
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.setenv("DVC_EXP_NAME", "slow-newt")
    return folder


class Runs:
    """Everything that the store of a project shows."""

    def __init__(self, project: Path) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
        self.experiment = self.client.get_experiment_by_name("understudy")
        runs = self.client.search_runs([self.experiment.experiment_id], max_results=1000)
        self.by_name = {run.data.tags["understudy.run"]: run for run in runs}
        self.statuses = {run.info.status for run in runs}
        assert len(self.by_name) == len(runs), "a run is there twice"

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name]

    def curve(self, name: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self[name].info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    def files(self, name: str, folder: str | None = None) -> list[str]:
        return [file.path for file in self.client.list_artifacts(self[name].info.run_id, folder)]

    def snapshot(self) -> dict[str, Any]:
        """All that must not change when nothing is missing."""
        points = {(name, key): self.curve(name, key) for name, run in self.by_name.items() for key in run.data.metrics}
        versions = [version.version for version in self.client.search_model_versions()]
        return {name: run.to_dictionary() for name, run in self.by_name.items()} | {"all": (points, versions)}


def test_generators_show_what_their_files_say(project: Path) -> None:
    recording.record_generator(settings(), "gan")
    recording.record_generator(settings(), "gaussian")
    runs = Runs(project)
    assert set(runs.by_name) == {GAN, GAUSSIAN} | {name for name in CHILDREN if name.startswith("train_gan")}
    assert runs.statuses == {"FINISHED"}
    for replicate in range(REPLICATES):
        child = f"{GAN}/{replicate}"
        assert runs[child].data.tags["mlflow.parentRunId"] == runs[GAN].info.run_id
        losses = [(step, pytest.approx(1 / step + replicate)) for step in STEPS]
        assert runs.curve(child, "discriminator_loss") == losses, "a curve gets no point of the single numbers"
        scores = [(step, pytest.approx(step / 1000 + replicate / 10)) for step in STEPS[1:]]
        assert runs.curve(child, "samples/usefulness") == scores
        assert runs.curve(child, "usefulness") == [(0, 0.75)]
    assert runs.curve(GAN, "discriminator_loss") == [(step, pytest.approx(1 / step + 0.5)) for step in STEPS]
    assert runs[GAN].data.metrics["precision"] == pytest.approx(0.55), "the mean"
    assert runs[GAN].data.params["train_gan.steps"] == "300"
    assert [runs[name].info.run_name for name in (GAN, f"{GAN}/1")] == ["pets: generator gan", f"{GAN}/1"]
    assert runs[GAN].data.tags["dvc.experiment"] == "slow-newt"
    assert [given.dataset.name for given in runs[GAN].inputs.dataset_inputs] == ["pets"]
    assert runs[f"{GAUSSIAN}/1"].data.metrics == {"precision": 0.25}, "a kind without steps has no curve"
    artifacts = runs.experiment.artifact_location.removeprefix("file://").replace("%20", " ")
    assert Path(artifacts) == project / "mlartifacts"


@pytest.mark.parametrize("publish", [True, False])
def test_unfiltered_samples_are_shown_only_where_real_images_may_be(project: Path, publish: bool) -> None:
    with recording.live(settings(publish), "gan", FINGERPRINT) as live:
        live.log(0, progress(200, 0, project / "data/train_gan/gan/0/samples/step_000200.png"))
    assert Runs(project).files(f"{GAN}/0", "samples") == (["samples/step_000200.png"] if publish else [])
    recording.record_generator(settings(publish), "gan")
    expected = [f"samples/step_{step:06d}.png" for step in STEPS[1:]] if publish else []
    assert Runs(project).files(f"{GAN}/1", "samples") == expected


def test_comparison_shows_what_the_files_say(project: Path) -> None:
    recording.record_comparison(settings())
    runs = Runs(project)
    parent, child = runs["comparison"], runs["gan_classic/1"]
    assert set(runs.by_name) == {"comparison", GAN, GAUSSIAN} | CHILDREN
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.run_name == "pets: no better than FixMatch"
    assert parent.data.params["train_downstream.classifier.steps"] == "40"
    assert parent.data.params["evaluate.augment.arms"] == "gan_classic"
    assert len(parent.data.params) < 30
    metrics = parent.data.metrics
    assert {name: value for name, value in metrics.items() if "/" not in name} == SUMMARY, "no other is on top"
    assert metrics["accuracy/real"] == pytest.approx(0.8995)
    assert metrics["validation/gan_classic"] == pytest.approx(0.805)
    assert metrics["labels_used/real"] == 20
    assert metrics["difference/gan_classic_vs_real/mean"] == -0.01
    assert metrics["difference/gan_classic_vs_real/p_holm"] == 0.4
    assert metrics["filter_memorized/gaussian/dropped"] == 2
    assert metrics["filter_memorized/gan/set_level/after/data_copying_z"] == 1.5
    assert not any("copied" in name or "classes" in name for name in metrics)
    assert metrics["seconds/train_downstream/real"] == 12.5
    tags = parent.data.tags
    for _, answer in toy.ANSWERS.values():
        assert f"**{answer}**" in tags["mlflow.note.content"]
    assert "than a random forest" in tags["mlflow.note.content"]
    assert "| gan_classic | 91.0 |" in tags["mlflow.note.content"]
    assert {question: tags[f"understudy.{question}"] for question in toy.ANSWERS} == {
        question: outcome for question, (outcome, _) in toy.ANSWERS.items()
    }
    assert tags["understudy.train_gan/gaussian"] == runs[GAUSSIAN].info.run_id
    assert {name: tag for name, tag in tags.items() if name.startswith("dvc.")} == {"dvc.experiment": "slow-newt"}
    texts = {"params.yaml", "dvc_hashes.yaml"}
    assert set(runs.files("comparison")) == {"evaluate.json", "figures", "report.html", "scores.csv"} | texts
    hashes = runs.client.download_artifacts(parent.info.run_id, "dvc_hashes.yaml")
    assert Path(hashes).read_text() == f"data/prepare: {MD5}\n"
    assert runs.files("comparison", "figures") == ["figures/comparison.png"]
    inputs = {given.dataset.name: given.dataset for given in parent.inputs.dataset_inputs}
    assert (inputs["pets"].digest, json.loads(inputs["pets"].profile)) == (MD5, {"images": 12})
    assert json.loads(inputs["pets-gaussian"].profile) == {"images": 4 + 5}
    chosen = {"arm": "gan_classic", "replicate": "1", "steps": "40", "synthetic_share": "0.5"}
    assert chosen.items() <= child.data.params.items()
    assert child.data.metrics["accuracy"] == pytest.approx(0.909)
    assert runs.curve("gan_classic/1", "loss") == [(20, 1 / 20), (40, 1 / 40)]
    assert "validation" not in runs["real/0"].data.metrics
    (model,) = runs.client.search_registered_models()
    assert (len(model.latest_versions), model.aliases) == (1, {}), "a trial of dvc exp is no new best"


def test_recording_twice_changes_nothing_and_a_lost_store_is_filled_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.record_comparison(settings())
    before = Runs(project).snapshot()
    assert not list(Path(".work/tracking").rglob("*.json"))
    recording.record_generator(settings(), "gan")
    recording.record_comparison(settings())
    assert Runs(project).snapshot() == before
    with monkeypatch.context() as patch:
        other = use_other_store(project, patch)
        recording.record_comparison(settings())
    after = Runs(other)
    assert (after.statuses, after.snapshot()["all"]) == ({"FINISHED"}, before["all"])


def use_other_store(project: Path, patch: pytest.MonkeyPatch) -> Path:
    """Names another empty store, as if the one at the project's root were lost; the folder it lies in."""
    (project / "other").mkdir()
    (project / "other/mlflow.db").write_bytes(toy.migrated_store())
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/other/mlflow.db")
    return project / "other"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All that one recording shows."""
    with pytest.MonkeyPatch.context() as patch:
        folder = begin_in(tmp_path_factory.mktemp("undisturbed") / "my project", patch)
        recording.record_comparison(settings())
    return Runs(folder).snapshot()["all"]


@pytest.mark.parametrize("calls", [4, 15, 30, 42])
def test_what_a_killed_recording_left_is_completed(
    undisturbed: Any, project: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    from mlflow.tracking import MlflowClient

    left = iter(range(calls))

    def or_die(call: Any) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise ConnectionError("gone")
            return call(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("create_run", "log_batch", "log_artifact", "set_terminated", "set_tag", "create_model_version"):
            patch.setattr(MlflowClient, name, or_die(getattr(MlflowClient, name)))
        recording.record_comparison(settings())
    assert recording._warned.is_set(), "the recording came to its end"
    recording.record_comparison(settings())
    filled = Runs(project)
    assert (filled.statuses, filled.snapshot()["all"]) == ({"FINISHED"}, undisturbed)


def test_training_is_shown_while_it_goes_on_and_completed_afterwards(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.05)
    with recording.live(settings(), "gan", FINGERPRINT) as live:
        live.log(0, progress(100, 0))
        live.log(1, {"step": 100, "measures": {"epsilon": 0.5}, "picture": None})
        end = time.monotonic() + 60
        while not (shown := ids_of("gan")) or f"{GAN}/1" not in shown:
            assert time.monotonic() < end, "nothing is shown"
            time.sleep(0.05)
        live.log(0, progress(200, 0))
    runs = Runs(project)
    assert runs.statuses == {"RUNNING"}
    assert {name: run.info.run_id for name, run in runs.by_name.items()} == shown
    assert [step for step, _ in runs.curve(f"{GAN}/0", "images_per_second")] == [100, 200]
    assert runs.curve(f"{GAN}/1", "epsilon") == [(100, 0.5)]
    recording.record_generator(settings(), "gan")
    after = Runs(project)
    assert {name: run.info.run_id for name, run in after.by_name.items()} == shown
    assert after.statuses == {"FINISHED"}
    for replicate in range(REPLICATES):
        expected = [(step, pytest.approx(1 / step + replicate)) for step in STEPS]
        assert after.curve(f"{GAN}/{replicate}", "discriminator_loss") == expected


def test_a_training_shows_the_machine_it_runs_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.05)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    with recording.live(settings(), "gan", FINGERPRINT) as live:
        live.log(0, progress(100, 0))
        end = time.monotonic() + 60
        while GAN not in ids_of("gan") or "system/cpu_utilization_percentage" not in Runs(project)[GAN].data.metrics:
            assert time.monotonic() < end, "nothing is shown"
            time.sleep(0.2)
    assert not [thread.name for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]


def ids_of(generator: str) -> dict[str, str]:
    """The runs that the stage's work folder names."""
    note = Path(f".work/tracking/train_gan/{generator}.json")
    return json.loads(note.read_text())["runs"] if note.is_file() else {}


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_interrupted_training_is_ended_and_resumed(project: Path, error: type[BaseException], status: str) -> None:
    def train(steps: tuple[int, ...], ends_well: bool) -> None:
        with recording.live(settings(), "gan", FINGERPRINT) as live:
            for step in steps:
                live.log(0, progress(step, 0))
            if not ends_well:
                raise error

    with pytest.raises(error):
        train((100, 200), ends_well=False)
    broken = Runs(project)
    assert broken.statuses == {status}
    train((200, 300), ends_well=True)
    runs = Runs(project)
    assert runs[GAN].info.run_id == broken[GAN].info.run_id
    assert runs.statuses == {"RUNNING"}
    assert [step for step, _ in runs.curve(f"{GAN}/0", "discriminator_loss")] == [100, 200, 300]


@pytest.mark.usefixtures("project")
def test_a_training_of_other_parameters_gets_runs_of_its_own() -> None:
    for fingerprint in ("c" * 64, FINGERPRINT):
        with recording.live(settings(), "gan", fingerprint) as live:
            live.log(0, progress(100, 0))
    ours = ids_of("gan")
    recording.record_generator(settings(), "gan")
    run = mlflow_store.Store.open("understudy").client.get_run(ours[GAN])
    assert (run.info.status, run.data.tags["understudy.fingerprint"]) == ("FINISHED", FINGERPRINT)


def test_a_training_without_steps_or_shown_already_shows_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        with recording.live(settings(), "gaussian", FINGERPRINT):
            pass
    assert not recording._warned.is_set(), "nothing to show, and yet a store was opened"
    recording.record_generator(settings(), "gan")
    before = Runs(project).snapshot()
    with recording.live(settings(), "gan", FINGERPRINT) as live:
        live.log(0, progress(300, 0))
    assert Runs(project).snapshot() == before


@pytest.mark.usefixtures("project")
def test_a_server_that_is_down_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free.getsockname()[1]}")
    started = time.monotonic()
    with recording.live(settings(), "gan", FINGERPRINT) as live:
        live.log(0, progress(100, 0))
    recording.record_generator(settings(), "gan")
    recording.record_comparison(settings())
    spoken = capsys.readouterr()
    assert time.monotonic() - started < 15
    assert spoken.err.count("warning:") == len(spoken.err.splitlines()) == 1
    assert "python -m stages.tracking`" in spoken.err
    assert "secret" not in spoken.err + spoken.out


@pytest.mark.parametrize("obstacle", ["no database", "folder"])
def test_a_store_that_cannot_be_written_is_one_warning(
    project: Path, obstacle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "mlflow.db").unlink()
    if obstacle == "folder":
        (project / "mlflow.db").mkdir()
    else:
        (project / "mlflow.db").write_text("this is no database at all" * 100)
    recording.record_generator(settings(), "gan")
    assert capsys.readouterr().err.count("warning:") == 1


def test_best_classifier_is_kept_without_pickle(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_EXP_NAME")
    recording.record_comparison(settings())
    runs = Runs(project)
    best = runs.client.get_model_version_by_alias("understudy-classifier-pets", "best")
    assert best.run_id == runs["gan_classic/1"].info.run_id, "chosen on validation within the arm"
    assert best.tags["understudy.score"] == "0.909"
    files = list(Path(best.source.removeprefix("file://").replace("%20", " ")).rglob("*"))
    assert "classifier.safetensors" in {path.name for path in files}
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]


@pytest.mark.drill
def test_two_processes_may_open_a_fresh_store_at_once(tmp_path: Path) -> None:
    script = "from stages.tracking.mlflow_store import Store; print(Store.open('understudy').experiment)"
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(toy.ROOT)
    command = [sys.executable, "-c", script]
    both = [
        subprocess.Popen(  # noqa: S603
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    spoken = [process.communicate() for process in both]
    assert spoken[0] == spoken[1] == (spoken[0][0], "")
    assert [process.returncode for process in both] == [0, 0]


def test_experiments_in_temporary_copies_use_the_store_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "my project/.dvc/tmp/exps/standalone/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_store.tracking_uri() == f"sqlite:///{tmp_path}/my project/mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert mlflow_store.project_root() == tmp_path


def test_command_completes_what_is_missing_and_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.params, "load", settings)
    (project / "data/evaluate").rename(project / "later")
    command.main()
    spoken = capsys.readouterr().out.splitlines()
    runs = Runs(project)
    assert spoken[:2] == [f"{name}: {runs[name].info.run_id}" for name in (GAN, GAUSSIAN)]
    assert "comparison: nothing to log" in spoken[2]
    (project / "later").rename(project / "data/evaluate")
    command.main()
    assert f"comparison: {Runs(project)['comparison'].info.run_id}" in capsys.readouterr().out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(SystemExit, match="failed"):
        command.main()


def test_tracking_is_imported_without_what_takes_long() -> None:
    script = "import sys, stages.tracking.recording; print([name for name in sys.argv[1:] if name in sys.modules])"
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script, "mlflow", "pandas", "torch"], cwd=toy.ROOT, capture_output=True, text=True
    )
    assert ran.stdout == "[]\n"


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    for length in (1, 200, 201, 1000):
        points = run_contents.curves([{"step": step, "loss": float(step)} for step in range(1, length + 1)])["loss"]
        assert min(length, run_contents.MOST_POINTS / 2) <= len(points) <= run_contents.MOST_POINTS
        assert points[-1] == (length, length)
        assert points == sorted(points)


def test_mean_curves_have_the_steps_and_measures_that_all_replicates_share() -> None:
    one, other = [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0, "b": 0.5}], [{"step": 2, "c": 0.5, "a": 4.0}]
    assert run_contents.curves(one, other) == {"a": [(2, 3.0)]}
    assert run_contents.curves(one, []) == {}


def test_the_best_arm_is_that_of_the_best_mean_on_test_and_no_replicate_is_chosen_by_its_own_score() -> None:
    rows = [
        ("lucky", 0, 0.99, np.nan),
        ("lucky", 1, 0.5, np.nan),
        ("steady", 0, 0.9, np.nan),
        ("steady", 1, 0.8, np.nan),
    ]
    scores = pd.DataFrame(rows, columns=["arm", "replicate", "auroc", "validation"])
    assert run_contents.best_classifier(scores, "auroc") == ("steady", 0, 0.9)
    scores.loc[2:, "validation"] = [0.1, 0.2]
    assert run_contents.best_classifier(scores, "auroc") == ("steady", 1, 0.8)


def test_a_comparison_is_called_by_the_first_question_that_is_asked() -> None:
    answers = {question: {"outcome": outcome, "answer": answer} for question, (outcome, answer) in toy.ANSWERS.items()}
    assert run_contents.title("pets", answers) == "pets: no better than FixMatch"
    answers["augment"]["outcome"] = "not_asked"
    assert run_contents.title("pets", answers) == "pets: yes, within 1 percentage point of real images"


def test_parameters_become_a_flat_table_without_nested_lists() -> None:
    tree = {"arm": {"settings": [{"share": 0.5}], "steps": 40, "path": None, "policies": ["cutout", "flip"]}, "x": True}
    assert run_contents.texts(tree) == {"arm.steps": "40", "arm.policies": "cutout, flip", "x": "True"}


def test_best_moves_to_a_better_model_on_the_same_test_set_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("DVC_EXP_NAME")

    def best_after(run: int, score: float, test_images: int = 4) -> str:
        """The version called best once a comparison with this score is recorded, too; each makes the next version."""
        scores = pd.read_csv("metrics/scores.csv")
        scores["accuracy"] = np.where(scores["arm"] == "gan_classic", score, 0.1)
        scores.to_csv("metrics/scores.csv", index=False)
        toy.write_test_set(project, test_images)
        workdir.write_json(Path("data/evaluate/run.json"), {"fingerprint": f"{run:064}", "params": toy.all_params()})
        recording.record_comparison(settings())
        client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
        assert len(client.search_model_versions()) == run
        return str(client.get_model_version_by_alias("understudy-classifier-pets", "best").version)

    assert best_after(1, score=0.8) == "1"
    assert best_after(2, score=0.8) == "1", "as good is not better"
    assert best_after(3, score=0.9) == "3"
    assert best_after(4, score=0.7) == "3"
    assert best_after(5, score=0.99, test_images=5) == "3", "other images say nothing"
    monkeypatch.setenv("DVC_EXP_NAME", "slow-newt")
    assert best_after(6, score=0.95) == "3", "a trial of dvc exp is no new best"


def test_a_name_of_any_data_set_is_one_for_the_registry() -> None:
    names = [model_name("x", dataset) for dataset in ("digits", "red cells, tested on a/b:c", "Größe'")]
    assert names == ["x-digits", "x-red-cells-tested-on-a-b-c", "x-Gr-e"]
