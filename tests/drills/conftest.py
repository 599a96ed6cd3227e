"""The projects of the drills, each run undisturbed once; a drill works in a copy."""

from pathlib import Path

import pytest

from tests.drills.exercise import modest_project, run


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one replicate in which the cheap stages have run: `prepare`, and `train_downstream` for one arm."""
    folder = modest_project(tmp_path_factory.mktemp("begun") / "a project", {"prepare.replicates": 1})
    run("dvc repro train_downstream@classic", folder)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which `dvc repro` has run."""
    folder = modest_project(tmp_path_factory.mktemp("whole") / "a project")
    run("dvc repro", folder)
    return folder
