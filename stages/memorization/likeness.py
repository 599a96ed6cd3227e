"""How suspiciously like one of the images that the generator saw an image is, in one view or several.

A copy under strong noise hides among its nearest images, because noise adds as much to every distance. Blur takes the
noise away. A copy that was turned or cropped may lie far off pixel by pixel, and near in the features of a pretrained
network. Where further views are asked for, an image's score is the lowest one of all: the threshold is set by
calibration images that are scored alike, so that its promise holds for any score.

Measured at alpha .05 on red blood cells of 32 pixels, chest X-rays and clothes of 28 (one split each): of noisy copies
.25, .62 and 1.00 are found without the blurred view, .89, .99 and 1.00 with it; of copies turned by five degrees 1.00,
.80, .46 and 1.00, .84, .63. On the digits of 8 pixels it gains nothing. docs/memorization.md says what features gain.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stages.imaging.backbones import Backbone, open_backbone
from stages.imaging.devices import choose
from stages.imaging.distance import Alignment, alignments
from stages.imaging.disturbances import gaussian_blur
from stages.imaging.neighbours import Neighbours, Search, distinct
from stages.imaging.networks import in_batches
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.errors import UserError

BLUR = 1 / 28  # standard deviation of the blurred view, as a share of the side

Groups = Sequence[str | None]


class View(NamedTuple):
    """What is compared of images, (N, C, H, W), and the ways to lay one over another."""

    of: Callable[[torch.Tensor], torch.Tensor]
    ways: Sequence[Alignment]


@dataclass(frozen=True, eq=False)
class Likenesses:
    """Of N images: score (N,) in 0..1, low for a copy; and in the view that it comes from the distance (N,), 0..2, to
    the nearest seen image, and that image's index (N,) in `seen`."""

    score: NDArray[np.float64]
    distance: NDArray[np.float64]
    nearest: NDArray[np.int64]


class Likeness:
    """Compares images with what the generator saw.

    Args:
        seen: uint8 (M, C, H, W), all real images that it saw, labelled and not; repeated ones count once.
        groups: of each seen image, None for one of its own; or None where no image has a group. A group's images do not
            hide each other: an image is compared with its nearest one and with those of other groups.
        flip_ok: `prepare.image.flip_ok`: mirrored copies count as copies.
        params: section `filter_memorized`.

    Raises:
        UserError: fewer than neighbours + 1 different images; all but too few of one group; a shift of half an image.
    """

    def __init__(self, seen: torch.Tensor, groups: Groups | None, flip_ok: bool, params: FilterMemorizedParams) -> None:
        self.kept, self._same = distinct(seen)
        if len(self.kept) <= params.neighbours:
            raise UserError(
                f"the generator saw {len(self.kept)} different images, but filter_memorized.neighbours = "
                f"{params.neighbours} needs at least {params.neighbours + 1}"
            )
        self.references = seen[self.kept]
        self._neighbours = params.neighbours
        self._codes = group_codes(groups or [None] * len(seen))
        self._numbers = dict(zip(groups or [], self._codes.tolist(), strict=False))
        self._device = choose(params.device, "filter_memorized")
        self._views = list(_views(params, flip_ok, seen.shape[-2:], self._device))
        self._shown = [view.of(self.references) for view in self._views]
        both = zip(self._shown, self._views, strict=True)
        self._searches = [self._search(shown, view, params.neighbours) for shown, view in both]

    @property
    def grouped(self) -> bool:
        """Whether a group has several of the different seen images."""
        return len(self._codes[self.kept].unique()) < len(self.kept)

    def of_group(self, images: torch.Tensor, groups: Groups) -> Likenesses:
        """Of images uint8 (N, C, H, W), each compared with the seen images of other groups than its own, (N,).

        Raises UserError where that leaves too few.
        """
        own = [-1 if group is None else self._numbers.get(group, -1) for group in groups]
        return self._found(images, torch.tensor(own)[:, None])

    def of(self, images: torch.Tensor, sources: NDArray[np.int64] | None = None) -> Likenesses:
        """Of images uint8 (N, C, H, W); each one's does not depend on the others.

        `sources`: (N,), the row in `seen` of what each was drawn from: neither that, nor what equals it, nor a further
        image of its group is compared with it. Raises UserError where that leaves too few.
        """
        return self._found(images, None if sources is None else self._relatives(sources))

    def _found(self, images: torch.Tensor, hidden: torch.Tensor | None) -> Likenesses:
        """Without the seen images whose codes are hidden, int64 (N, g), from each image."""
        both = zip(self._searches, self._views, strict=True)
        found = [search.nearest(view.of(images), hidden) for search, view in both]
        scores = torch.stack([each.scores() for each in found])
        score, view = scores.min(dim=0)
        distance = torch.stack([each.distances[:, 0] for each in found]).gather(0, view[None])[0]
        nearest = torch.stack([each.indices[:, 0] for each in found]).gather(0, view[None])[0]
        return Likenesses(score.numpy(), distance.numpy(), self.kept[nearest].numpy())

    def are_relatives(self, rows: NDArray[np.int64], sources: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows of `seen`, which `Likenesses.nearest` names, is the source, equals it or is of its
        group, (N,)."""
        return (self._codes[rows][:, None] == self._relatives(sources)).any(dim=1).numpy()

    def rows(self, sources: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows (N,) of `references` that equal these rows of `seen`."""
        return self._same[sources].numpy()

    def all_distances(self, images: torch.Tensor) -> NDArray[np.float64]:
        """Distances (views, N, M') to every different seen image, in the order of `kept`."""
        both = zip(self._searches, self._views, strict=True)
        return np.stack([search.all_distances(view.of(images)).numpy() for search, view in both])

    def among_seen(self, k: int) -> Neighbours:
        """Of every different seen image the k nearest others, (views, M', k) each; M' > k."""
        own = self._codes[self.kept, None]
        both = zip(self._shown, self._views, strict=True)
        found = [self._search(shown, view, k).nearest(shown, own) for shown, view in both]
        return Neighbours(*(torch.stack([getattr(each, name) for each in found]) for name in ("distances", "indices")))

    def _search(self, shown: torch.Tensor, view: View, k: int) -> Search:
        """shown: what the view shows of every reference."""
        return Search(shown, k, view.ways, self._codes[self.kept], self._device)

    def _relatives(self, sources: NDArray[np.int64]) -> torch.Tensor:
        """Codes (N, 2) of these rows of `seen`: of the reference that each equals, and of its own group."""
        rows = torch.from_numpy(sources)
        return torch.stack([self._codes[self.kept[self._same[rows]]], self._codes[rows]], dim=1)


def one_of_each(groups: Groups | None, count: int) -> NDArray[np.int64]:
    """Index of the first image of each group among `count`; images without a group are all there."""
    return np.arange(count) if groups is None else np.unique(group_codes(groups).numpy(), return_index=True)[1]


def group_codes(groups: Groups) -> torch.Tensor:
    """A number for each image, int64 (M,), the same within a group; an image without a group has its own."""
    names = [("group", group) if group is not None else ("image", str(row)) for row, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64)


def _views(params: FilterMemorizedParams, flip_ok: bool, size: torch.Size, device: torch.device) -> Iterator[View]:
    """size: height and width of the images."""
    ways = alignments(params.shift_pixels, flip_ok, *size)
    yield View(_sharp, ways)
    if params.blurred_view:
        yield View(_blurred, ways)
    if given := params.backbone:
        backbone = open_backbone(given.name, given.size, given.weights).to(device)
        yield View(partial(_features, backbone, flip_ok), alignments(0, flip_ok=False, height=1, width=1))


def _sharp(images: torch.Tensor) -> torch.Tensor:
    return images


def _blurred(images: torch.Tensor) -> torch.Tensor:
    return gaussian_blur(images, BLUR * min(images.shape[-2:]))


def _features(backbone: Backbone, flip_ok: bool, images: torch.Tensor) -> torch.Tensor:
    """Features of images as if they were channels of one pixel, float32 (N, F, 1, 1), where the images lie; where
    mirrored images are copies the mean of both, which is the same for either."""
    device = next(backbone.parameters()).device
    sides = (images, images.flip(-1)) if flip_ok else (images,)
    features = torch.stack([in_batches(backbone, each.to(device)) for each in sides]).mean(dim=0)
    return features[:, :, None, None].to(images.device)
