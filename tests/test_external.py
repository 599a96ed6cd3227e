"""A synthetic set made elsewhere is a generator among others: it goes through the same filter; nothing is trained."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stages.filter_memorized
import stages.generate
import stages.prepare
import stages.train_gan
from stages.plumbing import images
from stages.plumbing.dataset import Dataset
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import execute
from tests.conftest import DEFAULT_PARAMS, ROOT, TINY, edit_params, read_params

SET = Path("data/raw/made elsewhere/synthetic.parquet")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The digits, prepared for two replicates; the working directory."""
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    edit_params(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    execute("prepare", stages.prepare.main)
    return tmp_path


def write_set(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Thirty images that no generator saw, and three copies of what the first replicate trains on; returns both ids."""
    test, seen = dataset.by_id(dataset.test_labels().index[:30].tolist()), dataset.seen_by_gan(0)
    only_first = ~np.isin(seen.ids, dataset.seen_by_gan(1).ids)
    copied = seen.take(np.flatnonzero(only_first)[:3])
    fresh, copies = [f"fresh {n}" for n in range(30)], [f"copy {n}" for n in range(3)]
    labels = np.concatenate([dataset.test_labels().to_numpy()[:30], [0, 1, 2]])
    pixels = np.concatenate([test.pixels, copied.pixels])
    images.write(SET, ImageSet(np.array(fresh + copies), pixels, labels), dataset.classes)
    return fresh, copies


def test_given_images_are_filtered_for_each_replicate_and_keep_their_names(project: Path) -> None:
    fresh, copies = write_set(Dataset.open())
    generators = read_params(project)["train_gan"]["generators"]
    made = {"kind": "external", "path": str(SET.parent), "labels": "class"}
    edit_params(project, {"train_gan.generators": generators | {"made": made}})
    for name, stage in (
        ("train_gan", stages.train_gan),
        ("generate", stages.generate),
        ("filter_memorized", stages.filter_memorized),
    ):
        execute(name, stage.main, item="made")

    assert json.loads(Path("metrics/train_gan/made.json").read_text())["steps"] == 0
    for replicate in range(2):
        generated = images.read(Path(f"data/generate/made/{replicate}.parquet"))
        assert sorted(generated.ids.tolist()) == sorted(fresh + copies)
        given = images.read(SET).by_id(generated.ids.tolist())
        assert (generated.pixels == given.pixels).all()
        assert (generated.labels == given.labels).all()
        assert set(generated.extra["replicate"].tolist()) == {replicate}
        assert set(generated.extra["generator"].tolist()) == {"made"}
        assert generated.extra["synthetic"].all()
    decisions = pd.read_parquet("data/filter_memorized/made/decisions.parquet")
    dropped = decisions[decisions["reason"] != ""].groupby("replicate")["id"].agg(set)
    assert set(copies) <= dropped[0]
    assert not set(copies) & dropped.get(1, set())
    assert len(dropped[0] - set(copies)) <= 6
