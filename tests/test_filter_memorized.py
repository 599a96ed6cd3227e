"""The stage for one generator, on a data set written here: what it keeps, says, and how it shares out its work."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from stages import filter_memorized
from stages.plumbing import images, params, workdir
from stages.plumbing.dataset import CALIBRATION, TRAIN, UNLABELLED_POOL
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun
from tests.conftest import DEFAULT_PARAMS, ROOT
from tests.generators.toy import toy_params

COUNTS = {TRAIN: 30, UNLABELLED_POOL: 30, CALIBRATION: 40}
REAL = sum(COUNTS.values())
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (REAL + 60, 1, 8, 8), dtype=np.uint8)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two replicates whose generator drew 60 fresh images, 6 copies of what it saw, and 6 of their own sources."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    ids = np.array([f"i{row}" for row in range(REAL)])
    images.write(workdir.DATA / "prepare/images.parquet", ImageSet(ids, PIXELS[:REAL], np.arange(REAL) % 2), ["a", "b"])
    roles = np.repeat(list(COUNTS), list(COUNTS.values()))
    tables = [pa.table({"id": ids, "replicate": np.full(REAL, each), "role": np.roll(roles, each)}) for each in (0, 1)]
    images.write_table(workdir.DATA / "prepare/roles.parquet", pa.concat_tables(tables))
    image = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": True}
    facts = {"name": "toy", "classes": ["a", "b", "empty"], "image": image, "replicates": 2, "shifted": False}
    workdir.write_json(workdir.DATA / "prepare/dataset.json", facts)
    for replicate in (0, 1):
        images.write(workdir.DATA / f"generate/gan/{replicate}.parquet", generated(replicate), facts["classes"])


def generated(replicate: int) -> ImageSet:
    """Images 60 to 65 copy i10 to i15, and say they were drawn from i20; 66 to 71 are drawn from what they copy."""
    pixels = np.concatenate([PIXELS[REAL:], PIXELS[10:16], PIXELS[16:22]])
    ids = np.array([f"gan-{replicate}-{row}" for row in range(72)])
    sources = np.array([""] * 60 + ["i20"] * 6 + [f"i{row}" for row in range(16, 22)])
    extra = {"replicate": np.full(72, replicate), "generator": np.full(72, "gan"), "source_id": sources}
    return ImageSet(ids, pixels, np.arange(72) % 2, extra=extra)


def run(monkeypatch: pytest.MonkeyPatch, name: str = "gan") -> dict[str, bytes]:
    """All that the stage writes."""
    monkeypatch.setattr(StageRun, "fan_out", lambda _, work, jobs, *__: [work(job) for job in jobs])
    filter_memorized.main(StageRun("filter_memorized", params.load(), name))
    paths = [*sorted((workdir.DATA / "filter_memorized/gan").iterdir()), workdir.METRICS / "filter_memorized/gan.json"]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.usefixtures("project")
def test_copies_are_dropped_but_for_those_of_their_own_source_which_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(run(monkeypatch)) == {"0.parquet", "1.parquet", "decisions.parquet", "gan.json"}
    decisions = pd.read_parquet(workdir.DATA / "filter_memorized/gan/decisions.parquet")
    for replicate, own in decisions.groupby("replicate"):
        assert own["id"].tolist() == generated(replicate).ids.tolist()
        assert own["nearest"].tolist()[60:66] == [f"i{row}" for row in range(10, 16)]
        assert (own["reason"][60:66] == "memorized").all()
        assert own["own_source"].tolist() == [False] * 66 + [True] * 6
        kept = images.read(workdir.DATA / f"filter_memorized/gan/{replicate}.parquet")
        assert kept.ids.tolist() == own["id"][own["reason"] == ""].tolist()
        assert set(kept.ids) & {f"gan-{replicate}-{row}" for row in range(66, 72)}
    metrics = workdir.read_json(workdir.METRICS / "filter_memorized/gan.json")
    assert metrics["own_source"].items() >= {"images": 24, "resembling": 12, "share": 0.5, "publishable": 0}.items()
    assert metrics["generated"] == 144
    assert metrics["dropped"] == (decisions["reason"] != "").sum()
    assert metrics["classes"]["empty"]["generated"] == 0


@pytest.mark.usefixtures("project")
def test_of_a_generator_with_a_budget_all_images_are_kept_whatever_they_resemble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = Path("params.yaml").read_text()
    values = YAML(typ="safe", pure=True).load(text)
    values["train_gan"]["generators"]["gan"] = toy_params("private_gaussian").model_dump()
    Path("params.yaml").write_text(params.as_yaml(values))
    run(monkeypatch)
    kept = images.read(workdir.DATA / "filter_memorized/gan/0.parquet")
    assert np.array_equal(kept.pixels, generated(0).pixels)
    found = workdir.read_json(workdir.METRICS / "filter_memorized/gan.json")
    assert (found["generated"], found["dropped"]) == (144, 0)
    assert found["attacks"], "what an attacker finds is told all the same"


@pytest.mark.usefixtures("project")
def test_how_the_work_is_shared_out_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 20 images, of which a shard has one; else a replicate is one shard, judged and audited in one job."""
    monkeypatch.setattr(images, "ROW_GROUP", 20)
    for replicate in (0, 1):
        images.write(workdir.DATA / f"generate/gan/{replicate}.parquet", generated(replicate), ["a", "b", "empty"])
    whole = run(monkeypatch)
    monkeypatch.setattr(filter_memorized, "SHARD", 1)
    assert run(monkeypatch) == whole


@pytest.mark.usefixtures("project")
def test_a_generator_that_there_is_not_and_one_that_only_copies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"'gun' is not in train_gan\.generators \(gan, "):
        run(monkeypatch, "gun")
    copies = generated(1).take(np.arange(60, 66))
    images.write(workdir.DATA / "generate/gan/1.parquet", copies, ["a", "b", "empty"])
    with pytest.raises(UserError, match="all 6 images that the generator gan drew in replicate 1 were dropped"):
        run(monkeypatch)
    assert not (workdir.DATA / "filter_memorized/gan").exists()
