"""Folders are the unit of dependency: dvc.yaml names all that a stage's code is in, and imports go one way."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.downstream.params import TrainDownstreamParams
from stages.generators.params import KINDS, TrainGanParams
from stages.plumbing import code

ROOT = Path(__file__).parents[2]
# Beside these, all may import plumbing.errors and schemas. What reads many images to disk knows how they lie there.
MAY_IMPORT = {
    "imaging": (),
    "labelling": ("imaging",),
    "sources": ("imaging", "plumbing.images", "plumbing.parts", "plumbing.dataset", "plumbing.parallel"),
    "generators": ("labelling", "imaging"),
    "memorization": ("imaging",),
    "imputation": ("generators", "imaging"),
    "downstream": ("labelling", "imaging"),
    "comparison": ("downstream", "memorization", "imaging"),
    "plumbing": ("plumbing",),
}


def dvc_stages() -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]


def code_of(stage: str, **template: str) -> list[Path]:
    """What dvc.yaml names of the stage's code, with its templates filled in."""
    definition = dvc_stages()[stage]
    deps = [str(dep) for dep in definition.get("do", definition)["deps"]]
    for name, value in template.items():
        deps = [dep.replace("${" + name.replace("__", ".") + "}", value) for dep in deps]
    return [Path(dep) for dep in deps if dep.startswith("stages/")]


def runs() -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Stages with the kinds that they may be of, and the files of these kinds."""
    for kind in (path.stem for path in sorted((ROOT / "stages/sources/kinds").glob("[a-z]*.py"))):
        further = {f"prepare__{name}__source__kind": "none" for name in ("shift", "other_classes")}
        kinds = {"prepare__source__kind": kind, **further}
        yield "prepare", kinds, [f"sources/kinds/{kind}", "sources/kinds/none"]
    for stage in ("train_gan", "generate"):
        for kind in KINDS:
            yield stage, {"item__kind": kind}, [f"generators/kinds/{kind}"]
    yield from ((stage, {}, []) for stage in ("filter_memorized", "train_downstream", "evaluate"))


@pytest.mark.parametrize(("stage", "template", "kinds"), list(runs()))
def test_dvc_yaml_names_all_folders_that_the_stage_imports_from_and_no_other(
    stage: str, template: dict[str, str], kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    named = code_of(stage, **template)
    imported = code.closure(Path(f"stages/{stage}.py"), *(Path(f"stages/{kind}.py") for kind in kinds))
    assert all(path.exists() for path in named)

    def covers(place: Path, file: Path) -> bool:
        """As .dvcignore has it, no folder holds its kinds."""
        return place == file or (file.is_relative_to(place) and "kinds" not in file.relative_to(place).parts)

    uncovered = [
        str(file) for file in imported if not any(covers(place, file) for place in named) and file.name != "__init__.py"
    ]
    assert uncovered == []
    assert [str(place) for place in named if not any(covers(place, file) for file in imported)] == []


def test_the_ignored_parts_of_folders_are_schemas_and_kinds_alone() -> None:
    ignored = {line for line in (ROOT / ".dvcignore").read_text().splitlines() if line.startswith("/")}
    assert ignored == {"/stages/*/params.py", "/stages/*/kinds"}


@pytest.mark.parametrize("noun", MAY_IMPORT)
def test_imports_go_one_way(noun: str) -> None:
    wrong = []
    for path in sorted((ROOT / "stages" / noun).rglob("*.py")):
        for module in _imported(path):
            package = module.removeprefix("stages.")
            own = package == noun or package.startswith(f"{noun}.")
            schema = package.endswith(".params") and not package.startswith("plumbing")
            allowed = any(package == each or package.startswith(f"{each}.") for each in MAY_IMPORT[noun])
            if not (own or schema or allowed or package == "plumbing.errors"):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def _imported(path: Path) -> Iterator[str]:
    """Modules of the project that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stages."):
            for alias in node.names:
                inner = ROOT / Path(*node.module.split("."), f"{alias.name}.py")
                yield f"{node.module}.{alias.name}" if inner.is_file() else node.module


def test_nothing_but_scripts_imports_tracking() -> None:
    importing = [
        path.relative_to(ROOT / "stages")
        for path in (ROOT / "stages").rglob("*.py")
        if any(module.startswith("stages.tracking") for module in _imported(path))
    ]
    assert {path.parts[0] for path in importing} == {"tracking", "train_gan.py", "evaluate.py"}


@pytest.mark.parametrize("registry", ["sources", "generators"])
def test_no_kind_imports_another(registry: str) -> None:
    for path in sorted((ROOT / f"stages/{registry}/kinds").glob("*.py")):
        assert [module for module in _imported(path) if f".{registry}.kinds" in module] == []


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


def test_stages_depend_on_every_parameter_of_their_sections() -> None:
    arms = dvc_stages()["train_downstream"]["do"]
    fields = {f"train_downstream.{name}" for name in TrainDownstreamParams.model_fields if name != "arms"}
    assert set(arms["params"]) == fields | {"train_downstream.arms.${key}"}
    generators = dvc_stages()["train_gan"]["do"]
    fields = {f"train_gan.{name}" for name in TrainGanParams.model_fields if name != "generators"}
    assert set(generators["params"]) == fields | {"train_gan.generators.${key}"}
