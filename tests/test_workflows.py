import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, copy_project

FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))
STALE = ROOT / ".ci/stale"
TWO_STAGES = """\
stages:
  first:
    cmd: cat source.txt > first.txt
    deps: [source.txt]
    outs: [first.txt]
  second:
    cmd: cat first.txt > second.txt
    deps: [first.txt]
    outs: [second.txt]
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in YAML(typ="safe", pure=True).load(workflow.read_text())["jobs"].values():
        yield from job["steps"]


def test_workflows_follow_githubs_schema(run_in: Run) -> None:
    names = " ".join(str(file.relative_to(ROOT)) for file in FILES)
    done = run_in(f"check-jsonschema --builtin-schema vendor.github-workflows {names}", ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_tokens_may_do_the_least_and_secrets_come_by_the_environment(file: Path) -> None:
    workflow = YAML(typ="safe", pure=True).load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "env" not in job
        if "permissions" in job:
            assert job["permissions"] in ({"pull-requests": "write"}, {"pages": "write", "id-token": "write"})
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])
    for step in steps(file):
        assert "${{" not in step.get("run", ""), "a value from outside would be part of the script"
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_actions_are_pinned_by_one_commit_whose_version_stands_beside() -> None:
    used = {
        line.split("uses:")[1].strip() for file in FILES for line in file.read_text().splitlines() if "uses:" in line
    }
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used), used
    assert len({each.partition("@")[0] for each in used}) == len(used)


def test_one_workflow_runs_the_pipeline_and_one_environment_is_kept_for_all() -> None:
    assert [file.stem for file in FILES for step in steps(file) if "make repro" in step.get("run", "")] == ["pipeline"]
    kept = [step["with"] for file in FILES for step in steps(file) if "actions/cache" in step.get("uses", "")]
    assert [each["path"] for each in kept] == [".venv", ".venv"]
    assert kept[0] == kept[1]


def test_the_page_has_every_command_of_the_pipeline() -> None:
    page = (ROOT / "docs/ci.md").read_text()
    lines = [line for file in FILES for step in steps(file) for line in step.get("run", "").splitlines()]
    commands = r"\.ci/\w+|dvc (?:pull|push)[ a-z-]*|make \w+|python -m stages\.\w+|pipx run .*"
    found = {match.strip() for line in lines for match in re.findall(commands, line)}
    assert {".ci/stale", ".ci/report", "dvc pull --allow-missing", "dvc push", "python -m stages.gate"} <= found
    assert found <= {command for command in found if command in page}
    for script in {command for command in found if command.startswith(".ci/")}:
        assert os.access(ROOT / script, os.X_OK)


def test_the_site_is_built_by_one_version_here_and_there() -> None:
    makefile, workflow = (ROOT / name for name in ("Makefile", ".github/workflows/docs.yaml"))
    versions = {re.findall(r"mkdocs-material==([\d.]+)", file.read_text())[0] for file in (makefile, workflow)}
    assert len(versions) == 1


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory: pytest.TempPathFactory, run_in: Run) -> Path:
    """A DVC repository of two stages that have run."""
    folder = tmp_path_factory.mktemp("two stages")
    (folder / "dvc.yaml").write_text(TWO_STAGES)
    (folder / "source.txt").write_text("1")
    assert run_in("git init --quiet && dvc init --quiet && dvc repro", folder).returncode == 0
    return folder


@pytest.fixture
def repository(two_stages: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two_stages, tmp_path / "repository")


def forget_data(folder: Path) -> None:
    """As in a clone."""
    shutil.rmtree(folder / ".dvc/cache")
    for name in ("first.txt", "second.txt"):
        (folder / name).unlink()


def edit(folder: Path, name: str) -> None:
    """Changes the command of one stage."""
    text = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(text.replace(f"> {name}.txt", f"> {name}.txt; true"))


@pytest.mark.parametrize("clone", [False, True])
def test_nothing_is_stale_after_a_run_with_or_without_its_data(repository: Path, run_in: Run, clone: bool) -> None:
    if clone:
        forget_data(repository)
    before = (repository / "dvc.lock").read_bytes()
    done = run_in(shlex.quote(str(STALE)), repository)
    assert (done.returncode, done.stdout) == (0, "")
    assert "none" in done.stderr
    assert (repository / "dvc.lock").read_bytes() == before


@pytest.mark.parametrize("clone", [False, True])
def test_stages_that_changed_are_stale_with_or_without_their_data(repository: Path, run_in: Run, clone: bool) -> None:
    if clone:
        forget_data(repository)
    edit(repository, "second")
    assert run_in(shlex.quote(str(STALE)), repository).stdout == "second\n"
    (repository / "source.txt").write_text("2")
    done = run_in(shlex.quote(str(STALE)), repository)
    assert (done.returncode, done.stdout.split()) == (0, ["first", "second"])


def test_a_lost_lock_makes_every_stage_stale(repository: Path, run_in: Run) -> None:
    forget_data(repository)
    (repository / "dvc.lock").unlink()
    assert run_in(shlex.quote(str(STALE)), repository).stdout.split()[0] == "first"


def test_where_dvc_cannot_tell_it_says_why(repository: Path, run_in: Run) -> None:
    (repository / "dvc.yaml").write_text("stages: {first: {comand: echo}}")
    done = run_in(shlex.quote(str(STALE)), repository)
    assert (done.returncode, done.stdout) == (1, "")
    assert "dvc.yaml" in done.stderr


def test_the_report_shows_answers_gate_and_what_changed_since_a_revision(tmp_path: Path, run_in: Run) -> None:
    project = copy_project(tmp_path / "a project")
    metrics = project / "metrics"
    filtered = metrics / "filter_memorized/gan.json"
    filtered.parent.mkdir(parents=True)
    (filtered.parent / "gaussian.json").write_text('{"dropped_share": 0.5}')
    filtered.write_text('{"dropped_share": 0.25}')
    (metrics / "evaluate.json").write_text(
        '{"answers": {"augment": {"answer": "Not decided", "sentence": "Too few."}}}'
    )
    summary = metrics / "evaluate_summary.json"
    summary.write_text('{"copy": 25.0}')
    commit = "git -c user.name=a -c user.email=b commit --quiet --message metrics"
    assert run_in(f"git add . && {commit}", project).returncode == 0
    filtered.write_text('{"dropped_share": 0.125}')
    summary.write_text('{"copy": 12.5}')
    done = run_in("bash .ci/report HEAD^", project)  # which the first commit has not
    assert done.returncode == 0, done.stderr
    assert "**Not decided.** Too few." in done.stdout
    assert "greatest_copy_rate: share of the images of gan dropped as copies: 0.125, demanded" in done.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
    assert ["metrics/evaluate_summary.json", "copy", "25.0", "12.5", "-12.5"] in rows
