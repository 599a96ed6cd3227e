"""Properties of tracking: MLflow shows what the files say, once, and no trouble with it reaches a stage."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from ruamel.yaml import YAML
from safetensors.torch import save_file

from stages.comparison.params import EvaluateParams
from stages.downstream.classifiers import build_classifier
from stages.downstream.training import predict
from stages.plumbing import images
from stages.plumbing.images import ImageSet
from stages.plumbing.params import Params, TrackingParams
from stages.tracking import mlflow_store, recording, run_contents

ROOT = Path(__file__).parents[2]
ARMS = ("real", "gan_classic", "classic_all_labels")
REPLICATES = 3
WIDTH = 4
CLASSES = ["cat", "dog"]
SHAPE = (1, 8, 8)
STEPS = (100, 200, 300)
MD5 = "0123456789abcdef0123456789abcdef.dir"


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_images(path: Path, count: int) -> None:
    ids = np.array([f"{path.stem}-{index}" for index in range(count)])
    pixels = np.zeros((count, *SHAPE), np.uint8)
    images.write(path, ImageSet(ids, pixels, np.zeros(count, np.int64)), CLASSES)


def write_gans(folder: Path, replicates: int = REPLICATES) -> None:
    """What `prepare` and `train_gan` leave, as far as tracking reads it."""
    image = {"size": SHAPE[1], "channels": "grey", "fit": "pad", "flip_ok": True}
    facts = {"name": "pets", "classes": CLASSES, "image": image, "replicates": replicates}
    write_json(folder / "data/prepare/dataset.json", facts)
    write_images(folder / "data/prepare/images.parquet", 12)
    for replicate in range(replicates):
        gan = folder / f"data/train_gan/{replicate}"
        history = [{"step": step, "discriminator_loss": 1 / step + replicate} for step in STEPS]
        curve = [{"step": step, "usefulness": step / 1000 + replicate / 10, "kid": 1 / step} for step in STEPS[1:]]
        quality = {"precision": 0.5 + replicate / 10, "usefulness": curve[0]["usefulness"], "discriminator_loss": -1.0}
        write_json(gan / "gan.json", {"history": history, "curve": curve, "quality": quality})
        (gan / "samples").mkdir()
        for step in STEPS[1:]:
            (gan / f"samples/step_{step:06d}.png").write_bytes(images.encode_png(np.zeros(SHAPE, np.uint8)))
    write_json(folder / "data/train_gan/run.json", {"fingerprint": "a" * 64, "params": {"seed": 0, "steps": 300}})


def write_comparison(folder: Path, arms: tuple[str, ...] = ARMS, replicates: int = REPLICATES) -> None:
    """What the later stages leave, as far as tracking reads it. On validation gan_classic's replicate 1 is best."""
    rows = []
    for place, arm in enumerate(arms):
        for replicate in range(replicates):
            write_classifier(folder / f"data/train_downstream/{arm}/{replicate}.safetensors", seed=replicate)
            test = 0.9 - place / 100 + replicate / 1000
            validation = (
                None if arm == "classic_all_labels" else 0.7 + (arm == "gan_classic") / 10 - (replicate - 1) ** 2 / 100
            )
            measures = {"accuracy": test, "balanced_accuracy": test, "macro_f1": test, "validation": validation}
            rows.append({"arm": arm, "replicate": replicate} | measures)
        write_json(folder / f"data/train_downstream/{arm}/arm.json", arm_facts(arm, replicates))
    for replicate in range(replicates):
        write_images(folder / f"data/filter_memorized/{replicate}.parquet", 4 + replicate)
    (folder / "metrics/figures").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "metrics/scores.csv", index=False)
    (folder / "metrics/figures/comparison.png").write_bytes(images.encode_png(np.zeros((3, 16, 16), np.uint8)))
    (folder / "metrics/report.html").write_text("<h1>Report</h1>")
    write_json(folder / "metrics/evaluate.json", evaluation(pd.DataFrame(rows)))
    privacy = {"alpha": 0.05, "generated": 20, "dropped": 2, "classes": {"cat": {"generated": 10}}}
    privacy["set_level"] = {"after": {"data_copying_z": 1.5, "copied": {"cat <50%>": 0.1}}}  # no name for a metric
    write_json(folder / "metrics/filter_memorized.json", privacy)
    write_json(folder / "data/evaluate/run.json", {"fingerprint": "b" * 64, "params": all_params(arms)})
    write_json(folder / ".work/timing/train_downstream@real.json", {"seconds": 12.5, "cpu_seconds": 20.0})
    outs = [{"path": "data/prepare", "md5": MD5}, {"path": "metrics/prepare.json", "md5": "f" * 32}]
    with (folder / "dvc.lock").open("w") as lock:
        YAML().dump({"schema": "2.0", "stages": {"prepare": {"cmd": "x", "outs": outs}}}, lock)


def write_classifier(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = build_classifier("cnn", SHAPE[0], SHAPE[1], len(CLASSES), WIDTH, seed).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def arm_facts(arm: str, replicates: int) -> dict[str, Any]:
    uses_gan = arm.startswith("gan")
    return {
        "settings": [{"synthetic_share": 0.25}, {"synthetic_share": 0.5}] if uses_gan else [{}],
        "chosen": int(uses_gan),
        "validation": [0.7, 0.8] if uses_gan else [0.7],
        "validation_scores": [0.7] * replicates,
        "labels_used": 20,
        "trained_on_labels": 10,
        "synthetic_images": 4 if uses_gan else 0,
        "pseudo_labels": 0,
        "steps": 40,
        "history": {str(r): [{"step": step, "loss": 1 / step} for step in (20, 40)] for r in range(replicates)},
    }


def all_params(arms: tuple[str, ...]) -> dict[str, Any]:
    arm = {"images": "data/prepare", "real": True, "labels": "train", "augment": "classic", "settings": [{}]}
    return {
        "prepare": {"seed": 0, "replicates": REPLICATES, "source": {"kind": "digits"}},
        "train_downstream": {
            "classifier": {"kind": "cnn", "width": WIDTH, "steps": 40},
            "arms": dict.fromkeys(arms, arm),
        },
        "evaluate": {"contrast": {"arms": [arms[1]], "rivals": [arms[0]], "measure": "accuracy"}},
    }


def evaluation(scores: pd.DataFrame) -> dict[str, Any]:
    means = {
        arm: {measure: {"mean": rows[measure].mean(), "std": 0.01} for measure in ("accuracy", "macro_f1")}
        for arm, rows in scores.groupby("arm", sort=False)
    }
    difference = {"accuracy": {"mean": -0.01, "low": -0.02, "high": 0.001, "p": 0.2, "p_holm": 0.4}}
    names = list(means)
    return {
        "arms": means,
        "differences": {name: {names[0]: difference} for name in names[1:]},
        "verdict": {"outcome": "undecided", "sentence": "Not decided: it remains open whether gan_classic helps."},
        "replicates": REPLICATES,
        "labels_used": dict.fromkeys(names, 20),
    }


def settings(publish: bool = False) -> Params:
    return Params.model_construct(
        tracking=TrackingParams(experiment="understudy", registered_model="understudy-classifier"),
        evaluate=EvaluateParams.model_construct(publish_real_images=publish),
    )


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store without runs; making one takes MLflow several seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}")
    return path


@pytest.fixture
def project(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a space in its name, with the project's code and an empty store, as the current folder."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "stages").symlink_to(ROOT / "stages")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_EXP_NAME", "slow-newt")
    forget_warnings()
    yield folder
    forget_warnings()


def forget_warnings() -> None:
    """As in a process of its own: nothing was warned of, nothing given up."""
    recording._warned.clear()
    recording._given_up.clear()


class Runs:
    """Everything that the store of a project holds."""

    def __init__(self, project: Path) -> None:
        self.client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
        self.experiment = self.client.get_experiment_by_name("understudy")
        runs = self.client.search_runs([self.experiment.experiment_id], max_results=1000)
        self.by_name = {run.info.run_name: run for run in runs}
        assert len(self.by_name) == len(runs), "a run is there twice"

    def __getitem__(self, name: str) -> Run:
        return self.by_name[name]

    def history(self, name: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self[name].info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    def files(self, name: str, folder: str | None = None) -> list[str]:
        return [file.path for file in self.client.list_artifacts(self[name].info.run_id, folder)]

    def snapshot(self) -> dict[str, Any]:
        """All that must not change when nothing is missing."""
        points = {
            (name, metric): self.history(name, metric)
            for name, run in self.by_name.items()
            for metric in run.data.metrics
        }
        versions = [version.version for version in self.client.search_model_versions()]
        return {"runs": {name: run.to_dictionary() for name, run in self.by_name.items()}, "points": points} | {
            "versions": versions
        }


def test_gan_runs_show_what_the_files_say(project: Path) -> None:
    write_gans(project)
    recording.record_gan(settings())
    runs = Runs(project)
    parent = runs["train_gan"]
    assert set(runs.by_name) == {"train_gan", "train_gan/0", "train_gan/1", "train_gan/2"}
    assert {run.info.status for run in runs.by_name.values()} == {"FINISHED"}
    for replicate in range(REPLICATES):
        child = runs[f"train_gan/{replicate}"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        expected = [(step, pytest.approx(1 / step + replicate)) for step in STEPS]
        assert runs.history(f"train_gan/{replicate}", "discriminator_loss") == expected
        assert child.data.metrics["precision"] == pytest.approx(0.5 + replicate / 10)
        expected = [(step, pytest.approx(step / 1000 + replicate / 10)) for step in STEPS[1:]]
        assert runs.history(f"train_gan/{replicate}", "snapshots/usefulness") == expected
        assert runs.history(f"train_gan/{replicate}", "usefulness") == [(0, pytest.approx(0.2 + replicate / 10))]
    assert runs.history("train_gan", "snapshots/usefulness") == [(s, pytest.approx(s / 1000 + 0.1)) for s in STEPS[1:]]
    assert runs.history("train_gan", "snapshots/kid") == [(step, pytest.approx(1 / step)) for step in STEPS[1:]]
    assert runs.history("train_gan", "discriminator_loss") == [(step, pytest.approx(1 / step + 1)) for step in STEPS]
    assert parent.data.metrics["precision"] == pytest.approx(0.6)
    assert parent.data.params == {"train_gan.seed": "0", "train_gan.steps": "300"}
    assert parent.data.tags["understudy.fingerprint"] == "a" * 64
    assert parent.data.tags["dvc.experiment"] == "slow-newt"
    assert [given.dataset.name for given in parent.inputs.dataset_inputs] == ["pets"]
    assert (
        Path(runs.experiment.artifact_location.removeprefix("file://").replace("%20", " ")) == project / "mlartifacts"
    )


@pytest.mark.parametrize("publish", [True, False])
def test_unfiltered_samples_are_shown_only_where_real_images_may_be(project: Path, publish: bool) -> None:
    write_gans(project)
    recording.record_gan(settings(publish))
    expected = [f"samples/step_{step:06d}.png" for step in STEPS[1:]] if publish else []
    assert Runs(project).files("train_gan/1", "samples") == expected
    recording.record_gan(settings(publish=True))
    assert len(Runs(project).files("train_gan/1", "samples")) == 2, "allowing it later shows them later"


def test_comparison_shows_what_the_files_say(project: Path) -> None:
    write_gans(project)
    write_comparison(project)
    recording.record_comparison(settings())
    runs = Runs(project)
    parent, child = runs["comparison"], runs["gan_classic/1"]
    children = {
        name for name, run in runs.by_name.items() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert children == {f"{arm}/{replicate}" for arm in ARMS for replicate in range(REPLICATES)}
    assert parent.data.params["train_downstream.classifier.steps"] == "40"
    assert parent.data.metrics["accuracy/real"] == pytest.approx(0.901)
    assert parent.data.metrics["difference/gan_classic_vs_real"] == -0.01
    assert parent.data.metrics["difference_p_holm/gan_classic_vs_real"] == 0.4
    assert parent.data.metrics["filter_memorized/dropped"] == 2
    assert parent.data.metrics["filter_memorized/set_level/after/data_copying_z"] == 1.5
    assert not any("copied" in name for name in parent.data.metrics)
    assert parent.data.metrics["seconds/train_downstream/real"] == 12.5
    assert "remains open" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["understudy.verdict"] == "undecided"
    assert parent.data.tags["understudy.gan_run"] == runs["train_gan"].info.run_id
    assert parent.data.tags["dvc.data/prepare"] == MD5
    assert "dvc.metrics/prepare.json" not in parent.data.tags
    assert set(runs.files("comparison")) == {"evaluate.json", "figures", "report.html", "scores.csv"}
    assert runs.files("comparison", "figures") == ["figures/comparison.png"]
    inputs = {given.tags[0].value: given.dataset for given in parent.inputs.dataset_inputs}
    assert (inputs["real"].digest, json.loads(inputs["real"].profile)["images"]) == (MD5, 12)
    assert json.loads(inputs["synthetic"].profile)["images"] == 4 + 5 + 6
    assert child.data.params["synthetic_share"] == "0.5", "the setting that was chosen"
    assert (child.data.params["arm"], child.data.params["replicate"], child.data.params["steps"]) == (
        "gan_classic",
        "1",
        "40",
    )
    assert child.data.metrics["accuracy"] == pytest.approx(0.891)
    assert child.data.metrics["validation"] == pytest.approx(0.8)
    assert runs.history("gan_classic/1", "loss") == [(20, 1 / 20), (40, 1 / 40)]
    assert "validation" not in runs["classic_all_labels/0"].data.metrics


def test_recording_twice_changes_nothing(project: Path) -> None:
    write_gans(project)
    write_comparison(project)
    recording.record_comparison(settings())
    before = Runs(project).snapshot()
    recording.record_comparison(settings())
    assert Runs(project).snapshot() == before


def test_lost_runs_are_logged_again(project: Path) -> None:
    write_gans(project)
    write_comparison(project)
    recording.record_comparison(settings())
    before = Runs(project)
    for name in ("comparison", "train_gan"):
        before.client.delete_run(before[name].info.run_id)
    for run in before.by_name.values():
        if run.info.run_name not in ("comparison", "train_gan"):
            before.client.delete_run(run.info.run_id)
    recording.record_comparison(settings())
    after = Runs(project)
    assert set(after.by_name) == set(before.by_name)
    assert after["real/0"].data.metrics == before["real/0"].data.metrics
    assert after["comparison"].data.metrics == before["comparison"].data.metrics


def test_what_a_killed_recording_left_is_completed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gans(project)
    write_comparison(project)

    def die(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store.RunTree, "finish", die)
        recording.record_gan(settings())
    half = Runs(project)
    half.client.set_tag(half["train_gan"].info.run_id, "understudy.process", dead_process())
    half.client.update_run(half["train_gan/2"].info.run_id, status="RUNNING")
    recording.record_comparison(settings())
    runs = Runs(project)
    assert runs["train_gan"].info.run_id == half["train_gan"].info.run_id
    assert runs.history("train_gan/2", "discriminator_loss") == half.history("train_gan/2", "discriminator_loss")
    assert {run.info.status for run in runs.by_name.values()} == {"FINISHED"}


def dead_process() -> str:
    """As the tag names it: a process of this machine that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{socket.gethostname()}/{process.pid}/1.00"


def test_orphans_of_other_fingerprints_end_as_killed_and_living_ones_go_on(project: Path) -> None:
    store = mlflow_store.Store.open("understudy")
    orphan = store.client.create_run(
        store.experiment_id, tags={mlflow_store.PROCESS: dead_process()}, run_name="orphan"
    )
    living = {mlflow_store.PROCESS: mlflow_store._process(psutil.Process(os.getppid()))}
    store.client.create_run(store.experiment_id, tags=living, run_name="living")
    reborn = {mlflow_store.PROCESS: f"{socket.gethostname()}/{os.getpid()}/1.00"}  # another process had our number
    store.client.create_run(store.experiment_id, tags=reborn, run_name="reborn")
    for name, days in (("elsewhere", 1), ("elsewhere long ago", 30)):
        began = int((time.time() - days * 86_400) * 1000)
        store.client.create_run(store.experiment_id, began, {mlflow_store.PROCESS: "far-away/7/5.00"}, name)
    store.client.create_run(store.experiment_id, run_name="of other software")
    write_gans(project)
    recording.record_gan(settings())
    runs = Runs(project)
    assert runs["orphan"].info.run_id == orphan.info.run_id
    ended = {name for name, run in runs.by_name.items() if run.info.status == "KILLED"}
    assert ended == {"orphan", "reborn", "elsewhere long ago"}
    going_on = {name for name, run in runs.by_name.items() if run.info.status == "RUNNING"}
    assert going_on == {"living", "elsewhere", "of other software"}


def progress(step: int, replicate: int, picture: Path | None = None) -> dict[str, Any]:
    measures = {"discriminator_loss": 1 / step + replicate, "images_per_second": 1000.0}
    return {"step": step, "measures": measures, "picture": picture and str(picture)}


def test_training_is_shown_while_it_goes_on_and_completed_afterwards(project: Path) -> None:
    picture = project / "step_000200.png"
    picture.write_bytes(images.encode_png(np.zeros(SHAPE, np.uint8)))
    with recording.live_gan_run(settings(publish=True), "a" * 64) as live:
        live.log(0, progress(100, 0))
        live.log(0, progress(200, 0, picture))
        live.log(1, progress(100, 1))
    runs = Runs(project)
    assert runs["train_gan"].info.status == runs["train_gan/0"].info.status == "RUNNING"
    assert [step for step, _ in runs.history("train_gan/0", "images_per_second")] == [100, 200]
    assert runs.files("train_gan/0", "samples") == ["samples/step_000200.png"]
    write_gans(project)
    recording.record_gan(settings(publish=True))
    after = Runs(project)
    assert after["train_gan"].info.run_id == runs["train_gan"].info.run_id
    for replicate in range(REPLICATES):
        expected = [(step, pytest.approx(1 / step + replicate)) for step in STEPS]
        assert after.history(f"train_gan/{replicate}", "discriminator_loss") == expected
    assert {run.info.status for run in after.by_name.values()} == {"FINISHED"}


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_interrupted_training_is_ended_and_resumed(project: Path, error: type[BaseException], status: str) -> None:
    def train(steps: tuple[int, ...], ends_well: bool) -> None:
        with recording.live_gan_run(settings(), "a" * 64) as live:
            for step in steps:
                live.log(0, progress(step, 0))
            if not ends_well:
                raise error

    with pytest.raises(error):
        train((100, 200), ends_well=False)
    broken = Runs(project)
    assert broken["train_gan"].info.status == broken["train_gan/0"].info.status == status
    train((200, 300), ends_well=True)
    runs = Runs(project)
    assert runs["train_gan"].info.run_id == broken["train_gan"].info.run_id
    assert runs["train_gan"].info.status == "RUNNING"
    assert [step for step, _ in runs.history("train_gan/0", "discriminator_loss")] == [100, 200, 300]


def test_a_server_that_is_down_is_one_warning(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    write_gans(project)
    write_comparison(project)
    started = time.monotonic()
    with recording.live_gan_run(settings(), "a" * 64) as live:
        live.log(0, progress(100, 0))
    recording.record_gan(settings())
    recording.record_comparison(settings())
    spoken = capsys.readouterr()
    assert time.monotonic() - started < 15
    assert spoken.err.count("warning:") == len(spoken.err.splitlines()) == 1
    assert "python -m stages.tracking.recording" in spoken.err
    assert "secret" not in spoken.err + spoken.out


@pytest.mark.parametrize("obstacle", ["no database", "folder"])
def test_a_store_that_cannot_be_written_is_one_warning(
    project: Path, obstacle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gans(project)
    (project / "mlflow.db").unlink()
    if obstacle == "folder":
        (project / "mlflow.db").mkdir()
    else:
        (project / "mlflow.db").write_text("this is no database at all" * 100)
    recording.record_gan(settings())
    assert capsys.readouterr().err.count("warning:") == 1


def test_a_trial_of_dvc_exp_registers_its_classifier_but_is_no_new_best(project: Path) -> None:
    write_gans(project)
    write_comparison(project)
    recording.record_comparison(settings())
    (model,) = Runs(project).client.search_registered_models()
    assert len(model.latest_versions) == 1
    assert model.aliases == {}


def test_best_classifier_is_chosen_on_validation_and_loads_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_EXP_NAME")
    write_gans(project)
    write_comparison(project)
    recording.record_comparison(settings())
    runs = Runs(project)
    best = runs.client.get_model_version_by_alias("understudy-classifier", "best")
    assert best.run_id == runs["gan_classic/1"].info.run_id
    names = [path.name for path in Path(best.source.removeprefix("file://").replace("%20", " ")).rglob("*")]
    assert "classifier.safetensors" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]
    pixels = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    for place, image in enumerate(pixels):
        (tmp_path / f"{place}.png").write_bytes(images.encode_png(image))
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_text("raise ImportError('another project: the model brings its own code')")
    script = (
        "import json, mlflow, pandas, pathlib\n"
        f"mlflow.set_tracking_uri('sqlite:///{project}/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/understudy-classifier@best')\n"
        "files = [path.read_bytes() for path in sorted(pathlib.Path().glob('*.png'))]\n"
        "answer = model.predict(pandas.DataFrame({'image': files}))\n"
        "example = model.predict(model.input_example)\n"
        "print(json.dumps([answer.to_dict('list'), example['probabilities'].tolist()]))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    spoken = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer, example = json.loads(spoken.stdout.splitlines()[-1])
    network = build_classifier("cnn", SHAPE[0], SHAPE[1], len(CLASSES), WIDTH, seed=1)
    grey = np.full((1, *SHAPE), 127, np.uint8)
    expected = predict(network, torch.from_numpy(np.concatenate([pixels, grey]))).numpy()
    told = [[row[name] for name in CLASSES] for row in [*answer["probabilities"], *example]]
    assert np.array_equal(np.array(told, np.float32), expected)
    assert answer["class"] == [CLASSES[place] for place in expected[:5].argmax(axis=1)]


def test_two_processes_may_open_a_fresh_store_at_once(tmp_path: Path) -> None:
    script = "from stages.tracking.mlflow_store import Store; print(Store.open('understudy').experiment_id)"
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
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
    monkeypatch.setattr(recording.params, "load", settings)
    recording.main()
    assert capsys.readouterr().out.count("nothing to log") == 2
    write_gans(project)
    recording.main()
    assert Runs(project)["train_gan"].info.run_id in capsys.readouterr().out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(SystemExit, match="failed"):
        recording.main()


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    history = [{"step": step, "loss": float(step)} for step in range(1, 1001)]
    points = run_contents.curves(history)["loss"]
    assert len(points) <= run_contents.MOST_POINTS
    assert points[-1] == (1000, 1000.0)
    assert points == sorted(points)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["loss", "strength"]), st.floats(0, 1), min_size=1), min_size=1, max_size=5
    ),
    st.dictionaries(st.sampled_from(["strength", "kid"]), st.floats(0, 1), min_size=1),
)
def test_a_gan_shows_each_loss_and_each_snapshot_score_at_its_steps(
    losses: list[dict[str, float]], scores: dict[str, float]
) -> None:
    history = [{"step": step, **measures} for step, measures in enumerate(losses, 1)]
    gan = {"history": history, "curve": [{"step": 7, **scores}], "quality": scores}
    shown = run_contents.gan_replicate(0, gan).curves
    logged = {name for measures in losses for name in measures}
    assert set(shown) == logged | set(scores) | {f"snapshots/{name}" for name in scores}
    for name in logged:
        own = [(record["step"], record[name]) for record in history if name in record]
        assert shown[name] == own, "a curve gets no point of another kind"
    for name, value in scores.items():
        assert shown[f"snapshots/{name}"] == [(7, value)]
        assert name in logged or shown[name] == [(0, value)]


def test_mean_curves_have_the_steps_and_metrics_that_all_replicates_share() -> None:
    one, other = [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0, "b": 0.5}], [{"step": 2, "c": 0.5, "a": 4.0}]
    assert run_contents.mean_history([one, other]) == [{"step": 2, "a": 3.0}]
    assert run_contents.mean_history([]) == []


def test_best_classifier_needs_validation() -> None:
    scores = pd.DataFrame({"arm": ["x", "y"], "replicate": [0, 0], "validation": [np.nan, np.nan]})
    assert run_contents.best_classifier(scores) is None
