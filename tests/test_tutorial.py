"""What docs/tutorial.md lets a reader type works, and shows what the page says."""

import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from stages.comparison.wording import QUESTIONS
from tests.conftest import ROOT, copy_project

Run = Callable[..., "CompletedProcess[str]"]
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


def typed(step: int) -> list[str]:
    """The commands of a step, for the environment that is there."""
    (block,) = re.findall(rf"^## {step}\. [^#]*?^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    commands = [line.replace(".venv/bin/python", "python") for line in block.splitlines()]
    return [re.sub(r"^make ", "make -o .venv/.installed ", command) for command in commands]


def shown(step: int) -> set[str]:
    """The lines that a step shows."""
    (block,) = re.findall(rf"^## {step}\. [^#]*?^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return set(block.splitlines())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As a clone, but without a params.yaml that a preset would not overwrite."""
    folder = copy_project(tmp_path / "a project")
    (folder / "params.yaml").unlink()
    return folder


def said(run_in: Run, project: Path, commands: list[str]) -> set[str]:
    """What the commands print, line by line."""
    done = run_in(" && ".join(commands), project)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.split(r"[\r\n]+", done.stdout + done.stderr))


def test_the_first_steps_show_what_the_page_says(run_in: Run, project: Path) -> None:
    assert shown(2) <= said(run_in, project, typed(1) + typed(2))
    assert shown(3) <= said(run_in, project, ["python -m stages.prepare"])


@pytest.mark.drill
def test_the_quick_run_ends_with_three_answers_and_a_report(run_in: Run, project: Path) -> None:
    found = said(run_in, project, typed(1) + typed(2) + typed(3))
    assert shown(3) <= found
    assert all(any(line.startswith(question) for line in found) for question in QUESTIONS.values())
    assert (project / "metrics/report.html").is_file()
