"""A generator that starts from real images, with a teacher's labels, goes through the stages: lineage is told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import stages.filter_memorized
import stages.generate
import stages.prepare
import stages.train_gan
from stages.jobs import teaching
from stages.jobs.replicate import guess_pool, open_replicate
from stages.jobs.teaching import open_teacher
from stages.labelling import pool, soft_labels
from stages.labelling.soft_labels import fit_teacher
from stages.plumbing import images
from stages.plumbing.dataset import LABELLED, Dataset
from stages.plumbing.params import Params
from stages.plumbing.stage import execute
from tests.conftest import DEFAULT_PARAMS, ROOT, TINY, edit_params, read_params
from tests.labelling.toy import hasty_fit, taught_for


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with generated images of the kind `image_conditioned`, filtered; one replicate."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "stages").symlink_to(ROOT / "stages")
    (folder / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    edit_params(folder, TINY | {"prepare.replicates": 1, "prepare.test_share": 0.8})  # a small pool is labelled sooner
    generators = read_params(folder)["train_gan"]["generators"]
    changed = generators["gan"] | {"kind": "image_conditioned", "labels": "teacher", "steps": 5}
    edit_params(folder, {"train_gan.generators": generators | {"variants": changed}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pool, "fit", hasty_fit(steps=1))
        patch.setattr(soft_labels, "COURSE", taught_for(60))  # the teacher is to know something
        execute("prepare", stages.prepare.main)
        for name, stage in (
            ("train_gan", stages.train_gan),
            ("generate", stages.generate),
            ("filter_memorized", stages.filter_memorized),
        ):
            execute(name, stage.main, item="variants")
    return folder


def test_every_image_names_a_labelled_image_of_its_class_as_its_source(project: Path) -> None:
    generated = images.read(project / "data/generate/variants/0.parquet")
    dataset = Dataset.open(project / "data/prepare")
    ids, classes = dataset.ids(0, *LABELLED).tolist(), dataset.labels(0, *LABELLED).tolist()
    labels = dict(zip(ids, classes, strict=True))
    sources = generated.extra["source_id"].tolist()
    assert [labels[source] for source in sources] == generated.labels.tolist()
    assert set(sources) == set(ids)  # each takes its turn


def test_every_image_has_a_teachers_probabilities(project: Path) -> None:
    generated = images.read(project / "data/generate/variants/0.parquet")
    probabilities = generated.extra["probabilities"]
    assert probabilities.shape == (len(generated), 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == generated.labels).mean() > 0.5


def test_of_candidates_the_one_stays_of_whose_class_the_teacher_is_surest(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(project, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    monkeypatch.setattr(soft_labels, "COURSE", taught_for(5))
    found = []
    for times, candidates in ((4, 1), (1, 4)):
        edit_params(folder, {"generate.plan": {"kind": "factor", "factor": times}, "generate.candidates": candidates})
        execute("generate", stages.generate.main, item="variants")
        found.append(images.read(folder / "data/generate/variants/0.parquet"))
    every, chosen = found
    likely = np.take_along_axis(every.extra["probabilities"], every.labels[:, None], axis=1).reshape(-1, 4)
    expected = every.take(likely.argmax(axis=1) + np.arange(0, len(every), 4))
    assert chosen.ids.tolist() == expected.ids.tolist()
    assert (chosen.pixels == expected.pixels).all()
    assert chosen.extra["source_id"].tolist() == expected.extra["source_id"].tolist()
    assert (likely.argmax(axis=1) > 0).mean() > 0.25  # there was something to choose


def test_a_teacher_is_fitted_once_and_found_again_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(soft_labels, "COURSE", taught_for(60))
    dataset, params = Dataset.open(), Params.model_validate(read_params(project))
    data, seed = open_replicate(dataset, 0, "cpu", "generate"), params.generate.seed
    guessed = guess_pool(dataset, 0, data)
    fitted = fit_teacher(data, params.train_downstream.classic, seed, guessed)
    monkeypatch.setattr(teaching, "fit_teacher", None)  # what the stage has learned is kept
    found = open_teacher(dataset, 0, data, params.train_downstream.classic, seed)
    assert found.temperature == fitted.temperature
    assert torch.equal(found.probabilities(data.images), fitted.probabilities(data.images))
    with pytest.raises(TypeError, match="not callable"):  # with another seed it is to be fitted
        open_teacher(dataset, 0, data, params.train_downstream.classic, seed + 1)


def test_likeness_to_the_own_source_is_told_and_no_copy(project: Path) -> None:
    decisions = pd.read_parquet(project / "data/filter_memorized/variants/decisions.parquet")
    metrics = json.loads((project / "metrics/filter_memorized/variants.json").read_text())
    assert metrics["own_source"]["images"] == len(decisions)
    assert metrics["own_source"]["resembling"] == decisions["own_source"].sum()
    assert not (decisions["nearest"] == decisions["source_id"]).any()
