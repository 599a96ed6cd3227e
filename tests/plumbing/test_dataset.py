from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from stages.plumbing import images, workdir
from stages.plumbing.dataset import CALIBRATION, MASKS, SEEN, TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED, ImageSet
from stages.sources.masks import as_table

ROLES = [TRAIN, UNLABELLED_POOL, VALIDATION, CALIBRATION, TEST, TEST]


def write_dataset(folder: Path, replicates: int, first_pixel: int = 0) -> Dataset:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    pixels[0, 0, 0, 0] = first_pixel
    everything = ImageSet(np.array([f"i{n}" for n in range(6)]), pixels, np.array([0, 1, 0, 1, 1, 0]), list("pqrstu"))
    images.write(folder / "images.parquet", everything, ["a", "b"])
    tables = [
        pa.table(
            {"id": everything.ids, "replicate": np.full(6, each), "role": np.roll(ROLES[:4], each).tolist() + ROLES[4:]}
        )
        for each in range(replicates)
    ]
    images.write_table(folder / "roles.parquet", pa.concat_tables(tables))
    image = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": True}
    facts = {"name": "toy", "classes": ["a", "b"], "image": image, "replicates": replicates, "shifted": False}
    workdir.write_json(folder / "dataset.json", facts)
    return Dataset.open(folder)


def test_the_images_are_of_the_form_that_the_facts_state(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, replicates=1)
    assert dataset.role(0, TRAIN).pixels.shape[1:] == dataset.shape == (1, 8, 8)
    assert dataset.flip_ok


def test_a_role_without_images_has_their_form_too(tmp_path: Path) -> None:
    write_dataset(tmp_path, replicates=1)
    roles = images.read_table(tmp_path / "roles.parquet")
    images.write_table(tmp_path / "roles.parquet", roles.filter(pc.field("role") != UNLABELLED_POOL))
    assert Dataset.open(tmp_path).role(0, UNLABELLED_POOL).pixels.shape == (0, 1, 8, 8)


def test_images_come_by_id_in_the_order_asked_for(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, replicates=1)
    asked = ["i5", "i0", "i3"]
    found = dataset.by_id(asked)
    assert found.ids.tolist() == asked
    assert np.array_equal(found.pixels, images.read(tmp_path / "images.parquet").by_id(asked).pixels)


def test_each_role_has_its_images(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, replicates=2)
    assert dataset.role(0, TRAIN).ids.tolist() == ["i0"]
    assert dataset.role(1, TRAIN).ids.tolist() == ["i1"]
    assert dataset.role(0, TEST).ids.tolist() == ["i4", "i5"]
    assert dataset.seen_by_gan(0).ids.tolist() == ["i0", "i1", "i2"]


def test_labels_are_handed_out_for_train_and_validation_alone(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, replicates=1)
    assert dataset.role(0, TRAIN).labels.tolist() == [0]
    assert dataset.role(0, VALIDATION).labels.tolist() == [0]
    for role in (UNLABELLED_POOL, CALIBRATION, TEST):
        assert set(dataset.role(0, role).labels.tolist()) == {UNLABELLED}
    assert set(dataset.seen_by_gan(0).labels.tolist()) == {UNLABELLED}
    assert dataset.test_labels().to_dict() == {"i4": 1, "i5": 0}


def test_ids_labels_and_groups_are_those_of_the_role_and_nothing_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path, replicates=2)
    for replicate in range(2):
        roles = {role: dataset.role(replicate, role) for role in ROLES}
        with monkeypatch.context() as patched:
            patched.delattr(images, "decode_png")
            for role, whole in roles.items():
                assert dataset.ids(replicate, role).tolist() == whole.ids.tolist()
                assert dataset.labels(replicate, role).tolist() == whole.labels.tolist()
                assert dataset.groups(replicate, role) == whole.groups
    assert dataset.ids(0, *SEEN).tolist() == dataset.seen_by_gan(0).ids.tolist()


def test_calibration_labels_are_the_true_ones_of_the_calibration_images(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, replicates=4)
    for replicate in range(4):
        held_out = dataset.role(replicate, CALIBRATION)
        assert held_out.ids.tolist() == [f"i{(3 + replicate) % 4}"]
        assert dataset.calibration_labels(replicate).tolist() == [[1, 0, 1, 0][replicate]]


def test_calibration_labels_come_in_the_order_of_their_images(tmp_path: Path) -> None:
    """Not in the order of the table of roles."""
    write_dataset(tmp_path, replicates=1)
    table = pa.table({"id": ["i4", "i0", "i2", "i3"], "replicate": [0] * 4, "role": [CALIBRATION] * 4})
    images.write_table(tmp_path / "roles.parquet", table)
    dataset = Dataset.open(tmp_path)
    true_labels = dict(zip(["i0", "i2", "i3", "i4"], [0, 0, 1, 1], strict=True))
    assert dataset.calibration_labels(0).tolist() == [true_labels[each] for each in dataset.role(0, CALIBRATION).ids]


def test_a_replicates_fingerprint_depends_on_its_images_and_roles_alone(tmp_path: Path) -> None:
    one, two = write_dataset(tmp_path / "1", 1), write_dataset(tmp_path / "2", 2)
    changed = write_dataset(tmp_path / "3", 1, first_pixel=7)
    assert one.fingerprint(0) == two.fingerprint(0)
    assert len({one.fingerprint(0), two.fingerprint(1), changed.fingerprint(0)}) == 3


def test_regions_are_those_of_the_role_and_part_of_what_a_replicate_is_made_of(tmp_path: Path) -> None:
    plain = write_dataset(tmp_path, replicates=2)
    before = plain.fingerprint(0)
    assert plain.masks(0, TRAIN) is None
    region = np.arange(64).reshape(8, 8) < 20
    found = {}
    for name in ("i0", "i1"):
        images.write_table(tmp_path / MASKS, as_table({name: region}))
        dataset = Dataset.open(tmp_path)
        found[name] = dataset.masks(0, TRAIN, VALIDATION)
        assert dataset.fingerprint(0) != before
    assert [each.shape for each in found.values()] == [(2, 1, 8, 8)] * 2
    assert np.array_equal(found["i0"][0, 0], region)
    assert not found["i0"][1].any()
    assert not found["i1"].any(), "that image has another role"


def test_how_often_an_image_or_a_group_is_labelled(tmp_path: Path) -> None:
    """Of four images that take turns, two are labelled in each replicate; the roles return after four replicates."""
    assert write_dataset(tmp_path, replicates=1).labelled_times(of_groups=False) == (1, 1)
    assert write_dataset(tmp_path, replicates=8).labelled_times(of_groups=False) == (4, 1)
    table = images.read_table(tmp_path / "images.parquet")
    groups = pa.array(["p", "p", "p", None, None, None])
    images.write_table(
        tmp_path / "images.parquet", table.set_column(table.schema.names.index("group"), "group", groups)
    )
    dataset = Dataset.open(tmp_path)
    assert dataset.labelled_times(of_groups=False) == (4, 2)
    assert dataset.labelled_times(of_groups=True) == (8, 2), "in each replicate one of the three is labelled"


def test_an_image_counts_as_unseen_only_where_its_disturbed_version_is_too(tmp_path: Path) -> None:
    """As prepare.shift.simulate has it: in each replicate one of the two, by the role."""
    ids = np.array([*"abcd", *(f"shifted/{name}" for name in "abcde")])
    pixels = np.random.default_rng(0).integers(0, 256, (9, 1, 8, 8), dtype=np.uint8)
    images.write(tmp_path / "images.parquet", ImageSet(ids, pixels, np.arange(9) % 2), ["a", "b"])
    played = [("a", TRAIN), ("shifted/b", UNLABELLED_POOL), ("shifted/c", CALIBRATION), ("shifted/d", VALIDATION)]
    other = [("shifted/a", CALIBRATION), ("b", TRAIN), ("c", TRAIN), ("d", TRAIN)]
    columns = [(name, number, role) for number, each in enumerate((played, other)) for name, role in each]
    columns += [("shifted/e", number, TEST) for number in (0, 1)]
    table = pa.table(dict(zip(("id", "replicate", "role"), map(list, zip(*columns, strict=True)), strict=True)))
    images.write_table(tmp_path / "roles.parquet", table)
    image = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": True}
    facts = {"name": "toy", "classes": ["a", "b"], "image": image, "replicates": 2, "shifted": True}
    workdir.write_json(tmp_path / "dataset.json", facts)
    found, seen, unseen = Dataset.open(tmp_path).membership()
    assert found.tolist() == ids[4:-1].tolist(), "an attack would tell the domains apart, so there is one"
    assert [set(found[row]) for row in seen] == [{"shifted/b", "shifted/d"}, set()]
    assert [set(found[row]) for row in unseen] == [{"shifted/c"}, {"shifted/a"}]


def test_roles_of_images_that_are_not_there_are_told_in_words(tmp_path: Path) -> None:
    write_dataset(tmp_path, replicates=1)
    images.write_table(tmp_path / "roles.parquet", pa.table({"id": ["i9"], "replicate": [0], "role": [TRAIN]}))
    with pytest.raises(UserError, match=r"roles.parquet is damaged \(it names images that"):
        Dataset.open(tmp_path).role(0, TRAIN)


def test_missing_or_foreign_facts_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.json is missing"):
        Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text('{"image": {')
    with pytest.raises(UserError, match=r"dataset.json is damaged"):
        Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text('{"image": {"size": 8}, "colour": "red"}')
    with pytest.raises(UserError, match=r"dataset.json is damaged"):
        Dataset.open(tmp_path)
