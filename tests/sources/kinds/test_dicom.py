"""DICOM files: the pixels as a screen shows them, and nothing of what a header tells of a person."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, JPEG2000Lossless, SecondaryCaptureImageStorage

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.kinds import dicom
from stages.sources.params import DicomParams, WindowParams

NAME = "Grimbald^Ottilie"
PATIENT = "ward7-4711"
CT = {"RescaleSlope": 1.0, "RescaleIntercept": -1024.0}


def params(path: Path, **changes: Any) -> DicomParams:
    return DicomParams.model_validate(
        {"kind": "dicom", "path": str(path), "groups": "patient", "window": "header"} | changes
    )


def dataset(values: np.ndarray, **tags: Any) -> pydicom.Dataset:
    """A file of these stored values, (H, W), (frames, H, W) or (H, W, 3)."""
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    colour = values.ndim == 3 and values.shape[-1] == 3
    made.Rows, made.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    made.SamplesPerPixel = 3 if colour else 1
    if colour:
        made.PlanarConfiguration = 0
    elif values.ndim == 3:
        made.NumberOfFrames = len(values)
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    made.BitsAllocated, made.BitsStored = (bits := 8 * values.dtype.itemsize), bits
    made.HighBit, made.PixelRepresentation = bits - 1, int(values.dtype.kind == "i")
    made.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    made.PatientName, made.PatientID = NAME, PATIENT
    for tag, value in tags.items():
        setattr(made, tag, value)
    return made


def encoded(values: np.ndarray, **tags: Any) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset(values, **tags), enforce_file_format=True)
    return buffer.getvalue()


def put(root: Path, **files: bytes) -> Path:
    """Files by class and name: cat_1 is cat/1."""
    for name, content in files.items():
        path = root / name.replace("_", "/", 1)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return root


def shown(data: bytes, window: Any = "header", frame: int | None = None) -> np.ndarray:
    return np.asarray(dicom.picture(data, frame, window))


RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)


def test_a_window_in_hounsfield_units_is_linear_between_black_and_white() -> None:
    """Of CT, stored values less 1024; a window from -160 to 240."""
    grey = shown(encoded(RAMP, **CT), WindowParams(center=40, width=400))
    expected = np.rint(255 * (RAMP.astype(float) - 1024 + 160) / 400).clip(0, 255)
    assert np.abs(grey - expected).max() <= 1
    assert (grey.min(), grey.max()) == (0, 255)


def test_the_headers_window_is_taken_where_it_has_one_and_all_values_else() -> None:
    tags = {**CT, "WindowCenter": 40, "WindowWidth": 400}
    windowed, full = shown(encoded(RAMP, **tags)), shown(encoded(RAMP, **tags), "full")
    assert np.abs(windowed.astype(int) - shown(encoded(RAMP, **CT), WindowParams(center=40, width=400))).max() <= 1
    assert np.array_equal(full, shown(encoded(RAMP, **CT)))
    assert np.array_equal(full, np.rint(RAMP / RAMP.max() * 255))


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_depth_and_sign_keeps_the_order_of_greys(bits: int, signed: bool) -> None:
    values = np.linspace(0, 2**bits - 1, 64).reshape(8, 8).astype(np.int64) - signed * 2 ** (bits - 1)
    stored = values.astype(np.int16 if signed else np.uint16)
    grey = shown(encoded(stored, BitsStored=bits, HighBit=bits - 1))
    assert (grey.flat[0], grey.flat[-1]) == (0, 255)
    assert (np.diff(grey.astype(int).ravel()) >= 0).all()


def test_monochrome1_is_turned_round() -> None:
    one, two = (shown(encoded(RAMP, PhotometricInterpretation=f"MONOCHROME{each}")) for each in (1, 2))
    assert np.array_equal(one, 255 - two)


def test_colour_stays_colour() -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    assert np.array_equal(shown(encoded(values)), values)


def test_a_constant_frame_is_no_division_by_zero() -> None:
    assert np.array_equal(shown(encoded(np.full((4, 4), 7, np.uint16))), np.zeros((4, 4)))


def test_files_are_found_by_content_frames_are_images_and_the_patients_stay_together(tmp_path: Path) -> None:
    film = np.stack([RAMP, RAMP[::-1]])
    other = {"PatientID": "somebody else"}
    root = put(
        tmp_path, cat_1=encoded(film), cat_2=encoded(RAMP), dog_3=encoded(RAMP, **other), unlabelled_4=encoded(RAMP)
    )
    (root / "cat/notes.txt").write_text("no image")
    listing = dicom.find(params(root))
    assert listing.ids.tolist() == ["cat/1#0001", "cat/1#0002", "cat/2", "dog/3", "unlabelled/4"]
    assert listing.labels.tolist() == [0, 0, 0, 1, UNLABELLED]
    assert listing.groups == ["patient 1", "patient 1", "patient 1", "patient 2", "patient 1"]
    assert listing.ignored["no DICOM file by its content"] == 1
    one, two, *_ = (np.asarray(each) for each in dicom.read(params(root), listing.locators))
    assert np.array_equal(one, two[::-1])
    assert dicom.find(params(root, groups="file")).groups == ["file 1", "file 1", None, None, None]


def test_nothing_that_names_a_patient_is_passed_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = {"SOPInstanceUID": f"{PATIENT} is no UID", "WindowCenter": 1, "WindowWidth": 0}
    root = put(tmp_path, cat_1=encoded(RAMP), dog_2=encoded(RAMP)[:600], dog_3=encoded(RAMP, **wrong))
    listing = dicom.find(params(root))
    told = [str(each) for each in dicom.read(params(root), listing.locators)]
    text = " ".join([repr(listing), *told, *capfd.readouterr()])
    assert PATIENT not in text
    assert "Grimbald" not in text
    assert "Ottilie" not in text


def broken(**tags: Any) -> bytes:
    made = dataset(RAMP, **tags)
    del made.PixelData
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def compressed() -> bytes:
    made = dataset(RAMP)
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless
    made.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 no codestream"])
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (broken(), "has no pixels"),
        (broken(SOPClassUID=EncapsulatedPDFStorage), "Encapsulated PDF"),
        (encoded(RAMP)[:-40], "cut off or damaged"),
        (encoded(RAMP, WindowCenter=1, WindowWidth=0), "has a window that is none"),
        (compressed(), "JPEG 2000|cut off"),
        (encoded(RAMP, Rows=60_000, Columns=60_000), "more than"),
    ],
    ids=["empty", "no pixels", "PDF", "cut off", "window", "compressed", "bomb"],
)
def test_what_is_no_picture_is_told_with_a_remedy(data: bytes, words: str) -> None:
    with pytest.raises(BadItem, match=words) as caught:
        dicom.picture(data, None, "header")
    assert ": " in caught.value.reason


def test_a_class_without_dicom_files_is_named(tmp_path: Path) -> None:
    root = put(tmp_path, cat_1=encoded(RAMP), dog_2=b"a text")
    with pytest.raises(UserError, match="no DICOM file in the class folders 'dog'"):
        dicom.find(params(root))
