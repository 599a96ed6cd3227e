"""The first stage on people's own folders: what it makes of them, and what bad input gets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import stages.prepare
from stages.plumbing import images
from stages.plumbing.dataset import CALIBRATION, ROLES, TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.stage import execute
from stages.sources import intake
from tests.conftest import DEFAULT_PARAMS, ROOT, edit_params

Fail = Callable[..., str]
SOURCE = Path("data/raw/own")
CHANGES: dict[str, Any] = {
    "prepare.source": {"kind": "folder", "path": str(SOURCE)},
    "prepare.image.size": 16,
    "prepare.replicates": 2,
    "prepare.labels_per_class": 3,
    "prepare.validation_per_class": 2,
    "prepare.calibration": 4,
    "prepare.test_share": 0.25,
    "filter_memorized.alpha": 0.25,
    "filter_memorized.by_group": False,
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose parameters name a folder of its own; the working directory."""
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    (tmp_path / "data/raw/none").mkdir(parents=True)
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    edit_params(tmp_path, CHANGES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, seed: int, side: int = 20) -> None:
    """A picture of its own for each seed."""
    path = SOURCE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)


def make_tree(folders: tuple[str, ...] = ("cat", "dog"), count: int = 16) -> None:
    for number, folder in enumerate(folders):
        for index in range(count):
            save(f"{folder}/{index:02d}.png", seed=1000 * number + index)


def prepare(**changes: Any) -> Dataset:
    """Runs the stage in this process."""
    edit_params(Path(), {f"prepare.{key}": value for key, value in changes.items()})
    execute("prepare", stages.prepare.main)
    return Dataset.open()


def checks() -> dict[str, Any]:
    found = json.loads(Path("metrics/prepare.json").read_text())["checks"]
    return {kind: count for kind, count in found.items() if count["images"]}


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Fail:
    """Runs the stage, which must stop with one message and status 1, and returns the message."""

    def run(**changes: Any) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            prepare(**changes)
        assert stop.value.code == 1
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said[said.index("prepare: ") :]

    return run


def test_a_folder_becomes_a_data_set_of_the_form_asked_for() -> None:
    make_tree()
    save("unlabelled/deep/a.png", seed=77)
    dataset = prepare()
    assert (dataset.name, dataset.classes, dataset.shape) == ("own", ["cat", "dog"], (1, 16, 16))
    for replicate in range(2):
        assert np.bincount(dataset.role(replicate, TRAIN).labels).tolist() == [3, 3]
        assert np.bincount(dataset.role(replicate, VALIDATION).labels).tolist() == [2, 2]
        assert len(dataset.role(replicate, TEST)) == 8
    everything = images.read(Path("data/prepare/images.parquet"))
    assert sorted(everything.ids) == sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.png"))
    assert checks() == {}, "where all classes are small, that is no finding about an image"


def test_names_with_spaces_unicode_and_markup_come_through_and_hidden_files_do_not() -> None:
    make_tree(("Katze groß", "<b>犬"))
    save("Katze groß/ein Bild (1).PNG", seed=500)
    for hidden in (".ipynb_checkpoints/x.png", "Katze groß/._ein Bild.png"):
        save(hidden, seed=501)
    dataset = prepare()
    assert dataset.classes == ["<b>犬", "Katze groß"]
    ids = images.read(Path("data/prepare/images.parquet")).ids
    assert "Katze groß/ein Bild (1).PNG" in ids
    assert len(ids) == 33


def test_other_regions_are_other_facts_which_every_arm_depends_on() -> None:
    make_tree()
    facts = [prepare(masks={"kind": "centre", "share": share}).regions for share in (0.5, 0.7, 0.5)]
    assert facts[0] == facts[2] != facts[1]
    assert prepare(masks={"kind": "none"}).regions == ""


def test_the_number_of_processes_and_the_size_of_chunks_change_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree()
    written = []
    for chunk in (5, 1000):
        monkeypatch.setattr(intake, "CHUNK", chunk)
        edit_params(Path(), {"parallel.jobs": 1 if chunk == 5 else 2})
        prepare()
        folder = Path("data/prepare")
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"images.parquet", "roles.parquet", "findings.parquet", "dataset.json"}


def test_a_bad_file_stops_the_stage_by_name_and_is_left_out_on_request(fail: Fail) -> None:
    make_tree()
    (SOURCE / "cat" / "notes.png").write_text("not a picture")
    (SOURCE / "dog" / "nothing.png").touch()
    said = fail()
    assert "cat/notes.png" in said
    assert "on_bad_image: skip" in said
    assert not Path("data/prepare").exists()
    prepare(on_bad_image="skip")
    assert {kind: checks()[kind] for kind in ("undecodable", "empty")} == {
        "undecodable": {"images": 1, "dropped": 1},
        "empty": {"images": 1, "dropped": 1},
    }
    findings = pd.read_parquet("data/prepare/findings.parquet")
    assert set(findings[findings["action"] == "skipped"]["id"]) == {"cat/notes.png", "dog/nothing.png"}


def test_a_failed_run_leaves_the_earlier_results_as_they_were(fail: Fail) -> None:
    make_tree()
    prepare()
    before = {path: path.read_bytes() for path in Path("data/prepare").iterdir()}
    (SOURCE / "cat" / "notes.png").write_text("not a picture")
    fail()
    assert {path: path.read_bytes() for path in Path("data/prepare").iterdir()} == before


def test_what_would_stop_a_later_stage_stops_this_one_and_leaves_earlier_results(fail: Fail) -> None:
    make_tree()
    prepare()
    before = {path: path.read_bytes() for path in Path("data/prepare").iterdir()}
    edit_params(Path(), {"filter_memorized.alpha": 0.05, "generate.plan.per_class": 3})
    said = fail(seed=1)
    assert "filter_memorized.alpha is 0.05" in said
    assert "generate.plan.per_class is 3" in said
    assert {path: path.read_bytes() for path in Path("data/prepare").iterdir()} == before


@pytest.mark.parametrize("on_leak", ["drop", "warn", "error"])
def test_training_images_of_the_test_set_leave_training_and_never_the_test_set(on_leak: str, fail: Fail) -> None:
    make_tree(("train/cat", "train/dog", "test/cat", "test/dog"))
    for index in range(6):  # as in the brain-MRI set: most of the test set lies in the training set too
        save(f"train/cat/copy {index}.png", seed=2000 + index)
    if on_leak == "error":
        said = fail(on_leak=on_leak)
        assert "train/cat/copy 0.png" in said
        assert "test/cat/00.png" in said
        return
    dataset = prepare(on_leak=on_leak)
    assert len(dataset.role(0, TEST)) == 32
    assert checks()["leak"] == {"images": 6, "dropped": 6 if on_leak == "drop" else 0}
    ids = images.read(Path("data/prepare/images.parquet")).ids
    assert np.sum(np.char.find(ids, "copy") >= 0) == (0 if on_leak == "drop" else 6)
    findings = pd.read_parquet("data/prepare/findings.parquet")
    leaks = findings[findings["kind"] == "leak"]
    assert leaks["image"].notna().all()
    assert leaks["other_image"].notna().all()


def test_an_image_in_two_classes_loses_its_label_and_may_serve_the_pool_alone() -> None:
    make_tree()
    save("dog/copy.png", seed=3)  # as in the skin set: the same as cat/03.png
    dataset = prepare()
    assert checks()["contradicting_labels"]["images"] == 2
    for replicate in range(2):
        for role in (TRAIN, VALIDATION, TEST):
            assert not {"cat/03.png", "dog/copy.png"} & set(dataset.role(replicate, role).ids)
    pool = {name for replicate in range(2) for name in dataset.role(replicate, UNLABELLED_POOL).ids}
    assert "cat/03.png" in pool


def test_no_group_and_no_near_copy_crosses_a_role() -> None:
    make_tree(count=60)
    for index in range(0, 40, 4):  # a brighter copy of every fourth cat
        original = np.asarray(Image.open(SOURCE / f"cat/{index:02d}.png"), dtype=np.int64)
        Image.fromarray(np.clip(original // 2 + 100, 0, 255).astype(np.uint8)).save(
            SOURCE / f"cat/{index:02d} again.png"
        )
    patient = r"(\d)\d(?: again)?\.png$"
    prepare(groups={"kind": "pattern", "pattern": patient})
    roles = pd.read_parquet("data/prepare/roles.parquet")
    roles["patient"] = roles["id"].str.extract(patient)
    roles["picture"] = roles["id"].str.replace(" again", "")
    for keys in ("patient", "picture"):
        assert (roles.groupby(["replicate", keys])["role"].nunique() == 1).all()
    assert checks()["near_duplicate"]["images"] == 20


def test_a_second_source_becomes_the_test_set(project: Path) -> None:
    make_tree()
    second = project / "data/raw/other"
    SOURCE.rename(second)
    for number, folder in enumerate(("cat", "dog")):
        for index in range(16):
            save(f"{folder}/{index:02d}.png", seed=5000 + 100 * number + index)
    dataset = prepare(shift={"source": {"kind": "folder", "path": "data/raw/other"}, "simulate": "none", "pool": False})
    assert len(dataset.role(0, TEST)) == 32
    assert all(name.startswith("shifted/") for name in dataset.role(0, TEST).ids)
    assert not any(name.startswith("shifted/") for name in dataset.seen_by_gan(0).ids)


OTHER = {"kind": "folder", "path": "data/raw/other"}
SEEN_TARGET = {"source": OTHER, "simulate": "none", "pool": True}


def make_target(folders: tuple[str, ...] = ("cat", "dog"), count: int = 32, side: int = 20, first: int = 5000) -> None:
    """A second source of pictures that the first does not have."""
    SOURCE.rename("data/raw/first")
    for number, folder in enumerate(folders):
        for index in range(count):
            save(f"{folder}/{index:02d}.png", seed=first + 1000 * number + index, side=side)
    SOURCE.rename(OTHER["path"])
    Path("data/raw/first").rename(SOURCE)


def domain_of(role: str) -> set[str]:
    roles = pd.read_parquet("data/prepare/roles.parquet")
    return set(roles[roles["role"] == role]["domain"])


def test_a_seen_second_source_has_every_role_but_train(capsys: pytest.CaptureFixture[str]) -> None:
    make_tree()
    make_target(side=48)
    dataset = prepare(shift=SEEN_TARGET)
    assert dataset.shifted
    assert domain_of(TRAIN) == {"source"}
    assert [domain_of(role) for role in (VALIDATION, CALIBRATION, UNLABELLED_POOL, TEST)] == [{"target"}] * 4
    roles = pd.read_parquet("data/prepare/roles.parquet")
    assert ((roles["domain"] == "target") == roles["id"].str.startswith("shifted/")).all()
    assert len(dataset.role(0, TEST)) == 16
    assert np.bincount(dataset.role(0, VALIDATION).labels).tolist() == [2, 2]
    assert set(dataset.role(0, UNLABELLED_POOL).labels.tolist()) == {images.UNLABELLED}
    said = capsys.readouterr().out
    assert "64 of the target domain" in said
    assert "20 x 20 pixels, those of the second 48 x 48" in said


def test_no_patient_and_no_picture_crosses_a_role_over_two_sources() -> None:
    make_tree(count=40)
    make_target(count=40)
    for index in range(0, 40, 5):  # a brighter copy of every fifth cat of the first source
        original = np.asarray(Image.open(SOURCE / f"cat/{index:02d}.png"), dtype=np.int64)
        copy = Image.fromarray(np.clip(original // 2 + 100, 0, 255).astype(np.uint8))
        copy.save(Path(OTHER["path"]) / f"cat/{index:02d} copy.png")
    for groups in ({"kind": "none"}, {"kind": "pattern", "pattern": r"\d(\d)(?: copy)?\.png$"}):
        prepare(shift=SEEN_TARGET, groups=groups)
        roles = pd.read_parquet("data/prepare/roles.parquet")
        picture = roles["id"].str.removeprefix("shifted/").str.replace(" copy", "")
        of_copies = roles[(roles["domain"] == "source") | roles["id"].str.contains("copy")]
        assert (of_copies.groupby(["replicate", picture])["role"].nunique() == 1).all()
        if groups["kind"] == "pattern":
            roles["patient"] = roles["id"].str.extract(groups["pattern"])
            assert (roles.groupby(["replicate", "patient"])["role"].nunique() == 1).all()


@pytest.mark.parametrize("pool", [False, True])
def test_a_simulated_shift_changes_the_target_alone(pool: bool) -> None:
    make_tree()
    dataset = prepare()
    plain = {role: [dataset.role(each, role) for each in range(2)] for role in ROLES}
    none = {"kind": "none", "path": "data/raw/none"}
    dataset = prepare(shift={"source": none, "simulate": "inversion", "pool": pool})
    assert dataset.shifted == pool
    for role in ROLES:
        expected = "target" if role == TEST or (pool and role != TRAIN) else "source"
        assert domain_of(role) == {expected}
        for replicate in range(2):
            before, after = plain[role][replicate], dataset.role(replicate, role)
            names = np.char.add("shifted/", before.ids) if expected == "target" else before.ids
            assert np.array_equal(after.ids, names)
            pixels = 255 * (1 - before.pixels / 255) ** 1.6 if expected == "target" else before.pixels
            assert np.abs(after.pixels - pixels).max() <= 0.5
            assert np.array_equal(after.labels, before.labels)


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ({"folders": ("cat", "cow")}, {}, ["lacks dog", "beside them cow"]),
        ({"first": 0, "count": 16, "side": 20}, {}, ["32 of the 32 images of prepare.shift.source are the same"]),
        ({}, {"unlabelled": {"share": 0.0}}, ["prepare.shift.pool is true, but the target has no image left"]),
        ({"folders": ("unlabelled",)}, {}, ["data/raw/other"]),
        ({"count": 2}, {}, ["class 'dog' has 2 images in the second source: too few for a test set"]),
    ],
)
def test_a_target_that_cannot_serve_is_told_before_anything_is_trained(
    target: dict[str, Any], changes: dict[str, Any], words: list[str], fail: Fail
) -> None:
    make_tree()
    make_target(**target)
    said = fail(shift=SEEN_TARGET, **changes)
    assert all(word in said for word in words), said
    assert not Path("data/prepare").exists()


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (lambda: None, ["data/raw/own", "put a folder there"]),
        (lambda: SOURCE.mkdir(), ["data/raw/own", "no folder for a class"]),
        (lambda: make_tree(("cat",)), ["one class only", "'cat'"]),
        (lambda: make_tree(("train/cat", "train/dog", "test/cat")), ["'test'", "'dog'"]),
        (lambda: make_tree(("train/cat", "test/cat", "test/dog")), ["'train'", "'dog'"]),
        (lambda: make_tree(count=5), ["class 'cat'", "prepare.labels_per_class"]),
    ],
)
def test_a_source_that_cannot_serve_is_told_in_one_message(
    arrange: Callable[[], None], words: list[str], fail: Fail
) -> None:
    arrange()
    said = fail()
    assert all(word in said for word in words), said
