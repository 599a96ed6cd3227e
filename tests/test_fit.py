"""Parameters that are made to fit a folder pass `prepare` on it, and what cannot fit is told."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stages.prepare
from stages import presets
from stages.fit import fit
from stages.plumbing import params
from stages.plumbing.errors import UserError
from stages.plumbing.stage import execute
from tests.conftest import ROOT
from tests.sources.kinds.test_dicom import encoded

FOLDER = Path("data/raw/own")
Fit = Callable[..., tuple[params.Params, str]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stages", "presets"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data/raw/none").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def make(form: str, counts: dict[str, int], side: int = 20, colour: bool = False) -> None:
    """Pictures, each of its own, in a folder for each class; `form` names the file by its number."""
    for name, count in counts.items():
        for index in range(count):
            path = FOLDER / name / form.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(list(str(path).encode()))
            pixels = random.integers(0, 256, (5, 5, 3) if colour else (5, 5), dtype=np.uint8)
            Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).save(path)


def fitted(by_names: bool = False, left_out: Sequence[str] = ()) -> tuple[params.Params, str]:
    text, lines = fit(presets.read("my_folder"), FOLDER, by_names, left_out)
    Path("params.yaml").write_text(text.replace("\n  jobs: 2\n", "\n  jobs: 1\n"))
    return params.load(), "\n".join(lines)


@pytest.mark.parametrize(
    ("counts", "side", "colour"),
    [
        ({"a": 12, "b": 12, "c": 12}, 20, False),
        ({"a": 60, "b": 9, "unlabelled": 30}, 48, True),
        ({"a": 4, "b": 4, "unlabelled": 30}, 20, False),  # of which `prepare` refuses the first choice
    ],
)
def test_what_is_chosen_passes_prepare(counts: dict[str, int], side: int, colour: bool) -> None:
    make("{}.png", counts, side, colour)
    chosen, said = fitted()
    assert chosen.prepare.image.size == min(side, 32)
    assert chosen.prepare.image.channels == ("rgb" if colour else "grey")
    assert f"about {side} x {side} pixels" in said
    arms = set(chosen.train_downstream.arms)
    assert ("fixmatch" in arms) == ("unlabelled" in counts)
    assert ("oversampled_classic" in arms) == (counts["a"] > 2 * counts["b"])
    assert ("gan_transfer" in arms) == ("transfer" in chosen.evaluate.augment.rivals) == (side >= 32)
    assert chosen.train_gan.generators["gan"].kind == ("refined_gaussian" if side >= 28 else "projection")
    assert chosen.train_downstream.arms["synthetic_only"].generators == ["gan", "gaussian"]
    execute("prepare", stages.prepare.main)
    assert "chosen:" in Path("params.yaml").read_text()


def test_a_table_of_classes_in_the_folder_is_used() -> None:
    make("{}.png", {"x": 30})
    rows = [f"x/{index}.png,{'ab'[index % 2]},p{index // 3}" for index in range(30)]
    (FOLDER / "labels.csv").write_text("\n".join(["filename,label,patient", *rows, "x/gone.png,a,p0"]))
    chosen, said = fitted()
    assert chosen.prepare.source.kind == "csv"
    assert "30 labelled images of 2 classes (15 each)" in said
    assert "1 image or file left out" in said
    execute("prepare", stages.prepare.main)


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (
            "file,effusion,mass",
            "1.png",
            r"needs a column of files.*has 'file', 'effusion', 'mass'.*each image has one class",
        ),
        ("file,class", "1.nii", "cannot tell the classes of NIFTI files: put those of each class into a folder"),
    ],
)
def test_a_table_that_tells_no_classes_of_images_is_refused(head: str, name: str, words: str) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / name).touch()
    (FOLDER / "labels.csv").write_text(f"{head}\n{name},0\n")
    with pytest.raises(UserError, match=words):
        fitted()


def test_groups_in_names_are_suggested_and_taken_where_asked_for() -> None:
    for group in range(12):
        make(f"patient{group:02d}_{{}}.png", {"a": 3, "b": 3})
    without, said = fitted()
    assert without.prepare.groups.kind == "none"
    assert "12 groups, such as patient00" in said
    assert "GROUPS=names" in said
    chosen, _ = fitted(by_names=True)
    assert chosen.prepare.groups.kind == "pattern"
    execute("prepare", stages.prepare.main)


def test_a_folder_for_which_nothing_fits_is_told_what_to_add() -> None:
    make("{}.png", {"a": 5, "b": 5, "c": 5})
    with pytest.raises(UserError, match=r"15 images are too few.*add images"):
        fitted()


def test_all_classes_without_enough_images_are_named_and_why() -> None:
    make("{}.png", {"a": 12, "b": 12})
    for name in ("same", "few"):
        (FOLDER / name).mkdir()
        for index in range(30 if name == "same" else 2):
            source = FOLDER / "a" / f"{0 if name == 'same' else index + 1}.png"
            Image.open(source).transpose(Image.Transpose.ROTATE_90).save(FOLDER / name / f"{index}.png")
    with pytest.raises(UserError) as error:
        fitted()
    assert "class 'few' has 2, class 'same' has 1." in str(error.value)
    assert "29 images or files left out: duplicate, such as same/" in str(error.value)
    assert "LEAVE_OUT='few,same'" in str(error.value)
    chosen, _ = fitted(left_out=["few", "same"])
    assert chosen.prepare.leave_out == ("few", "same")


@pytest.mark.parametrize("between", ["", "/{}-scans"])
def test_folders_inside_folders_are_not_taken_for_classes_silently(between: str) -> None:
    for name in ("north", "south"):
        inner = name + between.format(name)
        make("{}.png", {f"{inner}/cat": 8, f"{inner}/dog": 8})
    _, said = fitted()
    assert "turn the tree inside out, for instance into cat/north/FILE" in said


def put_scans(constant: str) -> None:
    """Patients with a study of two files each, in each class and split; those of a class share an id, if wanted."""
    for split, first in (("train", 0), ("test", 8)):
        for patient in range(first, first + 8):
            for name in ("benign", "malignant"):
                who = {"PatientID": constant if constant and name == "benign" else f"{name}{patient}"}
                for number in range(2):
                    random = np.random.default_rng([patient, number, len(name)])
                    values = random.integers(0, 4096, (6, 6)).astype(np.uint16).repeat(4, 0).repeat(4, 1)
                    path = FOLDER / split / name / f"{patient}-{number}.dcm"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(encoded(values, StudyInstanceUID=f"1.2.{patient}.{len(name)}", **who))


@pytest.mark.parametrize(("constant", "groups"), [("", "patient"), ("ANON", "study")])
def test_dicom_files_are_seen_and_held_together_by_what_their_headers_tell(constant: str, groups: str) -> None:
    put_scans(constant)
    chosen, said = fitted()
    assert chosen.prepare.source.model_dump(exclude={"path"}) == {"kind": "dicom", "groups": groups, "window": "header"}
    assert (chosen.prepare.image.size, chosen.prepare.image.channels) == (24, "grey")
    assert "64 labelled images of 2 classes (32 each) with a test set of their own" in said
    if groups == "patient":
        execute("prepare", stages.prepare.main)
