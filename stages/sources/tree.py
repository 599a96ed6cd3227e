"""Files in a tree with a folder for each class, as torchvision's ImageFolder reads it, with or without given splits."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from stages.imaging.files import check_names
from stages.plumbing.dataset import TEST, TRAIN, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.listing import Listing

_SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_POOLS = {"unlabelled", "unlabeled"}
_SYSTEM = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "lost+found"}


@dataclass(frozen=True)
class _Tree:
    """What lies below a root, as paths relative to it with `/`: files of the wanted kind, folders, linked folders."""

    root: Path
    what: str
    files: list[str]
    folders: list[str]
    linked_folders: list[str]
    ignored: Counter[str]


class _ClassFolder(NamedTuple):
    path: str
    split: str
    name: str


class _Item(NamedTuple):
    id: str
    locator: str
    split: str
    class_name: str | None


def list_tree(root: Path, suffixes: frozenset[str], what: str) -> Listing:
    """All files below `root` whose names end in one of `suffixes` (lower case, with the dot), in any case of letters.

    Either each folder in `root` is a class, or `root` holds `train`, `test` and perhaps `validation` (`val`, `valid`)
    with the class folders in them; these splits are kept. Files may lie at any depth in a class folder. All that lies
    in `root`'s folder `unlabelled` (`unlabeled`) has no label. `what` names an item in messages: image, recording.

    Locators are paths relative to `root` as the disk has them. Ids are the same in Unicode's composed form (NFC), as
    are class names, so that a copy made on macOS has the same ones. Items are sorted by id. Hidden and system files,
    other kinds of file and linked folders are passed over and counted.
    Raises UserError when the tree cannot be read, when its classes are fewer than two, empty, or not the same in all
    splits, and when a folder for a class or a split is a symbolic link.
    """
    tree = _scan(root, suffixes, what)
    splits = _given_splits(tree)
    classes = {folder.path: folder for folder in _class_folders(tree, splits)}
    depth = 2 if splits else 1
    items, filled = [], set()
    for locator in tree.files:
        above = locator.split("/")[:-1]
        folder = classes.get("/".join(above[:depth]))
        if folder:
            filled.add(folder.path)
            items.append(_Item(composed(locator), locator, folder.split, folder.name))
        elif above and _is_pool(above[0]):
            items.append(_Item(composed(locator), locator, "", None))
        else:
            tree.ignored[f"{what} outside the class folders"] += 1
    _check_classes(tree, splits, list(classes.values()), filled)
    _check_ids(root, [item.id for item in items])
    return _listing(items, sorted({folder.name for folder in classes.values()}), tree.ignored)


def _scan(root: Path, suffixes: frozenset[str], what: str) -> _Tree:
    """Walks the tree without following linked folders, so that no loop and nothing outside is entered."""
    tree = _Tree(root, what, [], [], [], Counter())
    endings = tuple(suffixes)
    for parent, folders, files in os.walk(root, onerror=_unreadable):
        relative = Path(parent).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        visible = [name for name in folders if not _is_hidden(name)]
        tree.ignored["hidden or system file"] += len(folders) - len(visible) + sum(map(_is_hidden, files))
        for name in visible:
            linked = Path(parent, name).is_symlink()
            (tree.linked_folders if linked else tree.folders).append(prefix + name)
        wanted = [name for name in files if not _is_hidden(name)]
        found = [prefix + name for name in wanted if name.lower().endswith(endings)]
        tree.files.extend(found)
        others = (name for name in wanted if not name.lower().endswith(endings))
        tree.ignored.update(f"no {what} by its suffix{_shown_suffix(name)}" for name in others)
        folders[:] = visible
    tree.ignored["symbolic link to a folder"] += len(tree.linked_folders)
    return tree


def _given_splits(tree: _Tree) -> dict[str, str]:
    """Split by the name of its folder; empty when the folders in the root are classes themselves.

    A tree with `train` beside other classes, as of vehicles, is one of classes; `train` and `test` are always splits.
    """
    names = [name for name in _children(tree, "") if not _is_pool(name)]
    splits = {name: _SPLITS[name.casefold()] for name in names if name.casefold() in _SPLITS}
    others = [name for name in names if name not in splits]
    missing = {TRAIN, TEST} - set(splits.values())
    if not splits or (missing and others):
        return {}
    missing -= {TRAIN}  # a second source may do without; of the first, `collection` asks for it
    if others:
        raise UserError(
            f"{tree.root} has {_quoted(splits)} and also {_quoted(others)}: move the latter away, or hide them with a "
            "dot before their names; only a pool named 'unlabelled' may lie beside given splits"
        )
    if missing:
        raise UserError(
            f"{tree.root} has {_quoted(splits)}, but no {_quoted(missing)}: name a folder so, or, to have the images "
            "split here, put the classes' folders directly into the root"
        )
    return splits


def _class_folders(tree: _Tree, splits: dict[str, str]) -> list[_ClassFolder]:
    """The class folders of all splits. Raises UserError when there are none."""
    top = [name for name in _children(tree, "") if not _is_pool(name)]
    if splits:
        pairs = [(splits[name], f"{name}/{child}") for name in top for child in _children(tree, name)]
    else:
        pairs = [("", name) for name in top]
    if not pairs:
        count = len(tree.files)
        held = f"{count} {tree.what}s, but" if count else f"no {tree.what}s and"
        raise UserError(
            f"{tree.root} has {held} no folder for a class: put each class's {tree.what}s into a folder of its own, "
            f"as in {tree.root / 'CLASS' / 'FILE'} (or train/CLASS/FILE and test/CLASS/FILE, where a split is given)"
        )
    return [_ClassFolder(path, split, composed(path.rsplit("/", 1)[-1])) for split, path in pairs]


def _check_classes(tree: _Tree, splits: dict[str, str], classes: list[_ClassFolder], filled: set[str]) -> None:
    """Raises UserError unless there are two classes or more, each with a file, and the same ones in every split."""
    names = {folder.name for folder in classes}
    for split in sorted(set(splits.values())):
        absent = names - {folder.name for folder in classes if folder.split == split}
        if absent:
            raise UserError(
                f"{tree.root}: no folder in {split!r} for {_quoted(absent)}: all splits need the same classes; add "
                "it, or hide the class's folders in the other splits with a dot before their names"
            )
    empty = [folder.path for folder in classes if folder.path not in filled]
    if empty:
        raise UserError(
            f"{tree.root}: no {tree.what} in {_quoted(empty)}{_passed_over(tree)}: fill the folder, remove it, or "
            "hide it with a dot before its name"
        )
    if len(names) < 2:
        raise UserError(
            f"{tree.root} has one class only, {_quoted(names)}: a classifier needs two or more folders; if the classes "
            f"are the folders in this one, let the source's path name it: {tree.root / min(names)}"
        )


def _passed_over(tree: _Tree) -> str:
    """What lies there instead, most of all."""
    kinds = [(count, reason) for reason, count in tree.ignored.items() if count and "suffix" in reason]
    return f" ({max(kinds)[0]} passed over: {max(kinds)[1]})" if kinds else ""


def _check_ids(root: Path, ids: list[str]) -> None:
    """Raises UserError for names that cannot be shown, or are the same in Unicode's composed form."""
    check_names(root, ids)
    for name, count in Counter(ids).items():
        if count > 1:
            raise UserError(f"{root} has {count} files named {name!r}, written differently in Unicode: rename one")


def _listing(items: list[_Item], class_names: list[str], ignored: Counter[str]) -> Listing:
    items = sorted(items, key=lambda item: item.id)
    label: dict[str | None, int] = {name: index for index, name in enumerate(class_names)}
    return Listing(
        class_names=class_names,
        ids=np.array([item.id for item in items], dtype=np.str_),
        labels=np.array([label.get(item.class_name, UNLABELLED) for item in items], dtype=np.int64),
        splits=np.array([item.split for item in items], dtype=np.str_),
        groups=None,
        locators=[item.locator for item in items],
        ignored=dict(+ignored),
    )


def _children(tree: _Tree, parent: str) -> list[str]:
    """Names of the folders directly in `parent`. Raises UserError when one of them is a symbolic link."""
    for path in tree.linked_folders:
        if path.rpartition("/")[0] == parent:
            raise UserError(f"{tree.root / path} is a symbolic link: put the folder itself there")
    return sorted(path.rpartition("/")[2] for path in tree.folders if path.rpartition("/")[0] == parent)


def _unreadable(error: OSError) -> NoReturn:
    remedies = {
        FileNotFoundError: "put a folder there, or let the source's path name another",
        NotADirectoryError: "put a folder there, or let the source's path name another; an archive must be unpacked",
        PermissionError: "give yourself permission (chmod -R u+rX on the source's folder)",
    }
    remedy = remedies.get(type(error), "copy it anew or remove it")
    raise UserError(f"{error.filename} cannot be read ({error.strerror}): {remedy}") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM


def _shown_suffix(name: str) -> str:
    """ " .dcm" of scan.DCM; "" where what follows the last dot is no suffix, as in 1.2.840: it may tell of a person."""
    suffix = Path(name).suffix.lower()
    return f" {suffix}" if re.fullmatch(r"\.[a-z][a-z0-9]{0,4}", suffix) else ""


def _is_pool(name: str) -> bool:
    return name.casefold() in _POOLS


def composed(name: str) -> str:
    """The name as it is in ids: in Unicode's composed form (NFC), on whatever machine it was given."""
    return unicodedata.normalize("NFC", name)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))
