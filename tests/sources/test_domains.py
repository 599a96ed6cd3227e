"""Whose image plays a role, and what is told of two sources before anything is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from stages.plumbing import images
from stages.plumbing.dataset import CALIBRATION, TEST, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.plumbing.parts import Parts
from stages.sources import domains
from stages.sources.ingest import facts_type
from stages.sources.listing import Listing
from stages.sources.params import ImageParams, ShiftParams
from tests.sources.test_splits import make_params

NONE = {"kind": "none", "path": "data/raw/none"}
OTHER = {"kind": "folder", "path": "data/raw/other"}
IDS = np.array([f"cat/{number}.png" for number in range(9)])
ROLES = [
    np.array([TRAIN, TRAIN, VALIDATION, UNLABELLED_POOL, UNLABELLED_POOL, CALIBRATION, "", TEST, TEST]),
    np.array([UNLABELLED_POOL, TRAIN, TRAIN, "", VALIDATION, CALIBRATION, "", TEST, TEST]),
]
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])


def shift(simulate: str, pool: bool, source: dict[str, str] = NONE) -> ShiftParams:
    return ShiftParams.model_validate({"source": source, "simulate": simulate, "pool": pool})


def inline(work: Any, jobs: Any, _: str) -> list[Any]:
    return [work(job) for job in jobs]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Twelve images in two files, of which the data set keeps the first nine."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    ids = np.array([*IDS, "x", "y", "z"])
    for name, rows in (("0", slice(0, 5)), ("5", slice(5, 12))):
        own = ImageSet(ids[rows], pixels[rows], np.full(len(ids[rows]), -1))
        images.write(tmp_path / f"{name}.parquet", own, ["a", "b"])
    return Parts([tmp_path / "0.parquet", tmp_path / "5.parquet"], [5, 7])


def whole(parts: Parts, own: ShiftParams, folder: Path) -> pa.Table:
    def disturbed() -> Parts:
        return domains.disturb_all(parts, own.simulate, ["a", "b"], folder, inline)

    groups = [f"patient {number}" for number in range(9)]
    return pa.concat_tables(domains.tables(parts, np.arange(9), LABELS, groups, ROLES, own, disturbed))


def test_without_a_seen_target_the_test_set_alone_is_of_another_domain() -> None:
    for own in (shift("scan", pool=False), shift("none", False, OTHER)):
        assert domains.of_target(ROLES[0], own).tolist() == (ROLES[0] == TEST).tolist()
    assert not domains.of_target(ROLES[0], shift("none", pool=False)).any()


@pytest.mark.parametrize("own", [shift("edges", True), shift("none", True, OTHER)])
def test_with_a_seen_target_train_alone_is_of_the_source(own: ShiftParams) -> None:
    assert domains.of_target(ROLES[0], own).tolist() == [role not in (TRAIN, "") for role in ROLES[0]]


def test_images_are_as_they_were_without_simulation(parts: Parts, tmp_path: Path) -> None:
    groups = [f"patient {number}" for number in range(9)]
    expected = pa.concat_tables(parts.tables(np.arange(9), LABELS, groups))
    assert whole(parts, shift("none", pool=False), tmp_path).equals(expected)
    assert domains.roles_table(IDS, ROLES, shift("none", pool=True, source=OTHER))["id"].to_pylist() == [
        *IDS[ROLES[0] != ""],
        *IDS[ROLES[1] != ""],
    ]


@pytest.mark.parametrize("pool", [False, True])
def test_every_version_that_is_used_is_there_once_and_no_replicate_has_both(
    parts: Parts, tmp_path: Path, pool: bool
) -> None:
    own = shift("edges", pool)
    roles, table = domains.roles_table(IDS, ROLES, own).to_pandas(), whole(parts, own, tmp_path)
    assert sorted(table["id"].to_pylist()) == sorted(set(roles["id"]))
    for _, of_replicate in roles.groupby("replicate"):
        assert of_replicate["id"].str.removeprefix("shifted/").is_unique
    target = roles["id"].str.startswith("shifted/")
    assert (target == (roles["domain"] == "target")).all()
    assert (target == ((roles["role"] != TRAIN) if pool else (roles["role"] == TEST))).all()
    found = images.from_table(table)
    for name, label, group in zip(found.ids, found.labels, found.groups or [], strict=True):
        number = int(name.rpartition("/")[2].removesuffix(".png"))
        assert (label, group) == (LABELS[number], f"patient {number}")
    both = found.by_id(["cat/1.png", "shifted/cat/7.png"])
    assert np.array_equal(both.pixels[0], parts.pixels(np.array([1]))[0])
    original = parts.pixels(np.array([7]))
    assert np.array_equal(both.pixels[1:], domains.disturb("edges", original, ["cat/7.png"]))
    assert not np.array_equal(both.pixels[1:], original)


def test_simulation_and_a_second_source_exclude_each_other_and_a_pool_needs_one_of_them() -> None:
    with pytest.raises(ValueError, match=r"simulate: edges and a second source \(kind: folder\) exclude each other"):
        shift("edges", True, OTHER)
    with pytest.raises(ValueError, match="pool: true needs a target"):
        shift("none", pool=True)


@pytest.mark.parametrize(("copies", "of_first", "of_second"), [(6, 10, 10), (4, 5, 100), (4, 100, 5)])
def test_sources_that_are_mostly_the_same_are_refused(copies: int, of_first: int, of_second: int) -> None:
    second = np.arange(of_first + of_second) >= of_first
    sets = np.arange(of_first + of_second)
    domains.refuse_copies(sets, second)
    sets[of_first : of_first + copies // 2] = np.arange(copies // 2)
    domains.refuse_copies(sets, second)
    sets[of_first : of_first + copies] = np.arange(copies)
    with pytest.raises(UserError, match=rf"{copies} of the .* are the same, pixel by pixel.*prepare.shift.source"):
        domains.refuse_copies(sets, second)


def facts(width: int, height: int, colourful: bool, count: int = 4) -> NDArray[np.void]:
    table = np.zeros(count, dtype=facts_type(16))
    table["width"], table["height"], table["colourful"] = width, height, colourful
    return table


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((16, 16, False), (20, 20, False), []),
        ((16, 16, False), (16, 16, True), ["of the first source are grey, those of the second in colour: all become"]),
        ((16, 16, False), (16, 24, False), ["about 16 x 16 pixels, those of the second 16 x 24"]),
        ((16, 16, True), (64, 64, False), ["are in colour, those of the second grey", "those of the second 64 x 64"]),
    ],
)
def test_what_differs_between_the_sources_and_is_evened_out_is_told(
    first: tuple[int, int, bool], second: tuple[int, int, bool], words: list[str]
) -> None:
    image = ImageParams(size=16, channels="grey", fit="pad", flip_ok=False)
    told = domains.notes(np.concatenate([facts(*first), facts(*second)]), np.repeat([False, True], 4), image)
    assert len(told) == len(words)
    assert all(word in line for word, line in zip(words, told, strict=True))
    assert not domains.notes(facts(*first), np.zeros(4, dtype=bool), image)


def test_a_class_that_the_pool_lacks_is_told_where_labels_are_known() -> None:
    listing = Listing(["a", "b"], IDS, LABELS, np.full(9, ""), None, range(9), {})
    params = make_params(shift={"source": NONE, "simulate": "edges", "pool": True})
    told = domains.notes_of_roles(ROLES, LABELS, listing, params)
    assert told[0] == "3 images of the source domain are used, and 7 of the target domain"
    assert len(told) == 2
    assert "has no image of class 'b' in 1 of 2 replicates" in told[1]
    unknown = np.where(np.isin(ROLES[0], [UNLABELLED_POOL]) | (ROLES[1] == UNLABELLED_POOL), -1, LABELS)
    assert len(domains.notes_of_roles(ROLES, unknown, listing, params)) == 1
    assert not domains.notes_of_roles(ROLES, LABELS, listing, make_params())
