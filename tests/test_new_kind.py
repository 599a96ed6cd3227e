"""The guide's new generator is one file and one line: it trains, draws and is tested like all others, whose code it
leaves as it was."""

import re
import shutil
from pathlib import Path

import pytest

from stages.plumbing import code
from tests.conftest import ROOT
from tests.pipelines import Run
from tests.test_docs import apply_diff, blocks

KIND = "concatenation"
FILE = Path(f"stages/generators/kinds/{KIND}.py")
SCHEMA = Path("stages/generators/params.py")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, and the tests of generators, with what the guide's section on a new generator shows."""
    folder = tmp_path_factory.mktemp("new kind")
    for name in ("stages", "tests/generators", "tests/labelling"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/conftest.py", "tests/fork_server.py"):
        shutil.copy(ROOT / name, folder / name)
    (diff,) = (block for block in blocks(ROOT / "docs/contributing.md", "diff") if str(FILE) in block)
    apply_diff(diff, folder)
    return folder


def sources(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in (folder / "stages").rglob("*.py")}


def test_it_is_one_new_file_and_one_line_of_the_schema(extended: Path) -> None:
    before, after = sources(ROOT), sources(extended)
    assert after.keys() - before.keys() == {FILE}
    assert {path for path in before if after[path] != before[path]} == {SCHEMA}
    old, new = (each[SCHEMA].splitlines() for each in (before, after))
    assert len(new) == len(old) + 1
    assert [line for line in new if line in old] == old


@pytest.mark.parametrize("stage", ["train_gan", "generate"])
def test_no_other_generator_is_made_again(extended: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """A stage's code is its script's import closure and the one kind in use."""

    def digest(folder: Path, kind: str) -> str:
        monkeypatch.chdir(folder)
        return code.digest(code.closure(Path(f"stages/{stage}.py"), Path(f"stages/generators/kinds/{kind}.py")))

    assert digest(extended, "projection") == digest(ROOT, "projection")
    monkeypatch.chdir(extended)
    assert FILE in code.closure(Path(f"stages/{stage}.py"), FILE)
    assert FILE not in code.closure(Path(f"stages/{stage}.py"), Path("stages/generators/kinds/projection.py"))


def test_dvc_finds_its_file_by_the_kind_in_use_and_passes_over_all_others(extended: Path) -> None:
    assert "stages/generators/kinds/${item.kind}.py" in (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert {"/stages/*/kinds", "/stages/*/params.py"} <= set((ROOT / ".dvcignore").read_text().splitlines())
    assert (extended / FILE).is_file()


def test_all_tests_of_every_kind_hold_for_it(extended: Path, run_in: Run) -> None:
    """They read a section of it, train it, save it, open it again, draw from it and judge by it."""
    tests = [f"tests/generators/test_{name}.py" for name in ("kinds", "params")]
    done = run_in(f"python -m pytest -q -p no:cacheprovider -k {KIND} {' '.join(tests)}", extended)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 15
