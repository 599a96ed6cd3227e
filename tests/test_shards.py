"""How the synthetic images are shared out among processes changes no byte of them and none of what is said of them."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

import stages.filter_memorized
import stages.generate
import stages.prepare
import stages.train_gan
from stages.generators.requests import shards
from stages.labelling import pool
from stages.plumbing import images
from stages.plumbing.images import ROW_GROUP
from stages.plumbing.stage import execute
from tests.clusters import cluster_of
from tests.conftest import DEFAULT_PARAMS, ROOT, TINY, edit_params
from tests.labelling.toy import hasty_fit

STAGES = {"generate": stages.generate, "filter_memorized": stages.filter_memorized}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Digits with GANs of two replicates, each of which is to draw more than a block; the working directory."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "stages").symlink_to(ROOT / "stages")
    (folder / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    edit_params(folder, TINY | {"train_gan.generators.gan.steps": 3, "generate.plan.per_class": ROW_GROUP // 10 + 20})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pool, "fit", hasty_fit(steps=1))
        get_reusable_executor().shutdown()  # its processes stay where they began
        execute("prepare", stages.prepare.main)
        execute("train_gan", stages.train_gan.main, item="gan")
        yield folder
    get_reusable_executor().shutdown()


@pytest.fixture(scope="module")
def whole(project: Path) -> dict[str, bytes]:
    """What is made where each replicate is one shard."""
    return made(project)


def made(project: Path) -> dict[str, bytes]:
    """What both stages write, as they are set up at the moment."""
    for name, stage in STAGES.items():
        execute(name, stage.main, item="gan")
    places = [*(project / f"data/{name}/gan" for name in STAGES), *(project / f"metrics/{name}" for name in STAGES)]
    paths = [path for place in places for path in sorted(place.glob("*"))]
    return {str(path.relative_to(project)): path.read_bytes() for path in paths}


@pytest.fixture
def small_shards(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of three blocks of the generator's, of one of the filter's: two or more of a replicate. Two processes."""
    monkeypatch.setattr(stages.generate, "shards", functools.partial(shards, batches=24))
    monkeypatch.setattr(stages.filter_memorized, "SHARD", 1)
    edit_params(project, {"parallel.jobs": 2})


def test_replicates_have_several_shards_and_all_files_are_compared(project: Path, whole: dict[str, bytes]) -> None:
    assert images.count(project / "data/generate/gan/0.parquet") > ROW_GROUP
    files = [f"data/{name}/gan/{replicate}.parquet" for name in STAGES for replicate in range(2)]
    files += ["data/filter_memorized/gan/decisions.parquet", *(f"metrics/{name}/gan.json" for name in STAGES)]
    assert sorted(whole) == sorted(files)


@pytest.mark.usefixtures("small_shards")
def test_shards_change_no_byte(project: Path, whole: dict[str, bytes]) -> None:
    assert made(project) == whole


@pytest.mark.drill
@pytest.mark.usefixtures("small_shards")
def test_shards_on_a_cluster_change_no_byte(project: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with cluster_of(2, tmp_path) as (address, _):
        edit_params(project, {"parallel": {"backend": "dask", "jobs": 2, "scheduler": address}})
        assert made(project) == whole
