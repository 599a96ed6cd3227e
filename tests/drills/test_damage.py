"""Truncated and bit-flipped artifacts: a reader names them or does not depend on the bit, and DVC restores them."""

from pathlib import Path

import numpy as np
import pytest

import stages.evaluate
import stages.filter_memorized
import stages.generate
import stages.train_downstream
import stages.train_gan
from stages.plumbing import images
from stages.plumbing.stage import execute
from stages.tracking import recording
from tests.drills.exercise import copy_of, results, run

MAINS = {
    "train_gan": stages.train_gan.main,
    "generate": stages.generate.main,
    "filter_memorized": stages.filter_memorized.main,
    "train_downstream": stages.train_downstream.main,
    "evaluate": stages.evaluate.main,
}
READ = {
    "data/prepare/images.parquet": ("train_gan", "gan"),
    "data/prepare/roles.parquet": ("train_downstream", "gan_classic"),
    "data/prepare/dataset.json": ("generate", "gan"),
    "data/prepare/findings.parquet": ("evaluate", ""),
    "data/train_gan/gan/0/weights.safetensors": ("generate", "gan"),
    "data/train_gan/gan/1/plan.json": ("generate", "gan"),
    "data/generate/gan/0.parquet": ("filter_memorized", "gan"),
    "data/filter_memorized/gan/1.parquet": ("train_downstream", "gan_classic"),
    "data/filter_memorized/gan/decisions.parquet": ("evaluate", ""),
    "data/train_downstream/classic/predictions.parquet": ("evaluate", ""),
    "data/train_downstream/classic/models.parquet": ("evaluate", ""),
    "data/train_downstream/gan_classic/arm.json": ("evaluate", ""),
    "data/train_downstream/classic/0.safetensors": ("evaluate", ""),
    "metrics/prepare.json": ("evaluate", ""),
    "metrics/train_gan/gan.json": ("evaluate", ""),
    "metrics/filter_memorized/gan.json": ("evaluate", ""),
}
SAY_FROM_WHAT = ("run.json", "README.md", "report.html", "report_private.html")  # hold the digest of the inputs' bytes
PUBLISHED = "data/evaluate/synthetic/"  # so do the marks of these sets and of each of their images
ANSWERS = ("metrics/evaluate", "metrics/figures", "metrics/scores.csv")  # go where prepared bytes differ: see `stale`
WEIGHTS = ".safetensors"  # its numbers have no check sum, as a Parquet file's pages have


def truncate(path: Path, chance: np.random.Generator) -> None:
    """Leaves a random part of the file, from its beginning."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.integers(len(content))])


def flip(path: Path, chance: np.random.Generator) -> None:
    """Flips one random bit of the file."""
    content = bytearray(path.read_bytes())
    content[chance.integers(len(content))] ^= 1 << chance.integers(8)
    path.write_bytes(content)


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the whole, the working directory; MLflow is not shown anything."""
    monkeypatch.chdir(copy_of(whole, tmp_path / "copy"))
    for name in ("record_generator", "record_comparison"):
        monkeypatch.setattr(recording, name, lambda *_: None)
    return tmp_path / "copy"


@pytest.mark.drill
@pytest.mark.parametrize("artifact", READ)
@pytest.mark.parametrize(("damage", "seed"), [(truncate, 0), (truncate, 1), *((flip, seed) for seed in range(4))])
def test_the_stage_that_reads_a_damaged_artifact_names_it_or_does_not_depend_on_the_damage(
    whole: Path, project: Path, capsys: pytest.CaptureFixture[str], artifact: str, damage: object, seed: int
) -> None:
    damage(project / artifact, np.random.default_rng([list(READ).index(artifact), seed]))
    damaged = results(project)
    status, (name, item) = 0, READ[artifact]
    try:
        execute(name, MAINS[name], item=item)
    except SystemExit as stop:
        status = stop.code
    if status:
        words = capsys.readouterr().err
        assert status == 1
        assert str(Path(artifact).parent) in words
        assert results(project) == damaged
    elif not artifact.endswith((WEIGHTS, ".json")):
        (project / artifact).write_bytes((whole / artifact).read_bytes())
        gone = ANSWERS if artifact.startswith("data/prepare/") and name != "evaluate" else ()
        assert _contents(project, gone) == _contents(whole, gone)


def _contents(folder: Path, but: tuple[str, ...]) -> dict[str, str]:
    found = results(folder).items()
    told = {path: digest for path, digest in found if not path.endswith(SAY_FROM_WHAT) and not path.startswith(but)}
    sets = [path for path in told if path.startswith(PUBLISHED) and (folder / path).is_file()]
    return told | {path: _unmarked(folder / path) for path in sets}


def _unmarked(path: Path) -> str:
    """All columns of a published set as text, without marks."""
    held = images.read(path)
    columns = (held.ids, held.labels, *held.extra.values())
    return repr([held.pixels.tobytes(), held.groups, *(column.tolist() for column in columns)])


@pytest.mark.drill
@pytest.mark.parametrize("damage", [truncate, flip])
def test_dvc_notices_every_damaged_artifact_and_restores_it(whole: Path, tmp_path: Path, damage: object) -> None:
    folder = copy_of(whole, tmp_path / "copy")
    for seed, artifact in enumerate(READ):
        damage(folder / artifact, np.random.default_rng(seed))
    status = run("dvc status", folder)
    assert all(str(Path(artifact).parent).removesuffix("/0").removesuffix("/1") in status for artifact in READ)
    run("dvc repro", folder)
    assert results(folder) == results(whole)
