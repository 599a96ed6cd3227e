"""How like real images synthetic ones are, and how varied, in the features of a classifier trained on real images.

Pure: features in, numbers out. Whether the images are of use is another matter, and the arms answer it. Our own few
lines: of the libraries for this, neither torch-fidelity nor torchmetrics has density, coverage or a two-sample test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.imaging import set_metrics
from stages.memorization.intervals import over_replicates
from stages.plumbing.errors import UserError

NEIGHBOURS = 5  # k of precision, recall, density and coverage; Naeem et al. choose it too
LEAST = 4 * NEIGHBOURS  # images a side: of fewer, the five nearest are hardly near
LEAST_TO_TELL = 100  # images a side: with fewer, a classifier of as many features finds chance alone
LIMIT = 1000  # images a side: shares are then exact to .03, and time grows with the square
FOLDS = 5
INVERSE_PENALTY = 0.01  # scikit-learn's C; small, for there are about as many features as images

Measures = Mapping[str, float]
Triple = tuple[Tensor, Tensor, Tensor]  # of real images, of other real images, of synthetic ones


@dataclass(frozen=True)
class ClassFidelity:
    """One class. real_share, synthetic_share: share 0..1 of all images of either kind that are of this class.

    images: how many a side were compared. measures, floor: as in `Fidelity`, but those of `class_measures`; empty where
    images is less than `LEAST`.
    """

    real_share: float
    synthetic_share: float
    images: int
    measures: Measures
    floor: Measures


@dataclass(frozen=True)
class Fidelity:
    """Synthetic images held against real ones, and against what is possible.

    images: how many a side were compared. measures: of synthetic images against real ones, all of `set_measures`.
    floor: of other real images against the same real ones, as many and of the same classes. That is what a perfect
    generator would get at this sample size: the Frechet distance of two finite samples is never zero, nor are their
    precision, recall and coverage one. Only what is worse than the floor speaks against the generator. (Where images
    come in groups, such as patients, both halves of the real ones share them, and the floor is a little too good.)
    classes: by label, each class of the real images.
    """

    images: int
    measures: Measures
    floor: Measures
    classes: Mapping[int, ClassFidelity]


def fidelity(
    real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor, seed: int
) -> Fidelity | None:
    """Hold synthetic images against one half of the real ones, and the other half too, which gives the floor.

    All three sets have as many images of each class: half of the real ones or, if these are fewer, as many as there are
    synthetic ones, at most `LIMIT` altogether. So no difference between the sets' sizes or their mixtures of classes
    counts; `ClassFidelity` has the shares. With more than 50 classes `LIMIT` leaves too few for figures by class.

    `real` (N, F), `synthetic` (M, F): float, features of one classifier, whose training saw none of these images. They
    are divided by the root mean square of the real ones, so that the distances of several classifiers can be averaged:
    KID is of sixth order in their scale. `real_labels` (N,) and `synthetic_labels` (M,): int64. `seed` decides which
    images are drawn, and the folds of the two-sample test.

    Returns None where fewer than `LEAST` images a side can be drawn, which takes twice as many real ones.

    Raises:
        UserError: a feature is not a finite number.
    """
    for kind, features in (("real", real), ("synthetic", synthetic)):
        if not features.isfinite().all():
            raise UserError(
                f"the classifier's features of the {kind} images are not all finite numbers: its training diverged. "
                "A lower train_downstream.classifier.learning_rate may help"
            )
    drawn = _draw(real_labels, synthetic_labels, seed)
    images = sum(len(own[0]) for own in drawn.values())
    if images < LEAST:
        return None
    scale = float(real.double().square().mean().sqrt()) or 1.0  # all features may be 0
    sets = {label: (real[a] / scale, real[b] / scale, synthetic[c] / scale) for label, (a, b, c) in drawn.items()}
    reference, fresh, generated = (torch.cat(parts) for parts in zip(*sets.values(), strict=True))
    return Fidelity(
        images=images,
        measures=set_measures(reference, generated, seed),
        floor=set_measures(reference, fresh, seed),
        classes={
            label: _class_fidelity(_share(real_labels, label), _share(synthetic_labels, label), own)
            for label, own in sets.items()
        },
    )


def two_sample(found: Sequence[Fidelity]) -> dict[str, float]:
    """What leads: can anybody tell synthetic from real images, beside whether anybody can tell real from real ones?

    found: of R >= 1 replicates. Of the area under the ROC curve of `two_sample_auc`: `auc`, its mean, and `floor`, that
    of other real images. `beyond`, their difference, with its interval over replicates, `low` and `high`, where there
    are several. floor_holds: 1 where the floor is as near to .5 as chance allows so few images (three standard
    deviations of Mann and Whitney's statistic) and there are `LEAST_TO_TELL` a side; else 0: the test then says nothing
    of the synthetic images either, and the other measures are as little to be trusted.
    """
    auc, floor = ([getattr(each, of)["two_sample_auc"] for each in found] for of in ("measures", "floor"))
    beyond = [value - least for value, least in zip(auc, floor, strict=True)]
    images, mean = min(each.images for each in found), sum(floor) / len(floor)
    deviation = ((2 * images + 1) / (12 * images**2)) ** 0.5
    numbers = {"auc": sum(auc) / len(auc), "floor": mean, "beyond": sum(beyond) / len(beyond)}
    if len(found) > 1:
        interval = over_replicates(beyond)
        numbers |= {"low": interval.low, "high": interval.high}
    return numbers | {"floor_holds": int(images >= LEAST_TO_TELL and abs(mean - 0.5) <= 3 * deviation)}


def set_measures(real: Tensor, synthetic: Tensor, seed: int) -> dict[str, float]:
    """Return all measures of two sets of features, (N, F) and (M, F), of more than 5 rows each.

    Those of `class_measures`; `frechet_distance`, 0 for equal sets, and the larger the smaller the sets are;
    `two_sample_auc`, .5 where nobody can tell synthetic from real, 1 where everybody can.
    """
    return class_measures(real, synthetic) | {
        "frechet_distance": frechet_distance(real, synthetic),
        "two_sample_auc": two_sample_auc(real, synthetic, seed),
    }


def class_measures(real: Tensor, synthetic: Tensor) -> dict[str, float]:
    """Return those measures that say something on a few images, of two sets as for `set_measures`.

    `kid`, the kernel distance, is 0 for equal distributions and by chance slightly negative. The others, shares 0..1
    but for density, look at whose images lie among the nearest of whose. `precision`: synthetic images that have their
    like among real ones; `recall`: real ones that have theirs among synthetic ones, low where modes are missing;
    `density`: as precision, but it counts how often; 1 is expected, and more where synthetic images crowd where real
    ones do; `coverage`: real images that a synthetic one lies near to; an outlier hardly moves it, as it does recall.
    """
    return {"kid": set_metrics.kernel_distance(real, synthetic)} | _neighbourhood_measures(real, synthetic)


def frechet_distance(real: Tensor, synthetic: Tensor) -> float:
    """Return the squared Frechet distance of the Gaussians that have the sets' means and covariances, at least 0.

    FID's formula (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, eq. 6), in features of our own:
    |difference of means|^2 + tr(A + B - 2 (AB)^(1/2)). With A = X^T X and B = Y^T Y, the eigenvalues of AB are the
    squared singular values of X Y^T. So no square root of a matrix is taken, which is unstable where there are fewer
    images than features. `real` (N, F), `synthetic` (M, F): two rows or more each.
    """
    X, Y = _root_of_covariance(real), _root_of_covariance(synthetic)
    means = (real.double().mean(dim=0) - synthetic.double().mean(dim=0)).square().sum()
    shared = torch.linalg.svdvals(X @ Y.T).sum()
    return max(0.0, float(means + X.square().sum() + Y.square().sum() - 2 * shared))


def two_sample_auc(real: Tensor, synthetic: Tensor, seed: int) -> float:
    """Return how often a classifier, shown a real and a synthetic image, knows which is which, 0..1.

    Classifier two-sample test (Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", 2017), by the area under
    the ROC curve of logistic regression, averaged over held-out fifths. About .5 for equal distributions, a little less
    for small sets; clearly below where synthetic images copy these real ones, for then the copy of a held-out image was
    learned with the other label.

    `real` (N, F), `synthetic` (M, F): 5 rows or more each, about as many of both. `seed` decides the fifths.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = torch.cat([real, synthetic]).cpu().numpy()
    is_real = torch.arange(len(features)).lt(len(real)).numpy()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
    return float(cross_val_score(classifier, features, is_real, scoring="roc_auc", cv=folds).mean())


def _neighbourhood_measures(real: Tensor, synthetic: Tensor) -> dict[str, float]:
    """Return precision and recall (Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative
    Models", 2019, eq. 2), density and coverage (Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
    Models", 2020, eq. 3 and 4).

    Recall as in `quality`, which is exact for equal features too, but ten times slower.
    """
    between = _distances(real, synthetic)
    near_real = between <= _radii(real).unsqueeze(1)
    near_synthetic = between <= _radii(synthetic)
    return {
        "precision": float(near_real.any(dim=0).double().mean()),
        "recall": float(near_synthetic.any(dim=1).double().mean()),
        "density": float(near_real.double().mean()) * len(real) / NEIGHBOURS,
        "coverage": float(near_real.any(dim=1).double().mean()),
    }


def _radii(features: Tensor) -> Tensor:
    """Return each feature's distance to the k-th nearest of its like, (N,)."""
    return _distances(features, features).kthvalue(NEIGHBOURS + 1, dim=1).values  # each is its own nearest


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """Return all distances, (N, M): in double precision the fast way, by a product of matrices, is exact enough."""
    return torch.cdist(left.double(), right.double(), compute_mode="use_mm_for_euclid_dist")


def _root_of_covariance(features: Tensor) -> Tensor:
    """Return X of min(N, F) rows such that X^T X is the unbiased covariance of features (N, F)."""
    features = features.double()
    centred = (features - features.mean(dim=0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R


def _class_fidelity(real_share: float, synthetic_share: float, sets: Triple) -> ClassFidelity:
    reference, fresh, generated = sets
    enough = len(reference) >= LEAST
    measures = class_measures(reference, generated) if enough else {}
    floor = class_measures(reference, fresh) if enough else {}
    return ClassFidelity(real_share, synthetic_share, len(reference), measures, floor)


def _share(labels: Tensor, label: int) -> float:
    return float((labels == label).double().mean())


def _draw(real_labels: Tensor, synthetic_labels: Tensor, seed: int) -> dict[int, Triple]:
    """Return by label the indices of two disjoint sets of real images and of one of synthetic ones, as many of each."""
    generator = torch.Generator().manual_seed(seed)
    own = {
        label: (_shuffled(real_labels == label, generator), _shuffled(synthetic_labels == label, generator))
        for label in real_labels.unique().tolist()
    }
    sizes = {label: min(len(real) // 2, len(synthetic)) for label, (real, synthetic) in own.items()}
    total = max(LIMIT, sum(sizes.values()))
    drawn = {}
    for label, (real, synthetic) in own.items():
        size = sizes[label] * LIMIT // total
        drawn[label] = (real[:size], real[size : 2 * size], synthetic[:size])
    return drawn


def _shuffled(chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Return where `chosen` (N,) is true, in random order."""
    indices = chosen.nonzero().squeeze(1)
    return indices[torch.randperm(len(indices), generator=generator).to(indices.device)]
