"""DICOM files in a folder for each class: the pixels alone, as a screen would show them.

Nothing of a header that may name a person is passed on. What belongs together is told by numbers, in the order of the
files' names.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import LARGEST_PIXELS, BadItem, checked, read_bytes
from stages.plumbing.errors import UserError
from stages.sources.attempts import attempts
from stages.sources.listing import Listing
from stages.sources.params import DicomParams, Window, WindowParams
from stages.sources.quiet import quiet
from stages.sources.tree import list_tree
from stages.sources.unfolding import Locator, unfold

if TYPE_CHECKING:
    from pydicom import Dataset

_KEYWORDS = {"patient": "PatientID", "study": "StudyInstanceUID", "series": "SeriesInstanceUID"}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FAR = 1e12  # beyond every stored value, where a window shows black or white
_MOST_FRAMES = 100_000
_INDEX = "Media Storage Directory Storage"  # a DICOMDIR, which lists other files


def find(params: DicomParams) -> Listing:
    """All DICOM files, whatever their endings, in the layouts of `list_tree`; each frame of a file is an image.

    Raises UserError where they make no labelled set, and where pydicom is missing.
    """
    _check_library()
    root = Path(params.path)
    files = list_tree(root, frozenset({""}), "file")
    numbers, groups = list[Sequence[int | None]](), list[str | None]()
    seen: dict[str, int] = {}
    for name, locator in zip(files.ids.tolist(), files.locators, strict=True):
        header = _header(root, locator)
        frames = 0 if header is None else _frames(header)
        numbers.append([None] if frames == 1 else range(frames))
        own = "" if header is None else _together(header, params.groups, name if frames > 1 else "")
        groups.append(f"{params.groups} {seen.setdefault(own, len(seen) + 1)}" if own else None)
    listing = unfold(files, numbers, groups)
    _check_classes(root, listing)
    passed_over = numbers.count(range(0))
    ignored = {**files.ignored, **({"no DICOM file by its content": passed_over} if passed_over else {})}
    return replace(listing, ignored=ignored)


def read(params: DicomParams, locators: Sequence[Locator]) -> Iterator[Image.Image | BadItem]:
    """The images at `locators` in order; for one that cannot be used, what is wrong with it."""
    root = Path(params.path)
    return attempts(lambda each: picture(read_bytes(root, each[0]), each[1], params.window), locators)


def picture(data: bytes, frame: int | None, window: Window) -> Image.Image:
    """One frame as a screen shows it, mode L or RGB, 8 bits; overlays are left out.

    Grey values go through the modality's rescaling and a window: that of the header where it has one (`header`), a
    given one in rescaled units, such as Hounsfield's, or all that the frame has, from its least to its greatest value
    (`full`). MONOCHROME1 is turned round, so that white is always high attenuation or signal. PS3.3 C.7.6.3, C.11.
    Raises BadItem where there is no picture.
    """
    with quiet("pydicom"):
        header = _parsed(data)
        _check_size(header)
        try:
            from pydicom.pixels import pixel_array

            values = pixel_array(io.BytesIO(data), index=frame, ds_out=header)
        except Exception as error:  # of any kind; its words may quote the header, so they are not passed on
            raise _undecodable(header, error) from None
        if values.ndim != 2 + (header.SamplesPerPixel == 3):
            raise BadItem("undecodable", "states its number of frames wrongly: export it anew or remove it")
        return Image.fromarray(_shown(values, header, window))


def _shown(values: NDArray[Any], header: "Dataset", window: Window) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    kind = header.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        return (apply_color_lut(values, header) >> 8).astype(np.uint8)
    if header.SamplesPerPixel == 3:
        return (values >> max(header.BitsStored - 8, 0)).astype(np.uint8)
    grey = _windowed(np.asarray(apply_modality_lut(values, header), dtype=np.float64), header, window)
    return 255 - grey if kind == "MONOCHROME1" else grey


def _windowed(values: NDArray[np.float64], header: "Dataset", window: Window) -> NDArray[np.uint8]:
    """Rescaled values as grey levels."""
    from pydicom.pixels import apply_windowing

    if not np.isfinite(values).all():
        raise BadItem("not_a_number", "has pixels that are NaN or infinite: export it anew or remove it")
    if isinstance(window, WindowParams):
        header.WindowCenter, header.WindowWidth, header.VOILUTFunction = window.center, window.width, "LINEAR_EXACT"
    low, high = values.min(), values.max()
    if window != "full" and "WindowCenter" in header and "WindowWidth" in header:
        try:
            values = apply_windowing(values, header)
            low, high = apply_windowing(np.array([-_FAR, _FAR]), header)
        except (ValueError, TypeError):
            raise BadItem("undecodable", "has a window that is none: take window: full, or state one") from None
    return np.rint(255 * (values - low) / ((high - low) or 1)).clip(0, 255).astype(np.uint8)


def _header(root: Path, locator: str) -> "Dataset | None":
    """Of a DICOM file; None where it is none, or only lists others. A file that cannot be read is told by `read`."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    tags = [*_KEYWORDS.values(), "NumberOfFrames"]
    with quiet("pydicom"):
        try:
            header = pydicom.dcmread(checked(root, locator), stop_before_pixels=True, specific_tags=tags)
        except InvalidDicomError:
            return None
        except Exception:  # of any kind: damaged files are items too, which are told with their names
            return pydicom.Dataset()
        meta = getattr(header, "file_meta", {})
        is_index = getattr(meta.get("MediaStorageSOPClassUID"), "name", "") == _INDEX
        return None if is_index else header


def _frames(header: "Dataset") -> int:
    """How many the file has; 1 where that is no number, and `read` tells."""
    try:
        number = int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return 1
    return number if 1 <= number <= _MOST_FRAMES else 1


def _together(header: "Dataset", by: str, file: str) -> str:
    """What is the same for all images that must stay together; "" where nothing is known."""
    return file if by == "file" else str(header.get(_KEYWORDS[by], "") or "")


def _parsed(data: bytes) -> "Dataset":
    import pydicom

    if not data:
        raise BadItem("empty", "has no content (0 bytes): copy it anew or remove it")
    try:
        header = pydicom.dcmread(io.BytesIO(data))
        kind = getattr(header.get("SOPClassUID"), "name", "DICOM")
    except Exception:  # of any kind: parsers let through whatever they stumble on
        raise BadItem("truncated", "is DICOM, but cut off or damaged: export it anew or remove it") from None
    if not any(each in header for each in _PIXELS):
        raise BadItem("undecodable", f"has no pixels ({kind}): remove it")
    return header


def _check_size(header: "Dataset") -> None:
    if int(header.get("Rows") or 0) * int(header.get("Columns") or 0) > LARGEST_PIXELS:
        raise BadItem("too_large", f"has more than {LARGEST_PIXELS:,} pixels: make it smaller or remove it")


def _undecodable(header: "Dataset", error: Exception) -> BadItem:
    syntax: Any = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if isinstance(error, RuntimeError) and getattr(syntax, "is_compressed", False):
        return BadItem(
            "undecodable",
            f"is compressed as {syntax.name}, which nothing installed here can decode: decompress it (gdcmconv --raw), "
            "or install a plugin of pydicom's",
        )
    return BadItem("truncated", "is DICOM, but its pixels are cut off or damaged: export it anew or remove it")


def _check_classes(root: Path, listing: Listing) -> None:
    empty = sorted({name for label, name in enumerate(listing.class_names) if label not in listing.labels})
    if empty:
        names = ", ".join(map(repr, empty))
        raise UserError(f"{root} has no DICOM file in the class folders {names}: fill them or remove them")


def _check_library() -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise UserError(f"the source kind dicom needs pydicom ({error}): `make extras` installs it") from None
