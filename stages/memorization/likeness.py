"""How suspiciously like one of the images that the GAN saw an image is, in one view or two.

A copy under strong noise hides among its nearest images, because noise adds as much to every distance. Blur takes the
noise away. Where the blurred view is asked for, an image's score is the lower one of both views: the threshold is set
by calibration images that are scored alike, so that its promise holds for any score. Measured at alpha .05 on red blood
cells of 32 pixels, chest X-rays and clothes of 28 (one split each), found of noisy copies: .25, .62 and 1.00 without,
.89, .99 and 1.00 with it; of copies turned by five degrees 1.00, .80, .46 and 1.00, .84, .63. On the digits of 8
pixels it gains nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from stages.imaging.devices import choose
from stages.imaging.distance import alignments
from stages.imaging.disturbances import gaussian_blur
from stages.imaging.neighbours import Search, distinct
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.errors import UserError

BLUR = 1 / 28  # standard deviation of the blurred view, as a share of the side

Groups = Sequence[str | None]


@dataclass(frozen=True, eq=False)
class Likenesses:
    """Of N images: score (N,) in 0..1, low for a copy; and in the view that it comes from the distance (N,), 0..2, to
    the nearest seen image, and that image's index (N,) in `seen`."""

    score: NDArray[np.float64]
    distance: NDArray[np.float64]
    nearest: NDArray[np.int64]


class Likeness:
    """Compares images with what the GAN saw.

    Args:
        seen: uint8 (M, C, H, W), all real images that the GAN saw, labelled and not; repeated ones count once.
        groups: of each seen image, None for one of its own; or None where no image has a group. A group's images do not
            hide each other: an image is compared with its nearest one and with those of other groups.
        flip_ok: `prepare.image.flip_ok`: mirrored copies count as copies.
        params: section `filter_memorized`.

    Raises:
        UserError: fewer than neighbours + 1 different images; all but too few of one group; a shift of half an image.
    """

    def __init__(self, seen: torch.Tensor, groups: Groups | None, flip_ok: bool, params: FilterMemorizedParams) -> None:
        self.kept = distinct(seen)
        if len(self.kept) <= params.neighbours:
            raise UserError(
                f"the GAN saw {len(self.kept)} different images, but filter_memorized.neighbours = {params.neighbours} "
                f"needs at least {params.neighbours + 1}"
            )
        self.references = seen[self.kept]
        self._neighbours = params.neighbours
        self._views = [_sharp, _blurred] if params.blurred_view else [_sharp]
        self._ways = alignments(params.shift_pixels, flip_ok, *seen.shape[-2:])
        codes = None if groups is None else _codes([groups[row] for row in self.kept.tolist()])
        self._device = choose(params.device, "filter_memorized")
        self._searches = [
            Search(view(self.references), params.neighbours, self._ways, codes, self._device) for view in self._views
        ]

    def of(self, images: torch.Tensor) -> Likenesses:
        """Of images uint8 (N, C, H, W); each one's does not depend on the others."""
        found = [search.nearest(view(images)) for search, view in zip(self._searches, self._views, strict=True)]
        scores = torch.stack([each.scores() for each in found])
        score, view = scores.min(dim=0)
        distance = torch.stack([each.distances[:, 0] for each in found]).gather(0, view[None])[0]
        nearest = torch.stack([each.indices[:, 0] for each in found]).gather(0, view[None])[0]
        return Likenesses(score.numpy(), distance.numpy(), self.kept[nearest].numpy())

    def all_distances(self, images: torch.Tensor) -> NDArray[np.float64]:
        """Distances (N, M') in the sharp view to every different seen image, in the order of `kept`."""
        found = self._of_all.nearest(images)
        return torch.empty_like(found.distances).scatter_(1, found.indices, found.distances).numpy()

    def among_seen(self) -> NDArray[np.float64]:
        """Distances (M', k), ascending, of every different seen image to its k nearest others, in the sharp view."""
        search = Search(self.references, self._neighbours + 1, self._ways, device=self._device)
        return search.nearest(self.references).distances[:, 1:].numpy()  # the first, at 0, is the image itself

    @cached_property
    def _of_all(self) -> Search:
        """Ranks all references, for every block of images alike."""
        return Search(self.references, len(self.references), self._ways, device=self._device)


def one_of_each(groups: Groups | None, count: int) -> NDArray[np.int64]:
    """Index of the first image of each group among `count`; images without a group are all there."""
    return np.arange(count) if groups is None else np.unique(_codes(groups).numpy(), return_index=True)[1]


def _codes(groups: Groups) -> torch.Tensor:
    """A number for each image, int64 (M,), the same within a group; an image without a group has its own."""
    names = [("group", group) if group is not None else ("image", str(row)) for row, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64)


def _sharp(images: torch.Tensor) -> torch.Tensor:
    return images


def _blurred(images: torch.Tensor) -> torch.Tensor:
    return gaussian_blur(images, BLUR * min(images.shape[-2:]))
