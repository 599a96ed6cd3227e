"""The documents keep up with the project: what they link to, name and show exists and works."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.comparison.wording import QUESTIONS
from stages.downstream.params import ArmParams
from stages.generators.params import KINDS, TrainGanParams
from stages.plumbing import params
from tests.conftest import ROOT, copy_project

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """What GitHub lets one link to: its headings in lower case, without punctuation, spaces as hyphens."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert lost == []


def _runs(module: str) -> bool:
    """Whether `python -m` finds it: a file or package of ours, or an installed one."""
    if module.startswith(("stages", "benchmarks")):
        place = ROOT / module.replace(".", "/")
        return place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
    return importlib.util.find_spec(module) is not None


@every_page
def test_every_module_to_run_exists(page: Path) -> None:
    named = set(re.findall(r"python3? -m (\w+(?:\.\w+)*)", page.read_text(encoding="utf-8")))
    assert [module for module in named if module == module.lower() and not _runs(module)] == []  # NAME stands for any


@every_page
def test_no_line_names_a_place_on_some_machine(page: Path) -> None:
    places = re.compile(r"(?<![\w./])/(?:home|root|work|Users|tmp)/|\b[A-Z]:\\")
    assert [line for line in page.read_text(encoding="utf-8").splitlines() if places.search(line)] == []


def _arms(page: Path) -> Iterator[tuple[str, Any]]:
    """Name and fields of each arm that a YAML block of the page shows."""
    for block in blocks(page, "yaml"):
        shown = YAML(typ="safe", pure=True).load(dedent(block))
        for name, fields in shown.items() if isinstance(shown, dict) else ():
            if isinstance(fields, dict) and "settings" in fields:
                yield name, fields


def test_every_arm_shown_can_be_pasted() -> None:
    shown = [arm for page in PAGES for arm in _arms(page)]
    for name, fields in shown:
        ArmParams.model_validate(fields)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert {"mixup", "gan_balanced", "shuffled_labels"} <= {name for name, _ in shown}


def test_every_generator_shown_can_be_pasted() -> None:
    shown = {
        name: fields
        for page in PAGES
        for block in blocks(page, "yaml")
        for name, fields in (YAML(typ="safe", pure=True).load(dedent(block)) or {}).items()
        if isinstance(fields, dict) and fields.get("kind") in KINDS
    }
    TrainGanParams.model_validate({"seed": 0, "device": "cpu", "deterministic": False, "generators": shown})
    assert {fields["kind"] for fields in shown.values()} == KINDS.keys() - {"projection"}, "params.yaml has that one"


def test_the_page_on_gans_says_of_each_kind_what_it_is() -> None:
    page = (ROOT / "docs/gan.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)`(?: \(default\))? \| (.*?) \|", page, re.MULTILINE)[: len(KINDS)] == [
        (name, words) for name, (_, words) in KINDS.items()
    ]


def test_the_guide_to_the_report_speaks_of_every_section_in_its_order() -> None:
    template = (ROOT / "stages/comparison/report.html.j2").read_text(encoding="utf-8")
    sections = re.findall(r"<h2>(.*?)</h2>", template)
    for name, question in QUESTIONS.items():
        sections = [section.replace(f"{{{{ wording.QUESTIONS.{name} }}}}", question) for section in sections]
    headings = re.findall(r"^## (.*)$", (ROOT / "docs/report.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [heading for heading in headings if heading in sections] == sections


def apply_diff(diff: str, folder: Path) -> None:
    """Changes the files below the folder as a diff says whose hunks have no line numbers.

    A hunk applies at the first place after the one before it where its old lines stand.
    """
    for part in re.split(r"^--- .*\n", diff, flags=re.MULTILINE)[1:]:
        name, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        path = folder / name.strip().removeprefix("+++ b/")
        text, place = path.read_text(encoding="utf-8") if path.exists() else "", 0
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in marks) for marks in (" -", " +"))
            place = text.find(old, place)
            assert place >= 0, f"{name.strip()} has nowhere\n{old}"
            text, place = text[:place] + new + text[place + len(old) :], place + len(new)
        path.write_text(text, encoding="utf-8")
        if path.suffix == ".py":
            compile(text, path, "exec")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with every addition that the guide for contributors shows."""
    folder = copy_project(tmp_path_factory.mktemp("extended"))
    diffs = blocks(ROOT / "docs/contributing.md", "diff")
    assert len(diffs) == 4
    for diff in diffs:
        apply_diff(diff, folder)
    return folder


def test_the_guides_arm_is_a_valid_rival(extended: Path) -> None:
    loaded = params.load(extended / "params.yaml")
    assert loaded.train_downstream.arms["mixup"].augment == "mixup"
    assert "mixup" in loaded.evaluate.augment.rivals


_USE = """
import numpy as np
import pytest
from stages.comparison.measures import measure
from stages.comparison.scores import Predictions
from stages.sources import registry
from stages.sources.params import NpzParams
from tests.plumbing.test_code import runs
from tests.plumbing.test_code import test_dvc_yaml_names_all_folders_that_the_stage_imports_from_and_no_other as check

for run in runs():
    with pytest.MonkeyPatch.context() as patch:
        check(*run, patch)
assert any("sources/kinds/npz" in kinds for _, _, kinds in runs())

images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
np.savez("few.npz", images=images, labels=np.array([0, 1, 1]))
source = NpzParams(kind="npz", path="few.npz")
listing = registry.find(source)
assert listing.class_names == ["0", "1"] and len(set(listing.ids)) == 3
assert all((np.asarray(image) == images[2 - row]).all() for row, image in enumerate(registry.read(source, [2, 1, 0])))

probabilities = np.array([[[.1, .3, .6], [.5, .3, .2]]], dtype=np.float32)
predicted = Predictions({"a": probabilities.argmax(axis=2)}, (0,), np.array([1, 2]), 3, {"a": probabilities})
assert measure(predicted)["a"]["top_two"]["mean"] == 0.5
"""


def test_the_guides_source_and_metric_do_what_they_say(extended: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _USE], cwd=extended, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
