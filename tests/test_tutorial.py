"""What docs/tutorial.md lets a reader type works, and shows what the page says."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import stages.prepare
from stages import presets
from stages.comparison.wording import QUESTIONS
from stages.plumbing.stage import execute
from tests.conftest import ROOT, copy_project

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


def block(step: int, language: str) -> list[str]:
    """The lines of a step's block: `sh` is typed, `text` is shown."""
    (found,) = re.findall(rf"^## {step}\. [^#]*?^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found.splitlines()


def recipe(command: str) -> list[str]:
    """The words of the one command that a call of make stands for, where everything is installed."""
    words = [*shlex.split(command), "--dry-run", "--no-print-directory", "--old-file=.venv/.installed"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return shlex.split(printed.replace("\\\n", ""))


def test_the_first_steps_show_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("stages", "presets"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data/raw/none").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert block(1, "sh") == ["make install", ".venv/bin/python docs/tutorial_images.py"]
    runpy.run_path(str(ROOT / "docs/tutorial_images.py"), run_name="__main__")
    (typed,) = block(2, "sh")
    python, _, module, *words = recipe(typed)
    assert (python, module) == ("python", "stages.presets")
    monkeypatch.setattr(sys, "argv", ["presets", *words])
    presets.main()
    assert set(block(2, "text")) <= set(capsys.readouterr().out.splitlines())
    execute("prepare", stages.prepare.main)
    assert set(block(3, "text")) <= set(capsys.readouterr().out.splitlines())


@pytest.mark.drill
def test_the_quick_run_ends_with_three_answers_and_a_report(
    tmp_path: Path, run_in: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    project = copy_project(tmp_path / "a project")
    (project / "params.yaml").unlink()  # a clone's is committed, so that a preset may overwrite it
    commands = [line for step in (1, 2, 3) for line in block(step, "sh")]
    here = [re.sub(r"^make ", "make --old-file=.venv/.installed ", line) for line in commands]
    done = run_in(" && ".join(here).replace(".venv/bin/python", "python"), project)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout.splitlines()
    assert set(block(3, "text")) <= set(shown)
    assert all(any(line.startswith(question) for line in shown) for question in QUESTIONS.values())
    assert (project / "metrics/report.html").is_file()
