"""What the pipeline leaves behind: artifacts, numbers, runs in MLflow."""

import json
import sqlite3
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from stages.comparison.release import manifest
from stages.imaging import marks
from tests.conftest import ARMS_OF_GAN, BASELINES, KEPT_ARMS
from tests.pipelines import Run

GENERATORS = ("gan", "gaussian")
KINDS_OF = {"gan": "projection", "gaussian": "gaussian"}


def test_every_artifact_of_the_design_is_there(finished: Path) -> None:
    data = finished / "data"
    prepared = {"images.parquet", "roles.parquet", "findings.parquet", "dataset.json"}
    assert {path.name for path in (data / "prepare").iterdir()} == prepared
    for generator in GENERATORS:
        for replicate in ("0", "1"):
            made = {path.name for path in (data / "train_gan" / generator / replicate).iterdir()}
            assert {"plan.json", "weights.safetensors", "history.json"} <= made
            for stage in ("generate", "filter_memorized"):
                assert (data / stage / generator / f"{replicate}.parquet").is_file()
        assert (data / "filter_memorized" / generator / "decisions.parquet").is_file()
        synthetic = pq.read_table(data / f"evaluate/synthetic/{generator}.parquet")
        assert synthetic.num_rows > 0
        assert set(synthetic["generator"].to_pylist()) == {generator}
        assert all(synthetic["synthetic"].to_pylist())
        mark = marks.of_table(synthetic)
        run = json.loads((data / "evaluate/run.json").read_text())["fingerprint"]
        assert mark == marks.Mark(manifest(generator, KINDS_OF[generator], run), is_sound=True)
    for arm in KEPT_ARMS:
        assert all((data / "train_downstream" / arm / f"{replicate}.safetensors").is_file() for replicate in "01")
        models = pq.read_table(data / "train_downstream" / arm / "models.parquet").to_pandas()
        assert models.groupby(["classifier", "replicate"]).size().to_dict() == {
            ("nearest_neighbours", replicate): 899 for replicate in (0, 1)
        }
    assert (data / "evaluate/README.md").read_text().startswith("---\n")
    assert "</html>" in (finished / "metrics/report.html").read_text()


def test_the_numbers_have_the_form_of_the_design(finished: Path) -> None:
    numbers = json.loads((finished / "metrics/evaluate.json").read_text())
    assert set(numbers["arms"]) == set(KEPT_ARMS)
    for arm in ARMS_OF_GAN:
        for rival in BASELINES:
            assert {"mean", "low", "high"} == set(numbers["differences"][arm][rival]["accuracy"])
    for question in ("augment", "stand_in"):
        for rivals in numbers["answers"][question]["arms"].values():
            assert set(rivals["rivals"]) == set(BASELINES)
            assert all({"mean", "low", "high", "p", "p_holm"} <= set(each) for each in rivals["rivals"].values())
    assert set(numbers["models"]) == {"network", "nearest_neighbours"}
    assert set(numbers["fidelity"]) == set(GENERATORS)
    assert set(numbers["fidelity"]["gan"]["classes"]) == {str(digit) for digit in range(10)}
    assert set(numbers["per_class"]) == {*ARMS_OF_GAN, "gaussian_only", *BASELINES}
    assert 0 <= numbers["arms"]["classic"]["calibration_error"]["mean"] <= 1
    assert set(numbers["answers"]) == {"augment", "stand_in", "leak"}
    scores = pd.read_csv(finished / "metrics/scores.csv")
    for arm, measures in numbers["arms"].items():
        assert measures["accuracy"]["mean"] == pytest.approx(scores[scores["arm"] == arm]["accuracy"].mean())
    for generator in GENERATORS:
        memorized = json.loads((finished / f"metrics/filter_memorized/{generator}.json").read_text())
        dropped = sum(each["dropped"] for each in memorized["classes"].values())
        assert dropped == memorized["dropped"]
        kept = pq.read_metadata(finished / f"data/evaluate/synthetic/{generator}.parquet").num_rows
        assert kept == memorized["generated"] - memorized["dropped"]


def test_what_the_gan_adds_to_the_gaussian_it_starts_from_is_told(finished: Path) -> None:
    numbers = json.loads((finished / "metrics/evaluate.json").read_text())
    scores = pd.read_csv(finished / "metrics/scores.csv").pivot(index="replicate", columns="arm", values="accuracy")
    difference = (scores["synthetic_only"] - scores["gaussian_only"]).mean()
    assert numbers["controls"]["synthetic_only"]["gaussian_only"]["accuracy"]["mean"] == pytest.approx(difference)


def test_nothing_killed_or_half_written_lies_about(finished: Path, run_in: Run) -> None:
    assert not list(finished.rglob("*.partial"))
    untracked = run_in("git status --porcelain --untracked-files=all", finished).stdout
    assert "data/train_gan" not in untracked
    assert ".work" not in untracked
    assert "mlflow.db" not in untracked


def test_mlflow_shows_the_comparison_its_children_and_the_generators(finished: Path) -> None:
    with sqlite3.connect(f"file:{finished}/mlflow.db?mode=ro", uri=True) as store:
        shown = dict(store.execute("select run_uuid, name from runs where lifecycle_stage = 'active'").fetchall())
        runs, parents = (
            dict(store.execute("select run_uuid, value from tags where key = ?", [key]).fetchall())
            for key in ("understudy.run", "mlflow.parentRunId")
        )
        statuses = {status for (status,) in store.execute("select status from runs").fetchall()}
        models = store.execute("select name, version from model_versions").fetchall()
        metrics = store.execute("select run_uuid, key from latest_metrics").fetchall()
    assert {(runs[parent], runs[child]) for child, parent in parents.items()} == {
        *(("comparison", f"{arm}/{replicate}") for arm in KEPT_ARMS for replicate in (0, 1)),
        *((f"train_gan/{name}", f"train_gan/{name}/{replicate}") for name in GENERATORS for replicate in (0, 1)),
    }
    assert statuses == {"FINISHED"}
    assert [name for name, _ in models] == ["understudy-classifier-digits"]
    answer = json.loads((finished / "metrics/evaluate.json").read_text())["answers"]["augment"]["answer"]
    generators = [f"digits: generator {name}" for name in GENERATORS]
    assert sorted(shown[run] for run in runs if run not in parents) == sorted(
        [f"digits: {answer[0].lower()}{answer[1:]}", *generators]
    )
    on_top = {key for run, key in metrics if runs[run] == "comparison" and "/" not in key}
    assert on_top == json.loads((finished / "metrics/evaluate_summary.json").read_text()).keys()
