"""Classification sets of `torchvision.datasets` by name, with their official splits."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.dataset import TEST, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.listing import Listing
from stages.sources.params import TorchvisionParams

Locator = tuple[str, int]  # part of the set, index in it
Parts = Mapping[str, Mapping[str, Any]]


def _upright(image: Image.Image) -> Image.Image:
    """EMNIST stores its letters column by column."""
    return image.transpose(Image.Transpose.TRANSPOSE)


_WHOLE: Parts = {"": {}}
_BY_FLAG: Parts = {TRAIN: {"train": True}, TEST: {"train": False}}
_TRAIN_TEST: Parts = {TRAIN: {"split": "train"}, TEST: {"split": "test"}}
_TRAIN_VALIDATION_TEST: Parts = {**_TRAIN_TEST, VALIDATION: {"split": "val"}}
_TRAINVAL_TEST: Parts = {**_TRAIN_TEST, TRAIN: {"split": "trainval"}}
# The labels of their test sets are withheld: results are published on the validation set.
_TRAIN_VALIDATION: Parts = {TRAIN: {"split": "train"}, TEST: {"split": "val"}}
_EMNIST: Parts = {part: {"split": "balanced", "transform": _upright, **flag} for part, flag in _BY_FLAG.items()}

# The constructors have no signature in common, and do not tell which splits they know. By part, which is the split or
# the pool, what each wants. Sets whose test classes are others than those of training are left out (Omniglot, LFW),
# and so are those with several labels per image (CelebA), or whose order depends on the file system (SUN397).
_SETS: Mapping[str, Parts] = {
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "CLEVRClassification": _TRAIN_VALIDATION,
    "Caltech101": _WHOLE,
    "Caltech256": _WHOLE,
    "Country211": {**_TRAIN_TEST, VALIDATION: {"split": "valid"}},
    "DTD": _TRAIN_VALIDATION_TEST,
    "EMNIST": _EMNIST,
    "EuroSAT": _WHOLE,
    "FER2013": _TRAIN_TEST,
    "FGVCAircraft": _TRAIN_VALIDATION_TEST,
    "FashionMNIST": _BY_FLAG,
    "Flowers102": _TRAIN_VALIDATION_TEST,
    "Food101": _TRAIN_TEST,
    "GTSRB": _TRAIN_TEST,
    "ImageNet": _TRAIN_VALIDATION,
    "Imagenette": _TRAIN_VALIDATION,
    "KMNIST": _BY_FLAG,
    "MNIST": _BY_FLAG,
    "OxfordIIITPet": _TRAINVAL_TEST,
    "PCAM": _TRAIN_VALIDATION_TEST,
    "Places365": {TRAIN: {"split": "train-standard", "small": True}, TEST: {"split": "val", "small": True}},
    "QMNIST": _BY_FLAG,
    "RenderedSST2": _TRAIN_VALIDATION_TEST,
    "SEMEION": _WHOLE,
    "STL10": {**_TRAIN_TEST, UNLABELLED_POOL: {"split": "unlabeled"}},
    "SVHN": _TRAIN_TEST,
    "StanfordCars": _TRAIN_TEST,
    "USPS": _BY_FLAG,
}
_NO_DOWNLOAD = {"FER2013", "ImageNet", "StanfordCars"}
_LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")


def find(params: TorchvisionParams) -> Listing:
    """All images of the set: train, then validation, test and STL10's unlabelled ones, each in the set's own order.

    Ids are `train/000017`, or `000017` in a set without an official split. Classes are in the order of the set's
    labels, named as torchvision names them, else by number. EMNIST is read in its balanced variant; of SVHN the part
    `extra` is left out. Downloads what is missing where `download` says so.
    Raises UserError for a name that is no such set, and when the set is missing, damaged or cannot be downloaded.
    """
    class_names: list[str] = []
    labels: dict[str, NDArray[np.int64]] = {}
    for part in _parts(params.name):
        dataset = _open(params, part, params.download)
        labels[part] = _labels(dataset)
        class_names = class_names or _class_names(dataset)
    all_labels = np.concatenate(list(labels.values()))
    if not class_names:
        numbers = np.unique(all_labels[all_labels != UNLABELLED])
        class_names = [str(number) for number in numbers.tolist()]
        all_labels = np.where(all_labels == UNLABELLED, UNLABELLED, np.searchsorted(numbers, all_labels))
    locators = [(part, index) for part, column in labels.items() for index in range(len(column))]
    of_pool = np.array([part == UNLABELLED_POOL for part, _ in locators], dtype=bool)
    if not np.all(np.where(of_pool, all_labels == UNLABELLED, np.isin(all_labels, np.arange(len(class_names))))):
        raise UserError(
            f"torchvision's {params.name} in {params.path} has labels without a class, or images without a label: "
            "its files are damaged, or of a variant without test labels"
        )
    return Listing(
        class_names=class_names,
        ids=np.array([f"{part}/{index:06d}" if part else f"{index:06d}" for part, index in locators], dtype=np.str_),
        labels=all_labels,
        splits=np.where(of_pool, "", [part for part, _ in locators]),
        groups=None,
        locators=locators,
        ignored={},
    )


def read(params: TorchvisionParams, locators: Sequence[Locator]) -> Iterator[Image.Image | BadItem]:
    """The images at `locators`, in that order. Downloads nothing: `find` did.

    One part of the set is open at a time; sets that torchvision keeps in memory (STL10's pool: 2.8 GB) are so here.
    """
    for part, index in locators:
        try:
            image, _ = _reopened(params, part)[index]
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for a damaged file
            yield BadItem(
                "undecodable",
                f"torchvision cannot read it ({error}): delete the set from {params.path} and have it downloaded again",
            )
        else:
            yield image


def _parts(name: str) -> list[str]:
    """Parts of the set in the order train, validation, test, pool. Raises UserError for an unknown set."""
    if name not in _SETS:
        import difflib

        by_lower_case = {each.lower(): each for each in _SETS}
        close = difflib.get_close_matches(name.lower(), by_lower_case)
        meant = f"; did you mean {' or '.join(by_lower_case[each] for each in close)}?" if close else ""
        raise UserError(
            f"the source's name {name!r} is no image classification set of torchvision that can be used here{meant} "
            f"Allowed: {', '.join(_SETS)}"
        )
    return [part for part in ("", TRAIN, VALIDATION, TEST, UNLABELLED_POOL) if part in _SETS[name]]


@lru_cache(maxsize=1)  # opening may take seconds, and `read` is called for many chunks; one, because some fill memory
def _reopened(params: TorchvisionParams, part: str) -> Any:
    return _open(params, part, download=False)


def _open(params: TorchvisionParams, part: str, download: bool) -> Any:
    """The data set of torchvision. Raises UserError with the remedy when it cannot be had."""
    from torchvision import datasets

    arguments = dict(_SETS[params.name][part])
    if params.name not in _NO_DOWNLOAD:
        arguments["download"] = download
    try:
        return getattr(datasets, params.name)(params.path, **arguments)
    except Exception as error:  # each set raises what it likes, assertions and unpickling errors among it
        raise UserError(_why_not(params, error)) from None


def _why_not(params: TorchvisionParams, error: Exception) -> str:
    """Words for what torchvision raised, and the remedy."""
    name, root = params.name, params.path
    missing = error if isinstance(error, ModuleNotFoundError) else error.__context__
    if isinstance(missing, ModuleNotFoundError):
        package = str(missing.name).partition(".")[0]
        return f"torchvision's {name} needs a package that is missing: `.venv/bin/pip install {package}`"
    reason = " ".join(str(error).split()) or type(error).__name__
    if name in _NO_DOWNLOAD:
        return (
            f"torchvision's {name} is not complete in {root} ({reason}) and cannot be downloaded: "
            f"put its files there as the documentation of torchvision.datasets.{name} says"
        )
    if not params.download:
        return (
            f"torchvision's {name} is missing or damaged in {root} ({reason}): "
            "set the source's `download` to true, or put its files there"
        )
    return (
        f"torchvision's {name} could not be downloaded to {root}, or is damaged there ({reason}): check the network, "
        "delete what is left of a broken download, or put the files there by hand"
    )


def _labels(dataset: Any) -> NDArray[np.int64]:
    """Label of every image, (N,), without decoding any where the set keeps its labels apart."""
    kept = next((getattr(dataset, name) for name in _LABEL_ATTRIBUTES if hasattr(dataset, name)), None)
    if kept is None:
        items = getattr(dataset, "_samples", None) or (dataset[index] for index in range(len(dataset)))
        kept = [UNLABELLED if label is None else label for _, label in items]
    labels = np.asarray(kept).astype(np.int64)
    return labels[:, 0] if labels.ndim == 2 else labels  # QMNIST's other columns tell who wrote the digit


def _class_names(dataset: Any) -> list[str]:
    """Names in the order of the labels, none where the set has none. ImageNet names a class by several words."""
    classes = getattr(dataset, "classes", None) or getattr(dataset, "categories", None) or []
    names = [each if isinstance(each, str) else ", ".join(each) for each in classes]
    return [f"{name} ({label})" if names.count(name) > 1 else name for label, name in enumerate(names)]
