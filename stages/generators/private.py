"""What kinds with a privacy budget have in common: whom they see, and what they promise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from stages.generators.accountant import Release, advantage, spent
from stages.generators.interface import Generator, Plan
from stages.generators.params import PrivateGanParams, PrivateParams
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError

PROMISE = "promise"  # of a plan


class PrivateGenerator(Generator):
    """A kind whose images are (epsilon, delta)-differentially private with respect to the labelled images.

    Whatever it learns of them goes through noised sums, which `promise` counts. So it sees no pool, whose labels were
    guessed by teachers that kept no budget.
    """

    needs_guesses: ClassVar[bool] = False

    @classmethod
    def seen(cls, data: ReplicateData, params: PrivateParams) -> ReplicateData:
        """The labelled images alone; where a group is protected, the first one of each."""
        data = replace(data, unlabelled=data.unlabelled[:0], other_images=data.other_images[:0])
        if params.protects == "image":
            return data
        if data.groups is None:
            raise UserError("protects: group needs images in groups, and these have none: set it to image")
        first = _first_of_each(data.groups[: len(data.labels)])
        return replace(data, images=data.images[first], labels=data.labels[first], groups=data.groups[first])


def _first_of_each(groups: Tensor) -> Tensor:
    """Rows, ascending, of the first image of each group; of groups int64 (N,)."""
    order = groups.argsort(stable=True)
    starts = torch.cat([order.new_ones(1, dtype=torch.bool), groups[order].diff() != 0])
    return order[starts].sort().values


def problems(params: PrivateParams, images: int) -> Iterator[str]:
    """Why a budget promises nothing to so many images (of groups, one of each), or cannot be spent on them."""
    if params.delta > 1 / images:
        yield (
            f"delta: {params.delta:g} would allow to give away one of {images} {params.protects}s outright: set it to "
            f"less than {1 / images:.1g}"
        )
    if isinstance(params, PrivateGanParams) and params.lot > images:
        yield f"lot: {params.lot} is more than the {images} {params.protects}s that are learned from: lower it"


def check(params: PrivateParams, images: int) -> None:
    """Raises UserError for the first of the `problems`."""
    for problem in problems(params, images):
        raise UserError(problem)


def promise(params: PrivateParams, releases: Sequence[Release], images: int) -> Plan:
    """What a plan says of a generator that learned from so many images, or groups, by these releases."""
    given = {name: getattr(params, name) for name in ("epsilon", "delta", "protects", "noise")}
    return {**given, "images": images, "releases": [asdict(each) for each in releases]}


def told(promises: Sequence[Mapping[str, Any]], times: int, largest_group: int) -> dict[str, Any]:
    """What may be said of a set that holds the images of several generators, one promise each, all of one section.

    times: how many of them learned from the image, or the group, that most of them learned from. largest_group: images
    that one of them learned from. `epsilon` is that of one generator, `published_epsilon` that of all together,
    `advantage` an attacker's at most (`accountant.advantage`).
    """
    first = promises[0]
    # replicates may have different numbers of groups, and so different noise
    together = max(
        spent([replace(release, steps=release.steps * times) for release in releases], first["delta"])
        for releases in {tuple(Release(**release) for release in each["releases"]) for each in promises}
    )
    return {
        **{name: first[name] for name in ("epsilon", "delta", "protects")},
        "kept": int(first["noise"] == "secret"),
        "images": min(each["images"] for each in promises),
        "times": times,
        "largest_group": largest_group,
        "published_epsilon": together,
        "advantage": advantage(together, first["delta"]),
    }
