"""Answers to other images or parameters go as soon as a stage of this run has ended well, and no others do."""

from pathlib import Path

import pytest

from stages.plumbing import params, stale, workdir
from stages.plumbing.stage import StageRun, execute
from tests.conftest import DEFAULT_PARAMS, ROOT, change_params

ANSWERS = ("evaluate.json", "evaluate_summary.json", "report.html", "scores.csv", "figures/comparison.png")
OF_GENERATORS = ("train_gan/gan.json", "filter_memorized/gan.json")


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose run has come to its end."""
    monkeypatch.chdir(tmp_path)
    Path("stages").symlink_to(ROOT / "stages")
    Path("params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    for name in ("dataset.json", "images.parquet", "roles.parquet"):
        workdir.write_bytes(workdir.DATA / "prepare" / name, b"digits")
    for name in (*ANSWERS, *OF_GENERATORS, "prepare.json"):
        workdir.write_bytes(workdir.METRICS / name, b"{}")
    workdir.write_json(workdir.METRICS / "evaluate.json", {stale.MARK: stale.made_from(params.load())})
    return tmp_path


def left() -> set[str]:
    return {str(path.relative_to("metrics")) for path in Path("metrics").rglob("*") if path.is_file()}


def nothing(_: StageRun) -> None:
    """A stage that ends well."""


def other_images(_: StageRun) -> None:
    workdir.write_bytes(workdir.DATA / "prepare/images.parquet", b"my own")


ALL = {*ANSWERS, *OF_GENERATORS, "prepare.json"}


@pytest.mark.usefixtures("answered")
def test_a_run_of_the_same_images_and_parameters_removes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    change_params(Path(), parallel__jobs=1, tracking__experiment="another", gate__greatest_attack_auc=0.9)
    for stage in ("prepare", "train_gan"):
        execute(stage, nothing)
    assert (left(), capsys.readouterr().out) == (ALL, "")


@pytest.mark.usefixtures("answered")
def test_other_images_take_the_answers_and_what_generators_told(capsys: pytest.CaptureFixture[str]) -> None:
    execute("prepare", other_images)
    assert left() == {"prepare.json"}
    assert "prepare: removed metrics/report.html" in capsys.readouterr().out


@pytest.mark.usefixtures("answered")
def test_other_parameters_take_the_answers_alone() -> None:
    change_params(Path(), train_gan__generators__gan__steps=7)
    execute("train_gan", nothing, item="gan")
    assert left() == {"prepare.json", *OF_GENERATORS}


@pytest.mark.usefixtures("answered")
def test_a_stage_that_fails_leaves_them() -> None:
    def fails(_: StageRun) -> None:
        raise KeyboardInterrupt

    change_params(Path(), prepare__seed=7)
    with pytest.raises(SystemExit):
        execute("prepare", fails)
    assert left() == ALL


@pytest.mark.usefixtures("answered")
@pytest.mark.parametrize("content", [b"{}", b"[]", b"{", b'{"made_from": null}', b'{"made_from": "x"}'])
def test_answers_that_do_not_say_what_they_are_about_are_nobodys(content: bytes) -> None:
    Path("metrics/evaluate.json").write_bytes(content)
    execute("generate", nothing, item="gan")
    assert set(ANSWERS).isdisjoint(left())


@pytest.mark.usefixtures("answered")
def test_evaluate_removes_none_of_its_own() -> None:
    change_params(Path(), evaluate__margin=0.02)
    execute("evaluate", nothing)
    assert left() == ALL
