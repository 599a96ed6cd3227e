"""The values of a choice as they go into params.yaml, each with the reason for it. Pure."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.chooser.arms import arms
from stages.chooser.choice import LEAST_REFINED, MOST_POOL, Choice, Held
from stages.chooser.names import GroupNames
from stages.chooser.sight import Sight
from stages.chooser.source import Field, Source

LEAST_DRAWN, MOST_DRAWN = 20, 100  # generated images of the commonest class, unless that has more itself
DRAWN = 4000  # generated images of all classes
IN_PLACE_OF_LAYERS = "# pixels a side that both networks work at, at most; larger images are enlarged\ndrawn_size: 32\n"


class Setting(NamedTuple):
    """A dotted key, its value as text (of several lines where it begins with a new line), and why it was chosen."""

    key: str
    value: str
    why: str


def of_source(path: str, source: Source) -> list[Setting]:
    """Where the images lie, and what they are."""
    if source.kind == "folder":
        return [Setting("prepare.source.path", path, "")]
    fields = [Field("kind", source.kind, "how the files are read: docs/data.md"), Field("path", path, "the folder")]
    lines = [f"\n  # {each.meaning}\n  {each.name}: {each.value}" for each in [*fields, *source.fields]]
    return [Setting("prepare.source", "".join(lines), source.why)]


def of_left_out(names: Sequence[str]) -> list[Setting]:
    """Classes that the user leaves out."""
    return [Setting("prepare.leave_out", json.dumps(names, ensure_ascii=False), "as asked for")] if names else []


def of_images(size: int, colour: bool, sight_of: str) -> list[Setting]:
    """What every image becomes. sight_of: what the images look like, in words."""
    channels = "rgb" if colour else "grey"
    return [
        Setting("prepare.image.size", str(size), f"chosen: {sight_of}; up to 32 pixels the GANs were measured"),
        Setting("prepare.image.channels", channels, f"chosen: {'many' if colour else 'no or few'} images have colour"),
        Setting(
            "prepare.image.flip_ok", "false", "not to be seen from here: true where a mirrored image keeps its class"
        ),
    ]


def of_generator(size: int) -> Iterator[Setting]:
    """From `LEAST_REFINED` pixels on, a GAN whose images taught more than the Gaussian's; below, the preset's.

    The key `layers`, which that kind does not have, is the caller's to replace by `IN_PLACE_OF_LAYERS`.
    """
    if size < LEAST_REFINED:
        return
    why = f"chosen: from {LEAST_REFINED} pixels on, its images alone taught more than the Gaussian's (docs/gan.md)"
    values = {
        "kind": ("refined_gaussian", why),
        "width": ("16", "chosen: maps of the first layer of the U-Net that refines"),
        "latent_dim": ("512", "chosen: directions of the Gaussians that it starts from, at most"),
        "steps": ("6000", "chosen: some ten minutes of one core a replicate; it gains with more"),
        "batch_size": ("32", "chosen: more and smaller steps teach more in the same time"),
        "generator_learning_rate": ("0.0005", "chosen: for this kind"),
        "ema_decay": ("0.998", "chosen: for this kind"),
    }
    for name, (value, reason) in values.items():
        yield Setting(f"train_gan.generators.gan.{name}", value, reason)
    yield Setting("train_gan.generators.gaussian.rank", "512", "chosen: the Gaussians that the GAN starts from")


def of_groups(table: str | None, names: GroupNames | None, by_names: bool) -> Iterator[Setting]:
    """What must stay together: a CSV of groups in the folder is used; names alone are so where the user says so."""
    if table:
        block = (
            "\n  # a table with the columns file and group, inside the source's folder\n  kind: csv\n"
            f"  # the file\n  path: {table}"
        )
        yield Setting("prepare.groups", block, f"chosen: {table} lies in the folder")
    elif names:
        kind = "\n  # a regular expression on each file's path, whose one bracket is the group\n"
        lines = f"kind: pattern\n  pattern: '{names.pattern}'"
        if by_names:
            why = f"chosen: as asked for, by the files' names: {names.groups} groups, such as {names.example}"
            yield Setting("prepare.groups", f"{kind}  {lines}", why)
        else:
            why = f"files seem to be named by {names.groups} groups, such as {names.example}. Are these patients?"
            yield Setting("prepare.groups.kind", "none", f"{why} Then take GROUPS=names, which writes here:\n  {lines}")


def of_choice(choice: Choice, held: Held) -> Iterator[Setting]:
    """Sizes of the roles, the filter's promise, how many images are drawn, and the arms that fit."""
    left = held.left(choice.test_share)
    if held.has_test:
        why = "of no effect: the folder has a test set of its own"
    else:
        why = f"chosen: leaves {left.min()} images of the rarest class for all else"
    yield Setting("prepare.test_share", f"{choice.test_share:g}", why)
    yield Setting("prepare.labels_per_class", str(choice.labels), _why_labels(choice, held))
    of = "given ones" if held.has_validation else f"{left.min()} of the rarest class"
    yield Setting("prepare.validation_per_class", str(choice.validation), f"chosen: out of {of}")
    yield Setting("prepare.calibration", str(choice.calibration), _why_calibration(choice, held))
    yield from _of_pool(choice, held)
    yield from _of_filter(choice)
    yield from _of_plan(choice, held)
    has_pool = choice.labels != "all" or held.unlabelled > choice.calibration
    labels = int(left.min()) if choice.labels == "all" else int(choice.labels)
    for each in arms(has_pool, held.is_unbalanced, labels // 2, held.pretrained):
        yield Setting(*each)


def _why_labels(choice: Choice, held: Held) -> str:
    everything = int(held.left(choice.test_share).sum())
    if choice.labels == "all":
        return f"chosen: {everything} labelled images beside the test set are few enough to use them all"
    return f"chosen: of {everything} labelled images part is used, and others are the pool; all takes longer"


def _why_calibration(choice: Choice, held: Held) -> str:
    everything = int(held.left(choice.test_share).sum()) + held.unlabelled
    if choice.full_conformal:
        return f"chosen: {everything} images are too few to set some aside; filter_memorized.too_few does without"
    return f"chosen: out of {everything} images beside the test set"


def _of_pool(choice: Choice, held: Held) -> Iterator[Setting]:
    spare = held.unlabelled - choice.calibration
    if choice.labels != "all":
        spare += int((held.left(choice.test_share) - int(choice.labels) - choice.validation).clip(0).sum())
    if spare > MOST_POOL + MOST_POOL // 10:
        block = f"\n  # a number of images (instead, a line `share: 1.0` for a share)\n  count: {MOST_POOL}"
        yield Setting("prepare.unlabelled", block, f"chosen: of about {spare}, for a run that ends sooner")
    elif spare <= 0:
        yield Setting(
            "prepare.unlabelled.share", "0.0", "chosen: no image is left for a pool; put some into unlabelled/"
        )
    else:
        yield Setting("prepare.unlabelled.share", "1.0", f"chosen: about {spare} images are there for it")


def _of_filter(choice: Choice) -> Iterator[Setting]:
    if choice.alpha != 0.05:
        yield Setting("filter_memorized.alpha", f"{choice.alpha:g}", "chosen: so few images allow no lower rate")
    if choice.full_conformal:
        yield Setting("filter_memorized.too_few", "full_conformal", "chosen: there are too few images for a set apart")
    if not choice.by_group:
        why = "chosen: groups are too few for one image of each to calibrate; copies may hide behind others of a group"
        yield Setting("filter_memorized.by_group", "false", why)
    if choice.neighbours != 5:
        yield Setting("filter_memorized.neighbours", str(choice.neighbours), "chosen: for so few images")


def _of_plan(choice: Choice, held: Held) -> Iterator[Setting]:
    left = held.left(choice.test_share)
    if choice.labels != "all":
        most = int(choice.labels) + choice.validation
    else:
        most = int(left.max()) + (choice.validation if held.has_validation else 0) + 1
    drawn = int(np.clip(DRAWN // len(left), LEAST_DRAWN, max(MOST_DRAWN, most)))
    yield Setting("generate.plan.per_class", str(most + drawn), f"chosen: a class has up to {most} labelled images")


def describe(sight: Sight, sides: str) -> str:
    """What was found, in a line."""
    counts = np.bincount(sight.labels[sight.labels >= 0], minlength=len(sight.listing.class_names))
    spread = f"{counts.min()} to {counts.max()}" if counts.min() < counts.max() else str(counts.min())
    own = " with a test set of their own" if sight.has_test else ""
    pool = f", {sight.unlabelled} without a label" if sight.unlabelled else ""
    return f"{counts.sum()} labelled images of {len(counts)} classes ({spread} each){own}{pool}; {sides}"
