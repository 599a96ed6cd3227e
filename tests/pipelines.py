"""What tests of the whole pipeline ask DVC."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Run = Callable[..., "CompletedProcess[str]"]


def stages_run(result: "CompletedProcess[str]") -> list[str]:
    """The stages that `dvc repro` ran, in order."""
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in lines]


def stale(folder: Path, run_in: Run) -> set[str]:
    """The stages that DVC would run because something they depend on directly has changed."""
    return set(stages_run(run_in("dvc repro --dry", folder)))
