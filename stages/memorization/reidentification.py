"""Is a person found again? Images whose region was drawn anew, among other photographs of the same persons.

What de-identification is measured by (Newton, Sweeney and Malin, "Preserving Privacy by De-identifying Face Images",
IEEE TKDE 2005; Hukkelas et al., "DeepPrivacy", ISVC 2019; Gafni et al., "Live Face De-Identification in Video", ICCV
2019): an attacker holds named photographs of everybody, and names each image by the nearest of them. The photograph
that an image was made from is never among them, nor what equals it: who holds that one has found it in any case,
because all but the region is kept to the pixel. What the attackers find in the images made is held against what they
find in the photographs themselves, in blurred, pixelated and blacked out ones, and against chance.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional

from stages.imaging.distance import unit_vectors
from stages.imaging.obscuring import Way, obscured
from stages.imaging.pixels import to_bytes
from stages.memorization.attacks import evenly_spaced
from stages.memorization.intervals import CONFIDENCE, over_units
from stages.memorization.likeness import group_codes
from stages.plumbing.errors import UserError

LEAST_PERSONS = 20  # who are looked for: with fewer an interval is wider than +-.2
MOST_PROBES, MOST_PHOTOGRAPHS = 1000, 3000  # that are looked at: half a minute on one core
SIDE, FACE = 32, 16  # pixels along each side that attackers bring an image and a region to
BEFORE, AFTER = "before", "after"
RIVALS: tuple[Way, ...] = ("blur", "pixels", "black")
FOLDS = 5  # of the photographs, for the classifier, which names none that it learned from
COMPONENTS, SHRINKAGE = 64, 0.1  # of the classifier
CLOSE = 1e-9  # correlations that are no farther apart are a tie, which shares the guess
EMPTY = 1e-9  # spread of pixels, in shares of the range, below which there is nothing to correlate

Embed = Callable[[Tensor], Tensor]  # uint8 (N, C, H, W) -> float (N, D)
Scores = NDArray[np.float64]
Pairs = NDArray[np.bool_]  # (N, M): images, photographs


@dataclass(frozen=True)
class Photographs:
    """Real images, uint8 (M, C, H, W), with the person in each, int64 (M,).

    regions: bool (M, 1, H, W), where the person is; empty where that is not known. pictures: int64 (M,), the same for
    images that are one photograph.
    """

    images: Tensor
    regions: Tensor
    persons: NDArray[np.int64]
    pictures: NDArray[np.int64]


@dataclass(frozen=True)
class Probes:
    """Images uint8 (N, C, H, W) whose regions bool (N, 1, H, W) were drawn anew in photographs: their rows, (N,)."""

    images: Tensor
    regions: Tensor
    sources: NDArray[np.int64]


@dataclass(frozen=True)
class Faces:
    """What a classifier learns or names: images (N, C, H, W), persons (N,), and folds (N,) that it learns apart."""

    images: Tensor
    persons: NDArray[np.int64]
    folds: NDArray[np.int64]


def gallery(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Rows, ascending, of at most about MOST_PHOTOGRAPHS images of these groups (M,): all of a person, or none."""
    persons = group_codes(groups).numpy()
    most = max(LEAST_PERSONS, len(np.unique(persons)) * MOST_PHOTOGRAPHS // max(len(persons), 1))
    names = np.unique(persons)
    return np.flatnonzero(np.isin(persons, names[evenly_spaced(len(names), most)]))


def photographs(images: Tensor, regions: Tensor, groups: Sequence[str | None], names: Sequence[str]) -> Photographs:
    """Of images that have a group, their person. names: of each, the same where two are versions of one photograph.

    Images without a group are persons of their own, who are never looked for. Images that are equal to the bit are one
    photograph too.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, equal = torch.unique(images.flatten(1), dim=0, return_inverse=True)
    _, named = np.unique(names, return_inverse=True)
    pairs = coo_array((np.ones(len(named)), (named, len(named) + equal.numpy())), shape=2 * (2 * len(named),))
    _, pictures = connected_components(pairs, directed=False)
    return Photographs(images, regions, group_codes(groups).numpy(), pictures[named].astype(np.int64))


def shortfall(own: Photographs, probes: Probes) -> str | None:
    """Why persons cannot be looked for, in words; None where they can."""
    if not len(probes.images):
        return "no image was made"
    if not probes.regions.flatten(1).any(dim=1).all():
        return "some image has no region that was drawn anew"
    if len(np.unique(own.persons)) == len(own.persons):
        return "every image is a group of its own: `prepare.groups`, or the source's column of groups, says who is who"
    found = len(np.unique(own.persons[probes.sources[_known(own, probes.sources)]]))
    if found < LEAST_PERSONS:
        return (
            f"{found} persons have images made from one photograph and another photograph of theirs, and "
            f"{LEAST_PERSONS} are needed"
        )
    return None


def reidentify(own: Photographs, probes: Probes, embed: Embed | None = None) -> dict[str, Any]:
    """How often the person of an image is named, by attacker and by what was done to the image.

    `views`: attacker -> {before, after, blur, pixels, black} -> {rate, low, high}, and `chance`, the rate of one who
    names a photograph at random. Attackers:

    - `whole`: the nearest photograph, by correlation of all pixels;
    - `rest`: by that of all pixels outside the region, which are the same before and after;
    - `region`: by that of the regions, cut out and brought to one size;
    - `classifier`: Fisherfaces (Belhumeur et al., IEEE TPAMI 1997) that learned other photographs' regions;
    - `alike`: the same, where it learned other photographs after the same was done to them ("parrot recognition",
      Newton et al.); after, these are the other images made;
    - `backbone`: by the correlation of the regions' features, where `embed` gives these.

    Limits hold for all attackers together with 95 % confidence (Bonferroni), by a bootstrap over persons. `persons`,
    `images`, `photographs`: how many were looked for, in what, among which.

    Raises:
        UserError: what `shortfall` finds.
    """
    if reason := shortfall(own, probes):
        raise UserError(f"nobody can be looked for: {reason}")
    rows = np.flatnonzero(_known(own, probes.sources))
    rows = rows[evenly_spaced(len(rows), MOST_PROBES)]
    probes = Probes(probes.images[rows], probes.regions[rows], probes.sources[rows])
    sources = own.images[torch.from_numpy(probes.sources)]
    shown = {BEFORE: sources, AFTER: probes.images}
    shown |= {way: obscured(sources, probes.regions, way) for way in RIVALS}
    persons, pictures = own.persons[probes.sources], own.pictures[probes.sources]
    found = dict(_attacks(own, probes, shown, embed))
    confidence, views = 1 - (1 - CONFIDENCE) / len(found), dict[str, dict[str, Any]]()
    for view, hits in found.items():
        among = (persons, pictures) if view == "alike" else (own.persons, own.pictures)
        chance = _at_random(persons[:, None] == among[0], pictures[:, None] != among[1])
        there = chance > 0
        rates = {way: over_units(each[there], persons[there], confidence) for way, each in hits.items()}
        views[view] = {way: {"rate": each.value, "low": each.low, "high": each.high} for way, each in rates.items()}
        views[view]["chance"] = float(chance[there].mean())
    sizes = {"persons": len(np.unique(persons)), "images": len(rows), "photographs": len(own.images)}
    return sizes | {"views": views}


def _attacks(
    own: Photographs, probes: Probes, shown: Mapping[str, Tensor], embed: Embed | None
) -> Iterator[tuple[str, dict[str, Scores]]]:
    """Attacker, and by what was done whether each image (N,) was named rightly, in 0..1."""
    persons, pictures = own.persons[probes.sources], own.pictures[probes.sources]
    same, other = persons[:, None] == own.persons, pictures[:, None] != own.pictures
    seen, gallery = {way: _brought_down(each) for way, each in shown.items()}, _brought_down(own.images)
    outside = 1 - functional.adaptive_max_pool2d(probes.regions.double(), gallery.shape[-2:])
    for view, masks in (("whole", torch.ones_like(outside)), ("rest", outside)):
        alike = correlator(masks, gallery)
        yield view, {way: _named_by(alike(each), same, other) for way, each in seen.items()}
    cut, faces = {way: cut_out(each, probes.regions) for way, each in shown.items()}, cut_out(own.images, own.regions)
    alike = correlator(torch.ones(len(persons), 1, FACE, FACE), faces)
    yield "region", {way: _named_by(alike(each), same, other) for way, each in cut.items()}
    folds = _folds(own.persons, own.pictures)
    learned, judged = Faces(faces, own.persons, folds), partial(Faces, persons=persons, folds=folds[probes.sources])
    yield "classifier", {way: _named_by_classifier(learned, judged(each)) for way, each in cut.items()}
    if (_at_random(persons[:, None] == persons, pictures[:, None] != pictures) > 0).any():
        yield "alike", {way: _named_by_classifier(judged(each), judged(each)) for way, each in cut.items()}
    if embed is not None:
        yield "backbone", _named_by_features(embed, cut, faces, same, other)


def cut_out(images: Tensor, regions: Tensor) -> Tensor:
    """The smallest boxes around regions (N, 1, H, W) of images (N, C, H, W), as shares of the range; the whole image
    where a region is empty. (N, C, FACE, FACE)."""
    boxes = []
    for image, region in zip(images.double() / 255, regions[:, 0], strict=True):
        down, right = region.any(dim=1).nonzero(), region.any(dim=0).nonzero()
        box = image if not len(down) else image[:, down[0] : down[-1] + 1, right[0] : right[-1] + 1]
        boxes.append(functional.interpolate(box[None], (FACE, FACE), mode="bilinear", antialias=True))
    return torch.cat(boxes)


def correlator(masks: Tensor, gallery: Tensor) -> Callable[[Tensor], Tensor]:
    """Of images (N, C, H, W) their correlations (N, M), -1..1, with those of a gallery (M, C, H, W).

    masks: (N, 1, H, W), the pixels of each that count. The correlation is 0 where these are all alike in either.
    """
    weights = masks.double().expand(-1, gallery.shape[1], -1, -1).flatten(1)
    among, count = gallery.double().flatten(1), weights.sum(dim=1, keepdim=True).clamp_min(1)
    spread = (weights @ among.square().T - (weights @ among.T).square() / count).clamp_min(0).sqrt()

    def correlations(images: Tensor) -> Tensor:
        own = images.double().flatten(1)
        own = (own - (own * weights).sum(dim=1, keepdim=True) / count) * weights
        length = torch.linalg.vector_norm(own, dim=1, keepdim=True)
        there = (spread > EMPTY * count) & (length > EMPTY * count)
        return torch.where(there, own @ among.T / (spread * length).clamp_min(EMPTY), 0.0)

    return correlations


def _named_by(likeness: Tensor, same: Pairs, other: Pairs) -> Scores:
    """Whether the likeliest photograph but the source's shows the person, (N,); of equally likely ones, the share."""
    left = np.where(other, likeness.numpy(), -np.inf)
    first = left >= left.max(axis=1, keepdims=True) - CLOSE
    return (first & same).sum(axis=1) / first.sum(axis=1)


def _named_by_classifier(learned: Faces, judged: Faces) -> Scores:
    """Whether linear discriminants of principal components name the person, (N,).

    Those of a fold learned the others. Where these are all alike it is a guess among them.
    """
    from sklearn.decomposition import PCA

    seen, asked = unit_vectors(learned.images).numpy(), unit_vectors(judged.images).numpy()
    hits = np.zeros(len(asked))
    for fold in np.unique(judged.folds):
        rows, own = learned.folds != fold, judged.folds == fold
        persons = learned.persons[rows]
        if not np.ptp(seen[rows], axis=0).any():
            hits[own] = (judged.persons[own, None] == persons).mean(axis=1)
            continue
        components = PCA(min(COMPONENTS, len(persons) - 1, seen.shape[1]), random_state=0).fit(seen[rows])
        taught, new = components.transform(seen[rows]), components.transform(asked[own])
        hits[own] = _discriminated(taught, new, persons) == judged.persons[own]
    return hits


def _discriminated(learned: Scores, asked: Scores, persons: NDArray[np.int64]) -> NDArray[np.int64]:
    """The person (N,) whose mean is nearest to each of `asked` (N, d), where a person's images vary alike in all ways.

    As scikit-learn's LinearDiscriminantAnalysis, which stops where there is one image of each person: here the
    shrinkage is towards the variance of all images.
    """
    names, codes = np.unique(persons, return_inverse=True)
    means = np.stack([np.bincount(codes, column) / np.bincount(codes) for column in learned.T], axis=1)
    within = np.cov((learned - means[codes]).T, ddof=0)
    varying = (1 - SHRINKAGE) * within + SHRINKAGE * learned.var(axis=0).mean() * np.eye(len(within))
    whitened = np.linalg.inv(np.linalg.cholesky(varying)).T
    return names[cdist(asked @ whitened, means @ whitened).argmin(axis=1)]


def _named_by_features(
    embed: Embed, shown: Mapping[str, Tensor], gallery: Tensor, same: Pairs, other: Pairs
) -> dict[str, Scores]:
    """By the correlation of features that have mean 0 and deviation 1 over the gallery."""
    features = embed(to_bytes(2 * gallery - 1)).double()
    centre, spread = features.mean(dim=0), features.std(dim=0).clamp_min(EMPTY)
    alike = correlator(torch.ones(len(same), 1, 1, 1), ((features - centre) / spread)[..., None, None])
    looks = {way: ((embed(to_bytes(2 * each - 1)).double() - centre) / spread) for way, each in shown.items()}
    return {way: _named_by(alike(each[..., None, None]), same, other) for way, each in looks.items()}


def _folds(persons: NDArray[np.int64], pictures: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each image, (M,): a person's photographs are spread over all folds, and versions of one are in one."""
    names, first = np.unique(pictures, return_index=True)
    owners = persons[first]
    order = np.argsort(owners, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
    return rank[np.searchsorted(names, pictures)] % FOLDS


def _at_random(same: Pairs, other: Pairs) -> Scores:
    """The chance (N,) that a photograph taken at random, but the source, shows the person."""
    return (same & other).sum(axis=1) / other.sum(axis=1).clip(1)


def _known(own: Photographs, sources: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of which of these photographs, (N,), there is another one of the same person."""
    seen, first = np.unique(own.pictures, return_index=True)
    per_person = np.bincount(own.persons[first], minlength=own.persons.max(initial=0) + 1)
    assert len(seen) == per_person.sum()
    return per_person[own.persons[sources]] > 1


def _brought_down(images: Tensor) -> Tensor:
    """Images as shares of the range, float64, of at most SIDE x SIDE pixels."""
    return functional.adaptive_avg_pool2d(images.double() / 255, min(SIDE, images.shape[-1]))
