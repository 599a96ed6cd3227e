"""The container's files, as far as they can be checked without an engine."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) of the Dockerfile, continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line]


def of_kind(kind: str) -> list[str]:
    return [words for each, words in instructions() if each == kind]


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")  # of the lock, wherever PATH leads
    found = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)  # noqa: S603
    assert found.returncode == 0, found.stdout


def test_the_base_is_one_version_that_the_lock_was_made_for() -> None:
    (base,) = of_kind("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", base)
    assert "--python-version 3.11" in (ROOT / "Makefile").read_text()


def test_nothing_runs_as_root() -> None:
    kinds = [kind for kind, _ in instructions()]
    assert of_kind("USER") == ["1000"]
    assert kinds.index("USER") < kinds.index("COPY") < kinds.index("CMD")
    assert "sudo" not in DOCKERFILE


def test_packages_come_from_the_lock_by_the_rule_that_checks_hashes() -> None:
    built = [words for words in of_kind("RUN") if "make" in words.split()[:1]]
    assert built
    assert built[0].split()[:2] == ["make", ".venv/.installed"]
    assert not re.search(r"\b(conda|mamba|pip install|curl|wget)\b", DOCKERFILE)
    copied = of_kind("COPY")[0].split()
    assert {"requirements.lock", "Makefile"} <= set(copied)


def test_what_is_copied_exists() -> None:
    for words in of_kind("COPY"):
        *sources, _ = [word for word in words.split() if not word.startswith("--")]
        assert sources
        assert all((ROOT / source).exists() for source in sources)


def test_only_what_is_named_goes_into_the_image() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    named = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    secret = {".git", ".dvc", ".dvc/config.local", ".env", "data", "data/raw", "mlflow.db", "mlartifacts", ".work"}
    assert not named & secret
    assert {"stages", "tests", "presets", "params.yaml", "dvc.yaml", "dvc.lock", "Makefile"} <= named
    assert all((ROOT / name).exists() for name in named)


def test_the_development_container_uses_the_same_image() -> None:
    folder = ROOT / ".devcontainer"
    settings = json.loads((folder / "devcontainer.json").read_text())
    known = {"name", "build", "remoteUser", "workspaceMount", "workspaceFolder", "mounts", "postCreateCommand"}
    assert set(settings) <= known | {"customizations"}
    assert (folder / settings["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / settings["build"]["context"]).resolve() == ROOT
    assert f"useradd --create-home --uid 1000 {settings['remoteUser']} " in " ".join(of_kind("RUN"))
    assert of_kind("WORKDIR") == [settings["workspaceFolder"]]
    (volume,) = settings["mounts"]
    assert f"target={Path(settings['workspaceFolder'], '.venv')}" in volume.split(",")
