"""The pipeline as people use it: `dvc` commands that change a finished project, in this order."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import ARMS_OF_GAN, TINY, copy_of, edit_params, read_params
from tests.pipelines import Run, stages_run

STEPS = "train_gan.generators.gan.steps"


@pytest.fixture(scope="module")
def repro(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished project, for all tests below."""
    return copy_of(finished, tmp_path_factory.mktemp("runs") / "a project")


def test_tracking_again_changes_nothing_and_fills_a_lost_store(repro: Path, run_in: Run) -> None:
    def count() -> tuple[int, ...]:
        with sqlite3.connect(f"file:{repro}/mlflow.db?mode=ro", uri=True) as store:
            tables = ("runs", "metrics", "params", "tags", "model_versions")
            return tuple(store.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)  # noqa: S608

    before = count()
    assert run_in("python -m stages.tracking", repro).returncode == 0
    assert count() == before
    for path in repro.glob("mlflow.db*"):
        path.unlink()
    assert run_in("python -m stages.tracking", repro).returncode == 0
    assert count()[0] == before[0]


def test_changing_the_gan_reruns_no_baseline_arm_and_no_other_generator(repro: Path, run_in: Run) -> None:
    edit_params(repro, {STEPS: 21})
    ran = stages_run(run_in("dvc repro", repro))
    own = [f"{stage}@gan" for stage in ("train_gan", "generate", "filter_memorized")]
    assert sorted(ran) == sorted([*own, *(f"train_downstream@{arm}" for arm in ARMS_OF_GAN), "evaluate"])


def test_what_was_seen_before_comes_back_and_what_was_removed_goes_and_nothing_is_trained(
    repro: Path, run_in: Run
) -> None:
    metrics = repro / "metrics/train_gan/gan.json"
    after = metrics.read_bytes()
    params = read_params(repro)
    arms, generators = params["train_downstream"]["arms"], params["train_gan"]["generators"]
    for arm in ("synthetic_only", "gaussian_only"):
        del arms[arm]
    del generators["gaussian"]
    changes = {"train_downstream.arms": arms, "train_gan.generators": generators}
    edit_params(repro, changes | {"evaluate.stand_in.arms": [], STEPS: TINY[STEPS]})
    assert stages_run(run_in("dvc repro", repro)) == ["evaluate"]
    assert metrics.read_bytes() != after
    assert not list((repro / "data/train_downstream").glob("*_only"))
    assert [path for path in repro.rglob("*gaussian*") if path.relative_to(repro).parts[0] in ("data", "metrics")] == []
    assert set(json.loads((repro / "metrics/evaluate.json").read_text())["arms"]).isdisjoint({"synthetic_only"})
    assert stages_run(run_in("dvc repro", repro)) == []
    edit_params(repro, {STEPS: 21})
    assert stages_run(run_in("dvc repro train_gan@gan", repro)) == []
    assert metrics.read_bytes() == after


def test_metrics_plots_and_experiments_of_dvc_work(repro: Path, run_in: Run) -> None:
    shown = run_in("dvc metrics show", repro).stdout
    assert shown.splitlines()[1].startswith("metrics/evaluate_summary.json ")
    assert len(shown.splitlines()) == 2, "a table of one row"
    assert max(map(len, shown.splitlines())) <= 100
    assert "train_gan@gan" in run_in("dvc dag --dot", repro).stdout
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    committed = run_in("git add -A && git commit -qm reproduced", repro, **identity)
    assert committed.returncode == 0, committed.stderr
    assert run_in("dvc metrics diff", repro).returncode == 0
    plots = run_in("dvc plots show", repro)
    assert plots.returncode == 0, plots.stderr
    assert (repro / "dvc_plots/index.html").is_file()
    trial = run_in(f"dvc exp run --temp -S {STEPS}=22 train_gan@gan", repro, **identity)
    assert trial.returncode == 0, trial.stdout + trial.stderr
    assert read_params(repro)["train_gan"]["generators"]["gan"]["steps"] == 21
    with sqlite3.connect(f"file:{repro}/mlflow.db?mode=ro", uri=True) as store:
        steps = store.execute("select value from params where key like '%steps' and value = '22'").fetchall()
    assert steps


def test_a_further_replicate_trains_only_itself_and_a_dead_server_is_only_a_warning(repro: Path, run_in: Run) -> None:
    before = {path: path.read_bytes() for path in (repro / "data/train_gan").rglob("*.safetensors")}
    stamps = {path.name: path.stat().st_mtime_ns for path in (repro / ".work/train_gan@gan").iterdir()}
    edit_params(repro, {"prepare.replicates": 3})
    result = run_in("dvc repro train_gan@gan", repro, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert stages_run(result) == ["prepare", "train_gan@gan"]
    assert "MLflow" in result.stderr
    assert "prepare: removed metrics/report.html" in result.stdout
    assert {path.name for path in (repro / "metrics").iterdir()} == {"prepare.json", "train_gan"}, (
        "all else was about others"
    )
    assert all(path.read_bytes() == content for path, content in before.items())
    after = {path.name: path.stat().st_mtime_ns for path in (repro / ".work/train_gan@gan").iterdir()}
    assert len(after) == 3
    assert stamps.items() <= after.items()
