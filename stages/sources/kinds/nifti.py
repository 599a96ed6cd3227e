"""NIfTI volumes in a folder for each class: their slices as images, which stay together."""

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import LARGEST_PIXELS, BadItem, checked, read_bytes
from stages.plumbing.errors import UserError
from stages.sources.attempts import attempts
from stages.sources.listing import Listing
from stages.sources.params import NiftiParams, Window, WindowParams
from stages.sources.quiet import quiet
from stages.sources.tree import list_tree
from stages.sources.unfolding import Locator, unfold

SUFFIXES = frozenset({".nii", ".nii.gz"})
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # of a volume turned to right, anterior, superior
_PERCENTILES = (0.5, 99.5)  # of the volume, which become black and white where there is no window


def find(params: NiftiParams) -> Listing:
    """All slices that are wanted of all volumes, in the layouts of `list_tree`; decodes none.

    Raises UserError where the folder makes no labelled set, and where nibabel is missing.
    """
    _check_library()
    root = Path(params.path)
    files = list_tree(root, SUFFIXES, "NIfTI volume")
    numbers = [_wanted(_count(root, each, params.plane), params) for each in files.locators]
    return unfold(files, numbers, [f"volume {row + 1}" for row in range(len(files))])


def read(params: NiftiParams, locators: Sequence[Locator]) -> Iterator[Image.Image | BadItem]:
    """The slices at `locators` in order, mode L; for one that cannot be used, what is wrong with its volume.

    A volume is turned so that the viewer sees it upright: an axial slice has the front above and the right side on its
    left.
    """
    return attempts(lambda each: _slice(params, *each), locators)


def _slice(params: NiftiParams, locator: str, number: int | None) -> Image.Image:
    volume, low, high = _volume(Path(params.path), locator, params.window)
    if number is None:
        raise _damaged()
    values = np.rot90(np.take(volume, number, axis=_AXES[params.plane]))
    if params.plane != "sagittal":
        values = values[:, ::-1]
    grey = np.rint(255 * (values - low) / ((high - low) or 1)).clip(0, 255)
    return Image.fromarray(grey.astype(np.uint8))


def _wanted(count: int, params: NiftiParams) -> Sequence[int | None]:
    """Numbers of the slices: each `every`-th of those between the ends that are skipped; [None] where there is none."""
    if not count:
        return [None]
    first = int(count * params.skip_ends)
    return range(first, max(count - first, first + 1), params.every)


def _count(root: Path, locator: str, plane: str) -> int:
    """Slices of a volume in this plane; 0 where it is none, or cannot be read."""
    import nibabel

    with quiet("nibabel.global"):
        try:
            image: Any = nibabel.load(checked(root, locator))
            shape = image.shape[:3] if image.shape[3:] in ((), (1,)) else ()
            orientation = nibabel.orientations.io_orientation(image.affine)
        except Exception:  # of any kind: damaged files are items too, which `read` tells with their names
            return 0
    if len(shape) != 3:
        return 0
    return int(shape[orientation[:, 0].tolist().index(_AXES[plane])])


@lru_cache(maxsize=1)  # its slices come one after the other
def _volume(root: Path, locator: str, window: Window) -> tuple[NDArray[np.float64], float, float]:
    """A volume turned to right, anterior, superior, and the values that are black and white. Raises BadItem."""
    import nibabel

    data = read_bytes(root, locator)
    if not data:
        raise BadItem("empty", "has no content (0 bytes): copy it anew or remove it")
    with quiet("nibabel.global"):
        try:
            kind = nibabel.Nifti1Image if locator.lower().endswith(".nii") else None
            image: Any = kind.from_bytes(data) if kind else _unpacked(data)
            shape = image.shape
            if len(shape) == 4 and shape[3] == 1:
                image = nibabel.Nifti1Image(image.dataobj[..., 0], image.affine)
        except Exception:  # of any kind: parsers let through whatever they stumble on
            raise _damaged() from None
        _check_shape(image.shape)
        try:
            values = nibabel.as_closest_canonical(image).get_fdata(caching="unchanged")
        except Exception:
            raise _damaged() from None
    if not np.isfinite(values).all():
        raise BadItem("not_a_number", "has voxels that are NaN or infinite: mask or fill them, or remove the volume")
    if isinstance(window, WindowParams):
        return values, window.center - window.width / 2, window.center + window.width / 2
    low, high = (float(image.header[limit]) for limit in ("cal_min", "cal_max"))
    if window == "full" or not low < high:
        low, high = np.percentile(values, _PERCENTILES).tolist()
    return values, low, high


def _unpacked(data: bytes) -> Any:
    import gzip

    import nibabel

    limit = 16 * LARGEST_PIXELS  # bytes: a little file may unpack to more than any memory
    with gzip.open(io.BytesIO(data)) as packed:
        content = packed.read(limit + 1)
    if len(content) > limit:
        raise ValueError("too large")
    return nibabel.Nifti1Image.from_bytes(content)


def _check_shape(shape: Sequence[int]) -> None:
    if len(shape) != 3:
        raise BadItem(
            "undecodable",
            f"has {len(shape)} dimensions ({' x '.join(map(str, shape))}), not 3: save one volume of it, such as a "
            "point in time, as a file of its own",
        )
    if 0 in shape:
        raise BadItem("empty", "has no voxels: export it anew or remove it")
    if np.prod(shape, dtype=np.float64) > LARGEST_PIXELS:
        raise BadItem("too_large", f"has more than {LARGEST_PIXELS:,} voxels: make it smaller or remove it")


def _damaged() -> BadItem:
    return BadItem("truncated", "is no NIfTI volume, or cut off or damaged: export it anew or remove it")


def _check_library() -> None:
    try:
        import nibabel  # noqa: F401
    except ImportError as error:
        raise UserError(f"the source kind nifti needs nibabel ({error}): `make extras` installs it") from None
