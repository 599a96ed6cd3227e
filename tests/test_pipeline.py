"""The pipeline as people use it: real `dvc` commands in a copy of the project, on the real digits, with few steps."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.conftest import KEPT_ARMS, TINY, copy_project, edit_params, read_params

Run = Callable[..., "CompletedProcess[str]"]
BASELINES = ("classic", "pseudo_label")
ARMS_OF_GAN = ("gan_classic", "synthetic_only")


@pytest.fixture(scope="module")
def repro(tmp_path_factory: pytest.TempPathFactory, run_in: Run) -> Path:
    """A project in which `dvc repro` has run once, with four arms."""
    folder = copy_project(tmp_path_factory.mktemp("pipeline") / "a project")
    arms = read_params(folder)["train_downstream"]["arms"]
    kept = {"train_downstream.arms": {arm: arms[arm] for arm in KEPT_ARMS}, "evaluate.contrast.rivals": [*BASELINES]}
    edit_params(folder, TINY | kept | {"evaluate.learning_curve": [], "parallel.jobs": 2})
    first = run_in("dvc repro", folder)
    assert first.returncode == 0, first.stdout + first.stderr
    edit_params(folder, {"parallel.jobs": 1})
    return folder


def stages_run(result: "CompletedProcess[str]") -> list[str]:
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in lines]


def stale(folder: Path, run_in: Run) -> set[str]:
    """The stages that DVC would run because something they depend on directly has changed."""
    status = run_in("dvc status --json", folder)
    assert status.returncode == 0, status.stdout + status.stderr
    return set(json.loads(status.stdout))


def test_every_artifact_of_the_design_is_there(repro: Path) -> None:
    data = repro / "data"
    prepared = {"images.parquet", "roles.parquet", "findings.parquet", "dataset.json"}
    assert {path.name for path in (data / "prepare").iterdir()} == prepared
    for replicate in ("0", "1"):
        gan = {path.name for path in (data / "train_gan" / replicate).iterdir()}
        assert {"generator.safetensors", "discriminator.safetensors", "gan.json"} <= gan
        for stage in ("generate", "filter_memorized"):
            assert (data / stage / f"{replicate}.parquet").is_file()
        for arm in KEPT_ARMS:
            assert (data / "train_downstream" / arm / f"{replicate}.safetensors").is_file()
    for arm in KEPT_ARMS:
        models = pq.read_table(data / "train_downstream" / arm / "models.parquet").to_pandas()
        assert models.groupby(["classifier", "replicate"]).size().to_dict() == {
            ("nearest_neighbours", replicate): 899 for replicate in (0, 1)
        }
    assert (data / "filter_memorized/decisions.parquet").is_file()
    synthetic = pq.read_table(data / "evaluate/synthetic.parquet")
    assert synthetic.num_rows > 0
    assert all(synthetic["synthetic"].to_pylist())
    assert (data / "evaluate/README.md").read_text().startswith("---\n")
    assert "</html>" in (repro / "metrics/report.html").read_text()


def test_the_numbers_have_the_form_of_the_design(repro: Path) -> None:
    numbers = json.loads((repro / "metrics/evaluate.json").read_text())
    assert set(numbers["arms"]) == set(KEPT_ARMS)
    for arm in ARMS_OF_GAN:
        for rival in BASELINES:
            assert {"mean", "low", "high", "p", "p_holm"} == set(numbers["differences"][arm][rival]["accuracy"])
    assert set(numbers["models"]) == {"network", "nearest_neighbours"}
    assert set(numbers["fidelity"]["classes"]) == {str(digit) for digit in range(10)}
    assert set(numbers["per_class"]) == {*ARMS_OF_GAN, *BASELINES}
    assert 0 <= numbers["arms"]["classic"]["calibration_error"]["mean"] <= 1
    assert numbers["verdict"]["outcome"] in ("helps", "hurts", "equivalent", "undecided")
    scores = pd.read_csv(repro / "metrics/scores.csv")
    for arm, measures in numbers["arms"].items():
        assert measures["accuracy"]["mean"] == pytest.approx(scores[scores["arm"] == arm]["accuracy"].mean())
    memorized = json.loads((repro / "metrics/filter_memorized.json").read_text())
    dropped = sum(each["dropped"] for each in memorized["classes"].values())
    assert dropped == memorized["dropped"]
    kept = pq.read_metadata(repro / "data/evaluate/synthetic.parquet").num_rows
    assert kept == memorized["generated"] - memorized["dropped"]


def test_nothing_killed_or_half_written_lies_about(repro: Path, run_in: Run) -> None:
    assert not list(repro.rglob("*.partial"))
    untracked = run_in("git status --porcelain --untracked-files=all", repro).stdout
    assert "data/train_gan" not in untracked
    assert ".work" not in untracked
    assert "mlflow.db" not in untracked


def test_mlflow_shows_the_comparison_its_children_and_the_gan(repro: Path) -> None:
    with sqlite3.connect(f"file:{repro}/mlflow.db?mode=ro", uri=True) as store:
        runs = dict(store.execute("select run_uuid, name from runs where lifecycle_stage = 'active'").fetchall())
        parents = dict(store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'").fetchall())
        statuses = {status for (status,) in store.execute("select status from runs").fetchall()}
        models = store.execute("select name, version from model_versions").fetchall()
    children = {(runs[parent], runs[child]) for child, parent in parents.items()}
    assert children == {
        *(("comparison", f"{arm}/{replicate}") for arm in KEPT_ARMS for replicate in (0, 1)),
        *(("train_gan", f"train_gan/{replicate}") for replicate in (0, 1)),
    }
    assert statuses == {"FINISHED"}
    assert [name for name, _ in models] == ["understudy-classifier"]


def test_tracking_again_changes_nothing_and_fills_a_lost_store(repro: Path, run_in: Run) -> None:
    def count() -> tuple[int, ...]:
        with sqlite3.connect(f"file:{repro}/mlflow.db?mode=ro", uri=True) as store:
            tables = ("runs", "metrics", "params", "tags", "model_versions")
            return tuple(store.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)  # noqa: S608

    before = count()
    assert run_in("python -m stages.tracking.recording", repro).returncode == 0
    assert count() == before
    for path in repro.glob("mlflow.db*"):
        path.unlink()
    assert run_in("python -m stages.tracking.recording", repro).returncode == 0
    assert count()[0] == before[0]


# The tests below change the project, in this order.


def test_a_second_repro_runs_nothing(repro: Path, run_in: Run) -> None:
    assert stages_run(run_in("dvc repro", repro)) == []


def test_editing_the_classifier_makes_the_arms_stale_and_no_gan(repro: Path, run_in: Run) -> None:
    before = (repro / "params.yaml").read_bytes()
    edit_params(repro, {"train_downstream.classifier.steps": 11})
    # `evaluate` states the parameters in its report
    assert stale(repro, run_in) == {*(f"train_downstream@{arm}" for arm in KEPT_ARMS), "evaluate"}
    (repro / "params.yaml").write_bytes(before)
    assert stale(repro, run_in) == set()


def test_editing_how_the_verdict_is_reached_makes_evaluate_alone_stale(repro: Path, run_in: Run) -> None:
    with (repro / "stages/comparison/verdict.py").open("a") as module:
        module.write("\n# an edit\n")
    assert stale(repro, run_in) == {"evaluate"}


def test_changing_the_gan_reruns_no_baseline_arm(repro: Path, run_in: Run) -> None:
    edit_params(repro, {"train_gan.steps": 21})
    ran = stages_run(run_in("dvc repro", repro))
    expected = ["train_gan", "generate", "filter_memorized", *(f"train_downstream@{arm}" for arm in ARMS_OF_GAN)]
    assert sorted(ran) == sorted([*expected, "evaluate"])


def test_parameters_seen_before_bring_back_their_results_and_train_nothing(repro: Path, run_in: Run) -> None:
    after = (repro / "metrics/train_gan.json").read_bytes()
    edit_params(repro, {"train_gan.steps": TINY["train_gan.steps"]})
    assert stages_run(run_in("dvc repro", repro)) == ["evaluate"]
    assert (repro / "metrics/train_gan.json").read_bytes() != after
    edit_params(repro, {"train_gan.steps": 21})
    assert stages_run(run_in("dvc repro train_gan", repro)) == []
    assert (repro / "metrics/train_gan.json").read_bytes() == after


def test_a_removed_arm_is_noticed_and_its_folder_goes(repro: Path, run_in: Run) -> None:
    arms = read_params(repro)["train_downstream"]["arms"]
    del arms["synthetic_only"]
    edit_params(repro, {"train_downstream.arms": arms, "evaluate.contrast.arms": ["gan_classic"]})
    assert stages_run(run_in("dvc repro", repro)) == ["evaluate"]
    assert not (repro / "data/train_downstream/synthetic_only").exists()
    assert "synthetic_only" not in json.loads((repro / "metrics/evaluate.json").read_text())["arms"]
    assert stages_run(run_in("dvc repro", repro)) == []


def test_a_further_replicate_trains_only_itself_and_a_dead_server_is_only_a_warning(repro: Path, run_in: Run) -> None:
    before = {path: path.read_bytes() for path in (repro / "data/train_gan").rglob("*.safetensors")}
    stamps = {path.name: path.stat().st_mtime_ns for path in (repro / ".work/train_gan").iterdir()}
    edit_params(repro, {"prepare.replicates": 3})
    result = run_in("dvc repro train_gan", repro, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert stages_run(result) == ["prepare", "train_gan"]
    assert "MLflow" in result.stderr
    assert all(path.read_bytes() == content for path, content in before.items())
    after = {path.name: path.stat().st_mtime_ns for path in (repro / ".work/train_gan").iterdir()}
    assert len(after) == 3
    assert stamps.items() <= after.items()


def test_metrics_plots_and_experiments_of_dvc_work(repro: Path, run_in: Run) -> None:
    assert "evaluate.json" in run_in("dvc metrics show", repro).stdout
    assert "train_gan" in run_in("dvc dag --dot", repro).stdout
    identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
    identity |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in identity.items()}
    committed = run_in("git add -A && git commit -qm reproduced", repro, **identity)
    assert committed.returncode == 0, committed.stderr
    assert run_in("dvc metrics diff", repro).returncode == 0
    plots = run_in("dvc plots show", repro)
    assert plots.returncode == 0, plots.stderr
    assert (repro / "dvc_plots/index.html").is_file()
    trial = run_in("dvc exp run --temp -S train_gan.steps=22 train_gan", repro, **identity)
    assert trial.returncode == 0, trial.stdout + trial.stderr
    assert read_params(repro)["train_gan"]["steps"] == 21
    with sqlite3.connect(f"file:{repro}/mlflow.db?mode=ro", uri=True) as store:
        steps = store.execute("select value from params where key like '%steps' and value = '22'").fetchall()
    assert steps


@pytest.mark.drill
def test_a_set_made_elsewhere_is_compared_without_a_gan(repro: Path, run_in: Run) -> None:
    made = repro / "data/raw/made/synthetic.parquet"
    made.parent.mkdir()
    made.write_bytes((repro / "data/evaluate/synthetic.parquet").read_bytes())
    edit_params(repro, {"generate.external": "data/raw/made"})
    ran = stages_run(run_in("dvc repro", repro))
    assert {"train_gan", "generate", "filter_memorized", "train_downstream@gan_classic", "evaluate"} <= set(ran)
    assert not list((repro / "data/train_gan").iterdir())
    given, kept = (pq.read_table(path)["id"].to_pylist() for path in (made, repro / "data/evaluate/synthetic.parquet"))
    decisions = pd.read_parquet(repro / "data/filter_memorized/decisions.parquet")
    dropped = set(decisions[decisions["reason"] != ""]["id"])
    assert kept == [name for name in given if name not in dropped]
    assert "outside this pipeline (data/raw/made)" in (repro / "data/evaluate/README.md").read_text()
    assert stages_run(run_in("dvc repro", repro)) == []
