from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.downstream.params import TrainDownstreamParams
from stages.plumbing import code

ROOT = Path(__file__).parents[2]
STAGES = ["prepare", "train_gan", "generate", "filter_memorized", "train_downstream", "evaluate"]


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_every_file_that_the_stage_can_import_and_no_other(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    definition = YAML(typ="safe", pure=True).load(Path("dvc.yaml").read_text())["stages"][stage]
    listed = {dep for dep in definition.get("do", definition)["deps"] if dep.startswith("stages/")}
    imported = {str(path) for path in code.closure(Path(f"stages/{stage}.py"))}
    assert sorted(listed) == sorted(imported)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "stages/__init__.py": "",
        "stages/verb.py": "from stages.noun import thing\nimport os\n",
        "stages/noun/__init__.py": "",
        "stages/noun/thing.py": "TEMPLATE = 'page.html.j2'\ndef f():\n    import stages.noun.lazy\n",
        "stages/noun/lazy.py": "from stages.noun.params import Schema\n",
        "stages/noun/params.py": "from stages.noun import behind\n",
        "stages/noun/behind.py": "x = 0\n",
        "stages/noun/unrelated.py": "x = 0\n",
        "stages/noun/page.html.j2": "<html>",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


@pytest.mark.usefixtures("package")
def test_closure_follows_lazy_imports_packages_and_templates_but_nothing_exempt() -> None:
    found = [str(path) for path in code.closure(Path("stages/verb.py"))]
    assert found == [
        "stages/noun/lazy.py",
        "stages/noun/page.html.j2",
        "stages/noun/thing.py",
        "stages/verb.py",
    ]


@pytest.mark.usefixtures("package")
def test_digest_changes_with_any_edit_and_with_nothing_else() -> None:
    paths = code.closure(Path("stages/verb.py"), whole=True)
    before = code.digest(paths)
    Path("stages/noun/unrelated.py").write_text("x = 1\n")
    assert code.digest(paths) == before
    Path("stages/noun/behind.py").write_text("x = 1\n")
    assert code.digest(paths) != before


def test_an_arm_depends_on_every_parameter_of_its_section() -> None:
    stage = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]["train_downstream"]["do"]
    fields = {f"train_downstream.{name}" for name in TrainDownstreamParams.model_fields if name != "arms"}
    assert set(stage["params"]) == fields | {"train_downstream.arms.${key}"}
