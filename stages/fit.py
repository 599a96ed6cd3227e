"""Parameters that fit a folder of images: looks at it, chooses, and proves by `prepare`'s own checks that they do."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ruamel.yaml import YAML

from stages import foresight
from stages.chooser import settings
from stages.chooser.choice import Choice, Held, choices, in_colour, side
from stages.chooser.settings import Setting
from stages.chooser.sight import Sight, look, sample
from stages.overlays import noted
from stages.plumbing import images, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.params import Params
from stages.sources import collection, domains, splits
from stages.sources.duplicates import components
from stages.sources.ingest import Facts

SCRATCH = workdir.WORK / "fit"
GROUPS = ("groups.csv", "patients.csv")  # what a table of groups in the folder may be called


def fit(text: str, source: Path) -> tuple[str, list[str]]:
    """The parameters with what suits the folder, and what was seen and chosen, in lines.

    text: of a params.yaml whose source is a folder. Raises UserError where nothing can suit it.
    """
    scratch = SCRATCH / uuid4().hex
    try:
        return _fit(text, source, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fit(text: str, source: Path, scratch: Path) -> tuple[str, list[str]]:
    groups = next((name for name in GROUPS if (source / name).is_file()), None)
    text = noted(text, [Setting("prepare.source.path", str(source), ""), *settings.of_groups(groups, None)])
    params = _params(text).prepare
    listing = collection.find(params)
    facts = sample(params, listing)
    sides, colour = np.minimum(facts["width"], facts["height"]), in_colour(facts["colourful"])
    size, looks = side(sides), _looks(facts, colour)
    text = noted(text, settings.of_images(str(source), size, colour, looks))
    sight = look(_params(text).prepare, listing, scratch)
    held = Held(sight.counts, sight.unlabelled, sight.has_test, sight.has_validation)
    text = noted(text, settings.of_groups(None, sight.pattern))
    text, chosen, with_groups = _first_that_fits(text, sight, held, scratch)
    return text, [settings.describe(sight, looks), *sight.lines, *_told(chosen, sight, with_groups)]


def _params(text: str) -> Params:
    return Params.model_validate(YAML(typ="safe", pure=True).load(text))


def _looks(facts: Facts, colour: bool) -> str:
    """Size and colour in words."""
    width, height = (f"{np.median(facts[name]):g}" for name in ("width", "height"))
    return f"about {width} x {height} pixels, {'in colour' if colour else 'grey'}"


def _first_that_fits(text: str, sight: Sight, held: Held, scratch: Path) -> tuple[str, Choice, bool]:
    """The best choice that `prepare` would accept; where names suggest groups, if possible one that these fit too."""
    grouped = _with_pattern(sight) if sight.pattern else None
    fitting: tuple[str, Choice] | None = None
    refusal = ""
    for choice in choices(held):
        changed = noted(text, settings.of_choice(choice, held))
        params = _params(changed)
        if not (refusal := _refusal(params, sight, scratch)):
            fitting = fitting or (changed, choice)
            if grouped is None or not _refusal(params, grouped, scratch):
                return changed, choice, grouped is not None
    if fitting is None:
        raise UserError(f"{len(sight.labels)} images are too few, or lie in too few groups: {refusal}")
    return *fitting, False


def _refusal(params: Params, sight: Sight, scratch: Path) -> str:
    """Why `prepare` would refuse, or ''."""
    listing, names = sight.listing, sight.listing.class_names
    try:
        roles = splits.all_roles(sight.labels, listing.splits, sight.ties, names, params.prepare, None)
        image = params.prepare.image.model_dump(mode="json")
        facts = {"name": "", "classes": names, "replicates": params.prepare.replicates, "image": image}
        scratch.mkdir(parents=True, exist_ok=True)
        images.write_table(scratch / "images.parquet", _table(sight))
        images.write_table(scratch / "roles.parquet", domains.roles_table(listing.ids, roles, params.prepare.shift))
        workdir.write_json(scratch / "dataset.json", facts | {"shifted": False})
        foresight.check(params, Dataset.open(scratch))
    except UserError as error:
        return str(error)
    return ""


def _table(sight: Sight) -> pa.Table:
    """What of images.parquet is looked at: all but the pictures."""
    labels = pa.array(sight.labels, mask=sight.labels < 0)
    groups = pa.array(sight.listing.groups or [None] * len(sight.labels), pa.string())
    return pa.table({"id": sight.listing.ids.tolist(), "label": labels, "group": groups})


def _with_pattern(sight: Sight) -> Sight:
    """As it would be with the groups that the files' names suggest."""
    pattern = re.compile(sight.pattern or "")
    groups = [pattern.search(each)[1] for each in sight.listing.ids.tolist()]  # type: ignore[index]  # all match
    return replace(sight, listing=replace(sight.listing, groups=groups), ties=_joined(sight.ties, groups))


def _joined(ties: NDArray[np.int64], groups: Sequence[str]) -> NDArray[np.int64]:
    """A number (N,) for what is tied by either."""
    rows, codes = np.arange(len(ties)), np.unique(groups, return_inverse=True)[1]
    first, second = len(ties) + ties, 2 * len(ties) + codes
    edges = np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, second], axis=1)])
    return components(edges, 3 * len(ties))[: len(ties)]


def _told(choice: Choice, sight: Sight, with_groups: bool) -> list[str]:
    labels = "all labels" if choice.labels == "all" else f"{choice.labels} labels per class"
    filtered = "no calibration set (full conformal)" if choice.full_conformal else f"{choice.calibration} for calibration"
    lines = [f"chosen: {labels}, {choice.validation} per class for validation, {filtered}, alpha {choice.alpha:g}"]
    if sight.pattern:
        fits = "" if with_groups else ", but the sizes would have to change"
        lines.append(
            f"names follow the pattern {sight.pattern!r}: where it is a patient, say so in prepare.groups{fits}"
        )
    return lines
