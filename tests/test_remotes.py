"""Shared work with DVC as docs/operate.md tells it: remotes, fresh clones, experiments, the run-cache.

One stage, `prepare`, stands for all: how DVC moves results does not depend on what made them.
"""

import csv
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY, copy_project, edit_params, read_params

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SECRET = "sesame" * 3  # not as it stands here: clones hold this file
IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
TABLE = "dvc exp show --no-pager --csv --drop '.*' --keep 'Experiment|State|prepare.seed'"


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """An S3-compatible server on this machine with a bucket `understudy`, as environment variables."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "team",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    login = {"aws_access_key_id": "team", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"], **login).create_bucket(Bucket="understudy")
    yield variables
    server.stop()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, run_in: Run) -> Path:
    """A committed project in which `prepare` has run."""
    folder = copy_project(tmp_path_factory.mktemp("team") / "a project")
    edit_params(folder, TINY)
    succeed(run_in("dvc repro prepare", folder))
    succeed(run_in("git add -A && git commit -qm prepared", folder, **IDENTITY))
    return folder


def succeed(result: "subprocess.CompletedProcess[str]") -> str:
    """Its standard output."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def clone(source: Path, target: Path, run_in: Run) -> Path:
    succeed(run_in(f"git clone --quiet '{source}' '{target}'", source.parent))
    return target


def test_a_fresh_clone_pulls_what_was_pushed_and_runs_nothing(prepared: Path, tmp_path: Path, run_in: Run) -> None:
    _through_a_remote(str(tmp_path / "the remote"), {}, prepared, tmp_path, run_in)


@pytest.mark.drill
def test_an_s3_server_does_as_well_and_no_file_holds_its_password(
    prepared: Path, bucket: dict[str, str], tmp_path: Path, run_in: Run
) -> None:
    _through_a_remote("s3://understudy/dvc", bucket, prepared, tmp_path, run_in)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def _through_a_remote(address: str, variables: dict[str, str], prepared: Path, tmp_path: Path, run_in: Run) -> None:
    shared = clone(prepared, tmp_path / "shared", run_in)
    succeed(run_in(f"dvc remote add --default team '{address}' && git commit -qam remote", shared, **IDENTITY))
    succeed(run_in(f"dvc cache dir --local '{prepared}/.dvc/cache'", shared))
    assert "pushed" in succeed(run_in("dvc push prepare", shared, **variables))
    colleague = clone(shared, tmp_path / "colleague", run_in)
    assert not (colleague / "data/prepare").exists()
    succeed(run_in("dvc pull prepare", colleague, **variables))
    said = succeed(run_in("dvc repro prepare", colleague, **variables))
    assert "Running stage" not in said
    assert "didn't change" in said
    for path in (prepared / "data/prepare").iterdir():
        assert (colleague / "data/prepare" / path.name).read_bytes() == path.read_bytes()
    assert not succeed(run_in("git status --porcelain", colleague))


@pytest.mark.drill
def test_experiments_are_run_queued_and_shown(prepared: Path, tmp_path: Path, run_in: Run) -> None:
    folder = clone(prepared, tmp_path / "trials", run_in)
    succeed(run_in(f"dvc cache dir --local '{prepared}/.dvc/cache' && dvc checkout prepare", folder))
    succeed(run_in("dvc exp run -S prepare.seed=1 --name now prepare", folder, **IDENTITY))
    assert read_params(folder)["prepare"]["seed"] == 1
    succeed(run_in("git checkout -q . && dvc checkout -q prepare", folder))
    succeed(run_in("dvc exp run --queue -S prepare.seed=2 --name later prepare", folder, **IDENTITY))
    succeed(run_in("dvc exp run --run-all", folder, **IDENTITY))
    assert read_params(folder)["prepare"]["seed"] == 0, "what is queued runs in a copy"
    header, *rows = csv.reader(succeed(run_in(TABLE, folder)).splitlines())
    assert {"Experiment", "State", "prepare.seed"} <= set(header)
    assert len(header) < 8, "a table that fits a screen"
    seeds = {row[header.index("Experiment")]: row[header.index("prepare.seed")] for row in rows}
    assert (seeds["now"], seeds["later"]) == ("1", "2")


@pytest.mark.drill
def test_a_run_that_the_run_cache_knows_is_checked_out_instead(prepared: Path, tmp_path: Path, run_in: Run) -> None:
    """Without dvc.lock, the run-cache alone knows the run."""
    folder = clone(prepared, tmp_path / "first", run_in)
    succeed(run_in(f"dvc cache dir --local '{tmp_path}/shared cache' && dvc repro prepare", folder))
    succeed(run_in("git rm --quiet --cached dvc.lock && git commit -qam 'no lock'", folder, **IDENTITY))
    colleague = clone(folder, tmp_path / "second", run_in)
    said = succeed(run_in(f"dvc cache dir --local '{tmp_path}/shared cache' && dvc repro prepare", colleague))
    assert "is cached" in said
    assert "Running stage" not in said
    for path in (folder / "data/prepare").iterdir():
        assert (colleague / "data/prepare" / path.name).read_bytes() == path.read_bytes()
