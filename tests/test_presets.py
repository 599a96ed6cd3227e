"""A preset becomes params.yaml with its comments, and nobody's own params.yaml is lost by it."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode

from stages import overlays, presets
from stages.plumbing import params
from stages.plumbing.errors import UserError
from tests.conftest import DEFAULT_PARAMS, ROOT

SAFE, BLOCK = YAML(typ="safe", pure=True), YAML(typ="safe", pure=True)
BLOCK.default_flow_style = False
BASE = """\
# Every field.

prepare:
  # decides all
  # of it
  seed: 0
  source:
    # which
    kind: digits
    # where
    path: data/raw/digits
  # how many

  labels: {cat: 1,
           dog: 2}  # of each
  nothing:
  # a list
  list:
  - 1

arms:
  # the first
  real: {a: 1, b: [1, 2]}
  gan:
    {a: 2,
     b: [{c: 1}]}
last:
  # the end
  word: "a
    b"
# bye
"""
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
KEYS = ["prepare", "prepare.seed", "prepare.source", "prepare.source.path", "prepare.labels", "prepare.nothing"]
KEYS += ["prepare.list", "arms.real", "arms.gan", "arms", "last.word", "last"]


def _changed(overlay: str, base: str = BASE) -> tuple[list[str], list[str]]:
    """Lines of the base that are gone and lines that are new, once what both begin and end with is taken away."""
    old, new = base.split("\n"), overlays.compose(base, overlay).split("\n")
    for _ in range(2):
        while old and new and old[-1] == new[-1]:
            old, new = old[:-1], new[:-1]
        old, new = old[::-1], new[::-1]
    return old, new


def _set(values: dict[str, Any], dotted: str, value: object) -> None:
    *above, last = dotted.split(".")
    for part in above:
        values = values[part]
    values[last] = value


@pytest.mark.parametrize(
    ("overlay", "gone", "new"),
    [
        ("prepare.seed: 5", ["  seed: 0"], ["  seed: 5"]),
        ("\n# why\nprepare.seed: 5  # five\n", ["  # decides all", "  # of it", "  seed: 0"], None),
        ("prepare.source.path: here\n", ["    path: data/raw/digits"], ["    path: here"]),
        ("prepare.labels: all", ["  labels: {cat: 1,", "           dog: 2}  # of each"], ["  labels: all"]),
        ("prepare.nothing: {x: 1,\n  y: 2}", ["  nothing:"], ["  nothing: {x: 1,", "    y: 2}"]),
        ("prepare.list:\n- 2\n- 3\n# not yet\n", ["  - 1"], ["  - 2", "  - 3"]),
        ("arms.gan: {}", ["  gan:", "    {a: 2,", "     b: [{c: 1}]}"], ["  gan: {}"]),
        ("last.word: |\n  x\n\n  y\n", ['  word: "a', '    b"'], ["  word: |", "    x", "", "    y"]),
    ],
)
def test_the_lines_of_the_value_change_and_no_other(overlay: str, gone: list[str], new: list[str] | None) -> None:
    assert _changed(overlay) == (gone, new or ["  # why", "  seed: 5  # five"])


def test_a_block_comes_with_the_comments_in_it_and_leaves_those_above_it() -> None:
    overlay = (
        "prepare.source:\n  # a tree\n  kind: folder\n\n  # there\n  path: x\n\n# how many more\n\nprepare.labels: 3\n"
    )
    text = overlays.compose(BASE, overlay)
    assert "  seed: 0\n  source:\n    # a tree\n    kind: folder\n\n    # there\n    path: x\n  # how many\n" in text
    assert "more" not in text, "a comment with a blank line beneath it belongs to no key"


def test_the_leading_comment_goes_on_top_and_to_no_key() -> None:
    overlay = "# For red cells:\n# scarce\nprepare.seed: 5\n"
    assert overlays.compose(BASE, overlay) == "# For red cells:\n# scarce\n\n" + BASE.replace("seed: 0", "seed: 5")


@pytest.mark.parametrize("overlay", ["", "\n", "# when\n", "# when", "# when\n\n# and more\n"])
def test_an_overlay_without_keys_is_the_base(overlay: str) -> None:
    text = overlays.compose(BASE, overlay)
    assert text == (f"# when\n\n{BASE}" if overlay.strip() else BASE)


@pytest.mark.parametrize("base", [BASE, BASE.removesuffix("# bye\n"), BASE.removesuffix("\n# bye\n")])
def test_the_last_key_may_end_the_file(base: str) -> None:
    assert overlays.compose(base, "last.word: c\n") == base.replace('"a\n    b"', "c")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, 3e-05]) | st.text("ab #:{[-'\"é", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy#: ", min_size=1, max_size=3), inner),
    max_leaves=6,
)
_comments = st.sampled_from(["", "# a: 1\n", "\n", "# b\n\n", "\n# c\n# d\n"])


@given(st.dictionaries(st.sampled_from(KEYS), st.tuples(_values, st.booleans(), _comments), max_size=4))
def test_the_result_says_what_base_and_overlay_say_together(entries: dict[str, tuple[Any, bool, str]]) -> None:
    overlay, expected = io.StringIO(), SAFE.load(BASE)
    for dotted in sorted(entries, key=lambda dotted: -dotted.count(".")):
        value, in_flow, comment = entries[dotted]
        block = io.StringIO()
        BLOCK.dump({dotted: value}, block)
        overlay.write(comment + (f"{dotted}: {json.dumps(value)}\n" if in_flow else block.getvalue()))
        _set(expected, dotted, value)
    assert SAFE.load(overlays.compose(BASE, overlay.getvalue())) == expected


def test_later_keys_may_lie_in_what_earlier_ones_brought() -> None:
    text = overlays.compose(BASE, "prepare.source:\n  new: 1\nprepare.source.new: 2\n")
    assert SAFE.load(text)["prepare"]["source"] == {"new": 2}


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("prepare.sede: 1", ["prepare.sede is no key", "did you mean prepare.seed?"]),
        ("prepare.seed.deep: 1", ["prepare.seed.deep is no key"]),
        ("arms.real.a: 1", ["arms.real.a is no key with lines of its own", "give the whole of arms.real"]),
        ("prepare.seed: 1\nprepare.list: []\nprepare.seed: 2", ["duplicate key", "prepare.seed"]),
        ("- 1", ["`section.key: value`"]),
        ("{prepare.seed: 1}", ["prepare.seed is no key with lines of its own"]),
        ('"prepare.seed": 1', ["prepare.seed is no key with lines of its own"]),
        ("prepare.seed: [", ["not valid YAML"]),
    ],
)
def test_an_overlay_that_does_not_fit_is_told_in_words(overlay: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        overlays.compose(BASE, overlay)
    assert all(word in str(error.value) for word in words), error.value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of presets alone: the base is the project's params.yaml, and three overlays."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "base.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    source = "prepare.source:\n  # a tree\n  kind: folder\n  # where\n  path: data/raw/cells"
    (tmp_path / "presets" / "cells.yaml").write_text(f"# Red cells: many classes\n{source}\n")
    (tmp_path / "presets" / "short.yaml").write_text("# Quick\ntrain_gan.generators.gan.steps: 7\n")
    (tmp_path / "presets" / "wrong.yaml").write_text("# Wrong\ntrain_gan.generators.gan.steps: 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def preset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command in `folder`; returns why it ended with exit status 1, or '' when it did its work."""

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}

    def run(*names: str) -> str:
        monkeypatch.setattr("sys.argv", ["presets", *names])
        before = files()
        try:
            presets.main()
        except SystemExit as end:
            assert files() == before, "a refusal leaves all as it was"
            return str(end.code)
        return ""

    return run


def _git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)  # noqa: S603, S607


def test_a_preset_becomes_params_yaml_and_says_what_to_do_next(
    folder: Path, preset: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preset("cells") == ""
    base, cells = ((folder / "presets" / f"{name}.yaml").read_text() for name in ("base", "cells"))
    assert (folder / "params.yaml").read_text() == overlays.compose(base, cells)
    assert params.load(folder / "params.yaml").prepare.source.path == "data/raw/cells"
    assert sorted(path.name for path in folder.iterdir()) == [".work", "params.yaml", "presets"]
    said = capsys.readouterr().out
    assert "data/raw/cells is not there yet" in said
    assert "make repro" in said
    (folder / "data" / "raw" / "cells").mkdir(parents=True)
    assert preset("cells") == ""
    assert "not there" not in capsys.readouterr().out


def test_a_set_to_download_gets_its_folder(
    folder: Path, preset: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "presets" / "fetched.yaml").write_text(
        "# Fetched.\nprepare.source: {kind: torchvision, path: data/raw/mnist, name: MNIST, download: true}\n"
    )
    assert preset("fetched") == ""
    assert (folder / "data/raw/mnist").is_dir()
    assert "downloads its data" in capsys.readouterr().out


@pytest.mark.parametrize(("names", "words"), [([], "choose"), ([""], "choose"), (["cell"], "did you mean cells?")])
def test_without_a_known_name_all_are_listed(preset: Callable[..., str], names: list[str], words: str) -> None:
    message = preset(*names)
    assert words in message
    assert "  cells  Red cells: many classes" in message.splitlines()
    assert "  short  Quick" in message.splitlines()


def test_an_invalid_preset_is_refused_before_anything_is_written(folder: Path, preset: Callable[..., str]) -> None:
    message = preset("wrong")
    assert "preset wrong" in message
    assert "train_gan.generators.gan.steps" in message
    assert not (folder / "params.yaml").exists()


@pytest.mark.parametrize("state", ["modified", "staged", "untracked"])
def test_changes_that_git_does_not_have_are_not_overwritten(
    folder: Path, preset: Callable[..., str], state: str
) -> None:
    _git("init")
    (folder / "params.yaml").write_text("mine: 1\n")
    if state != "untracked":
        _git("add", "params.yaml")
        _git("commit", "-m", "mine")
        assert [preset("short"), preset("short")] == ["", ""], "what it wrote itself is nobody's work"
        with (folder / "params.yaml").open("a") as file:
            file.write("# mine\n")
    if state == "staged":
        _git("add", "params.yaml")
    assert "params.yaml has changes that are not committed" in preset("cells")
    _git("add", "params.yaml")
    _git("commit", "-m", "kept")
    assert preset("cells") == ""


def test_without_git_only_a_preset_is_overwritten(folder: Path, preset: Callable[..., str]) -> None:
    assert [preset(name) for name in ("short", "cells", "short")] == ["", "", ""]
    with (folder / "params.yaml").open("a") as file:
        file.write("# mine\n")
    assert "differs from every preset" in preset("short")


@pytest.mark.parametrize("name", PRESETS)
def test_any_preset_can_be_made_quick(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = presets.quick(presets.read(name))
    loaded = params.Params.model_validate(SAFE.load(text))
    assert loaded.prepare.replicates == 2
    assert {each.steps for each in loaded.train_gan.generators.values() if hasattr(each, "steps")} <= {50}
    assert set(loaded.train_downstream.arms) == {*loaded.evaluate.arms, *loaded.evaluate.rivals}
    assert all(len(each.rivals) == len(each.arms) == 1 for each in loaded.evaluate.questions.values())
    assert all(len(each.settings) == 1 for each in loaded.train_downstream.arms.values())
    arms = loaded.train_downstream.arms.values()
    assert set(loaded.train_gan.generators) == {name for each in arms for name in each.generators}
    assert _undocumented(text) == []


def _undocumented(text: str) -> list[str]:
    """Fields that have no comment line above them. Those of arms, and those that all generators have, are explained
    together, in the comment above `arms` and `generators`."""
    lines, found = text.split("\n"), []

    def visit(node: MappingNode, together: frozenset[str] = frozenset()) -> None:
        for key, value in node.value:
            if isinstance(value, MappingNode) and not value.flow_style:
                if key.value != "arms":
                    visit(value, together | ({"kind", "path", "labels"} if key.value == "generators" else set()))
            elif key.value not in together and not lines[key.start_mark.line - 1].lstrip().startswith("#"):
                found.append(lines[key.start_mark.line])

    visit(SAFE.compose(text))
    return found


def test_a_field_without_a_comment_would_be_found() -> None:
    text = "a:\n  # b\n  b: 1\n  c: {d: 2}\narms:\n  x: 1\ngenerators:\n  gan:\n    kind: 1\n    rank: 2\n"
    assert _undocumented(text) == ["  c: {d: 2}", "    rank: 2"]


PUBLIC = {"digits_pool", "digits_scarce", "fashion_scarce", "chest_xrays", "red_cells", "spoken_digits", "cifar10_gpu"}
PUBLIC |= {"drawn_digits", "scanner_shift", "scanner_shift_fashion", "scanner_shift_xrays"}
PUBLIC |= {"few_shot_omniglot", "few_shot_fashion", "few_shot_cells", "infilled_cells", "planted_lesions"}
PUBLIC |= {"private_digits", "deidentified_faces"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_documented_and_fits_the_page(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = presets.read(name)
    (tmp_path / "params.yaml").write_text(text)
    params.load(tmp_path / "params.yaml")
    assert _undocumented(text) == []
    assert text.startswith("# "), "the first line says when to use it"
    assert [line for line in text.split("\n") if len(line) > 120] == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_arms_for_each_of_its_generators(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    loaded = params.Params.model_validate(SAFE.load(presets.read(name)))
    used = {name for arm in loaded.train_downstream.arms.values() for name in arm.generators}
    assert used >= set(loaded.train_gan.generators)


@pytest.mark.parametrize("name", PRESETS)
def test_only_presets_of_public_data_publish_real_images_and_state_a_licence(name: str) -> None:
    evaluate = SAFE.load(presets.read(name))["evaluate"]
    if name not in PUBLIC:
        assert (evaluate["publish_real_images"], evaluate["publish_leaking"], evaluate["licence"]) == (
            False,
            False,
            None,
        )
    else:
        assert evaluate["publish_real_images"]


def test_the_committed_parameters_are_the_default_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert Path("params.yaml").read_text(encoding="utf-8") == presets.read("digits_pool")
