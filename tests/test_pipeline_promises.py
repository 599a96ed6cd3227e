"""What reruns and what does not: `dvc repro --dry` in a finished project after an edit. Each edit is taken back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ARMS_OF_GAN, KEPT_ARMS, copy_of, edit_params
from tests.pipelines import Run, stages_run, stale

OF_GENERATORS = ("train_gan", "generate", "filter_memorized")
ARMS = {f"train_downstream@{arm}" for arm in KEPT_ARMS}


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory, run_in: Run) -> Path:
    """A copy of the finished project, in which nothing is stale."""
    copied = copy_of(finished, tmp_path_factory.mktemp("promises") / "a project")
    assert stages_run(run_in("dvc repro", copied)) == []
    return copied


@pytest.fixture
def after(folder: Path, run_in: Run) -> Callable[..., set[str]]:
    """The stages that are stale after an edit of files or of parameters, which is then taken back."""

    def ask(*files: str, **changes: object) -> set[str]:
        with _edited(folder, files, {key.replace("__", "."): value for key, value in changes.items()}):
            return stale(folder, run_in)

    return ask


@contextmanager
def _edited(folder: Path, files: Sequence[str], changes: dict[str, object]) -> Iterator[None]:
    paths = [folder / file for file in ("params.yaml", *files)]
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    edit_params(folder, changes)
    for path in paths[1:]:
        path.write_bytes((before[path] or b"") + b"\n# an edit\n")
    yield
    for path, content in before.items():
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)


def test_a_generators_parameter_reruns_that_generator_and_no_arm_of_another(after: Callable[..., set[str]]) -> None:
    # `evaluate` states all parameters in its report
    assert after(train_gan__generators__gan__steps=21) == {"train_gan@gan", "evaluate"}
    assert after(train_gan__generators__gaussian__rank=10) == {"train_gan@gaussian", "evaluate"}


def test_a_kinds_code_reruns_no_generator_of_another_kind_and_no_arm(after: Callable[..., set[str]]) -> None:
    assert after("stages/generators/kinds/projection.py") == {"train_gan@gan", "generate@gan"}
    assert after("stages/generators/kinds/gaussian.py") == {"train_gan@gaussian", "generate@gaussian"}
    assert after("stages/sources/kinds/digits.py") == {"prepare"}


def test_generators_code_reruns_no_baseline_arm(after: Callable[..., set[str]]) -> None:
    both = {f"{stage}@{name}" for stage in ("train_gan", "generate") for name in ("gan", "gaussian")}
    assert after("stages/generators/training.py") == both
    assert after("stages/memorization/filtering.py") == {f"filter_memorized@{n}" for n in ("gan", "gaussian")} | {
        "evaluate"
    }


def test_the_classifier_retrains_no_generator(after: Callable[..., set[str]]) -> None:
    assert after(train_downstream__classifier__steps=11) == ARMS | {"evaluate"}
    assert after("stages/downstream/classifiers.py") == ARMS | {"evaluate"}


def test_how_the_answers_are_reached_makes_evaluate_alone_stale(after: Callable[..., set[str]]) -> None:
    assert after("stages/comparison/answers.py") == {"evaluate"}
    assert after(evaluate__margin=0.02) == {"evaluate"}


def test_what_changes_no_result_reruns_nothing(after: Callable[..., set[str]]) -> None:
    """All at once, because DVC takes a second to answer; of a stage that is stale, `dvc status` says why."""
    files = [
        "stages/generators/kinds/per_class.py",  # kinds that nobody uses
        "stages/generators/kinds/something_new.py",
        "stages/sources/kinds/folder.py",
        "stages/generators/params.py",
        "stages/downstream/params.py",
        "stages/tracking/recording.py",
        "stages/foresight.py",
        "stages/presets.py",
    ]
    assert after(*files, parallel__jobs=2, tracking__experiment="another", gate__greatest_harm=0.5) == set()


def test_a_clone_with_the_cache_runs_nothing_and_another_kinds_code_reruns_nothing(
    folder: Path, tmp_path: Path, run_in: Run
) -> None:
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    commands = ["git add -A", "git commit -qm done", f"git clone -q . '{tmp_path}/clone'"]
    made = run_in(" && ".join(commands), folder, **identity)
    assert made.returncode == 0, made.stderr
    clone = tmp_path / "clone"
    (clone / ".dvc/cache").symlink_to(folder / ".dvc/cache")
    assert run_in("dvc checkout", clone).returncode == 0
    (clone / "stages/generators/kinds/auxiliary.py").open("a").write("\n# an edit\n")
    assert stages_run(run_in("dvc repro", clone)) == []
    assert {path.name for path in (clone / "data/train_downstream").iterdir()} == set(KEPT_ARMS)
    assert set(ARMS_OF_GAN) < set(KEPT_ARMS)
