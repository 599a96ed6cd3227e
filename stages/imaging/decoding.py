"""From an image file to its bytes, and from these to its pixels, or to words on what is wrong with it."""

import io
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

Fault = Literal["empty", "undecodable", "truncated", "too_large", "animated", "forbidden", "outside", "not_a_number"]
LARGEST_FILE = 2**30  # bytes
LARGEST_PIXELS = 2**26  # 256 MiB once decoded
MOST_PAGES = 100_000  # of a stack
# A progressive JPEG passes over all of its pixels once for each scan. Encoders write about ten; 100 bytes suffice for
# one that changes nothing, so that 10 MB would keep the decoder busy for hours.
MOST_SCANS = 100  # of LARGEST_PIXELS; of fewer pixels as many more
_SCAN = b"\xff\xda"  # within a scan, FF is followed by 00
_STACKS = (".tif", ".tiff")
_NO_PICTURE = 0b101  # bits of a TIFF page's NewSubfileType: a smaller copy of another page, and a mask
_NEW_SUBFILE_TYPE = 254
# Pillow's formats that hold pixels alone; others run a program (EPS), are films or documents, or are only recognised.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP")


class BadItem(Exception):  # noqa: N818 - as much a record of what was found as an error
    """One image or recording that cannot be used, with the reason and the remedy in words; no fault of the run."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(fault, reason)  # both, so that it comes back from a worker process as it went
        self.fault: Fault = fault
        self.reason = reason


def read_bytes(root: Path, locator: str) -> bytes:
    """The bytes of the file at `locator` below `root`, at most `LARGEST_FILE`.

    Raises BadItem as `checked`, and when the file cannot be read.
    """
    path = checked(root, locator)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _gone() from None
    except PermissionError:
        raise BadItem("forbidden", "may not be read: give yourself permission (chmod u+r on the file)") from None
    except OSError as error:
        raise _unreadable(error) from None


def checked(root: Path, locator: str) -> Path:
    """The path of the file at `locator` below `root`, which may be opened.

    Raises BadItem when it is a symbolic link out of `root` or to nothing, or lies below one, is no file or too large.
    """
    path = root / locator
    try:
        if _is_linked(root, locator) and not path.resolve(strict=True).is_relative_to(root.resolve()):
            raise BadItem("outside", "a symbolic link out of the folder: put the file itself there")
        facts = path.stat()
    except FileNotFoundError:
        raise _gone() from None
    except (OSError, RuntimeError) as error:  # pathlib of Python 3.11 and 3.12 calls a loop of links a RuntimeError
        raise _unreadable(error) from None
    if not stat.S_ISREG(facts.st_mode):
        raise BadItem("undecodable", "no regular file: remove it")
    if facts.st_size > LARGEST_FILE:
        raise BadItem("too_large", f"has more than {LARGEST_FILE // 2**20} MiB: make it smaller or remove it")
    return path


def _gone() -> BadItem:
    return BadItem("outside", "gone, or a symbolic link to nothing: put the file itself there")


def _unreadable(error: Exception) -> BadItem:
    return BadItem("forbidden", f"cannot be read ({error}): copy it anew or remove it")


def _is_linked(root: Path, locator: str) -> bool:
    """Whether the file or a folder above it is a symbolic link. Resolving every path would cost more than reading."""
    parts = locator.split("/")
    return any(Path(root, *parts[: depth + 1]).is_symlink() for depth in range(len(parts)))


def image_suffixes() -> frozenset[str]:
    """Endings of files in one of `FORMATS`, in lower case and with the dot."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def pages(root: Path, locator: str) -> Sequence[int | None]:
    """Numbers, from 0, of a TIFF's pages that are pictures of their own; [None] where the file is one image.

    Pages that the file calls smaller copies or masks are left out. Of a file that is no TIFF by its name, or cannot be
    read, `decode` tells. Nothing is decoded.
    """
    if not locator.lower().endswith(_STACKS):
        return [None]
    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(checked(root, locator), formats=["TIFF"]) as image:
                return _pictures(image)
        except Exception:  # of any kind: damaged files are items too
            return [None]


def _pictures(image: Image.Image) -> Sequence[int | None]:
    found = list[int]()
    for page in range(MOST_PAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            return found if page > 1 and found else [None]
        except Exception:  # of any kind: damaged from here on, as `decode_pages` tells of this page
            return [*found, page]
        if not int(getattr(image, "tag_v2", {}).get(_NEW_SUBFILE_TYPE, 0)) & _NO_PICTURE:
            found.append(page)
    return [None]  # `decode` refuses it


def decode(data: bytes) -> Image.Image:
    """The image in `data`, wholly loaded, in whatever mode and size its file has, EXIF orientation not applied.

    Raises BadItem when it is empty, no image in one of `FORMATS`, cut off, animated (or has pages), or too large: has
    more than `LARGEST_PIXELS`, which its header tells before anything is decoded, or more scans than they may take.
    """
    with _told():
        image = _opened(data)
        # A phone's photograph may carry a preview or depth map behind it (MPO); the first picture is the photograph.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            stacks = " (the pages of a stack are read from files named .tif)" if image.format == "TIFF" else ""
            raise BadItem("animated", f"has several frames or pages: export the one wanted as a still image{stacks}")
        return _loaded(image, data)


def decode_pages(data: bytes, numbers: Iterable[int]) -> Iterator[Image.Image | BadItem]:
    """These pages of a TIFF, as `decode` gives an image; for one that cannot be used, what is wrong with it.

    The file is opened once: to find a page, all pages before it are passed through.
    """
    image = None
    for number in numbers:
        try:
            with _told():
                image = image or _opened(data)
                image.seek(number)
                page = _loaded(image, data).copy()
                page.format = image.format
            yield page
        except BadItem as bad:
            yield bad


@contextmanager
def _told() -> Iterator[None]:
    """Turns whatever Pillow raises into BadItem."""
    with warnings.catch_warnings(action="ignore"):  # what Pillow only warns of is either refused here or harmless
        try:
            yield
        except UnidentifiedImageError:
            reason = f"is no image, whatever its name, or damaged at its start (can be read: {', '.join(FORMATS)})"
            raise BadItem("undecodable", f"{reason}: convert it, copy it anew or remove it") from None
        except Image.DecompressionBombError:
            raise _too_large() from None
        except BadItem:
            raise
        except Exception as error:  # of any kind: Pillow's parsers let through whatever they stumble on
            reason = f"is an image, but cut off or damaged ({error})"
            raise BadItem("truncated", f"{reason}: copy it anew or remove it") from None


def _opened(data: bytes) -> Image.Image:
    if not data:
        raise BadItem("empty", "has no content (0 bytes): copy it anew or remove it")
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _loaded(image: Image.Image, data: bytes) -> Image.Image:
    if image.width * image.height > LARGEST_PIXELS:
        raise _too_large()
    if image.format in ("JPEG", "MPO") and data.count(_SCAN) * image.width * image.height > MOST_SCANS * LARGEST_PIXELS:
        raise BadItem("too_large", "is a JPEG that would take minutes to decode: save it anew or remove it")
    image.load()
    return image


def _too_large() -> BadItem:
    return BadItem("too_large", f"has more than {LARGEST_PIXELS:,} pixels: make it smaller or remove it")
