"""Classifiers for classes with few labels, on features of a network that learned the classes with many."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

FEW = 1 / 2  # of the labels of the commonest class: a class with at most so many is few-shot
# Yang, Liu and Xu 2021, "Free Lunch for Few-shot Learning: Distribution Calibration", section 4.1.3
POWER = 0.5  # lambda, of Tukey's transformation
NEIGHBOURS = 2  # k, many-shot classes that a shot borrows from
SPREAD = 0.21  # alpha, added to every entry of the covariance
DRAWN = 100  # features of each few-shot class; the paper's 750 are for 5 classes alone


class Tukey(nn.Module):
    """Features (N, F) to the power 1/2, sign kept: their distribution comes nearer to a Gaussian's (equation 3)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.sign() * features.abs() ** POWER


def few_shot_classes(counts: Sequence[int], others: int = 0) -> list[bool]:
    """Which classes have few labels, of the set's own.

    counts: labels of each class (K,), those of validation among them. others: how many other classes there are to learn
    from; beside these, classes that have alike many are few-shot all together.
    """
    few = [count <= FEW * max(counts) for count in counts]
    return [True] * len(few) if others and not any(few) else few


def shortfall(counts: Sequence[int], keys: Sequence[str], least_many: int, others: int = 0) -> str | None:
    """Why settings with these keys cannot serve classes with so many labels (K,), in words; None where they can.

    least_many: of classes with many labels. others: as for `few_shot_classes`.
    """
    few = few_shot_classes(counts, others)
    if keys and not any(few):
        return (
            f"{' and '.join(keys)} needs classes with at most half of the labels of the commonest one, but there is "
            "none: take the arm out, give some classes few in prepare.labels_per_class, as in {cat: 1, others: 20}, or "
            "let prepare.other_classes bring others to learn from"
        )
    if keys and len(few) - sum(few) + others < least_many:
        return (
            f"{' and '.join(keys)} needs {least_many} classes with many labels to learn from, but there is one: raise "
            "prepare.labels_per_class for others, let prepare.other_classes bring some, or take the arm out"
        )
    return None


def nearest_mean(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """The head whose likeliest class is that with the nearest mean, as scikit-learn's `NearestCentroid` finds it.

    Its probabilities are those under Gaussians that share one spherical covariance, the pooled one within the classes.

    Args:
        features: float32 (N, F), some of every class.
        labels: int64 (N,), 0..classes-1.
        classes: K.
    """
    means = torch.stack([features[labels == label].mean(dim=0) for label in range(classes)])
    within = (features - means[labels]).square().sum() / (max(len(labels) - classes, 1) * features.shape[1])
    variance = within if within > 0 else torch.ones_like(within)
    head = nn.Linear(features.shape[1], classes, device=features.device).requires_grad_(False)
    head.weight.copy_(means / variance)
    head.bias.copy_(means.square().sum(dim=1) / (-2 * variance))
    return head


def borrowed(shot: Tensor, bases: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (F,) and factor (M, F) of the Gaussian that is supposed around one shot; factor^T factor is its covariance.

    Equations 5 and 6 of the paper: of the NEIGHBOURS many-shot classes whose means are nearest, the mean of these and
    the shot, and their mean covariance, with SPREAD added to every entry.

    shot: (F,). bases: features (n, F) of each many-shot class.
    """
    means = torch.stack([base.mean(dim=0) for base in bases])
    nearest = (means - shot).square().sum(dim=1).argsort(stable=True)[:NEIGHBOURS].tolist()
    parts = [(bases[i] - means[i]) / (len(nearest) * max(len(bases[i]) - 1, 1)) ** 0.5 for i in nearest]
    common = torch.full_like(shot, SPREAD**0.5).unsqueeze(0)
    return torch.cat([means[nearest], shot.unsqueeze(0)]).mean(dim=0), torch.cat([*parts, common])


def calibrated(
    features: Tensor, labels: Tensor, few: Sequence[bool], seed: int, others: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """The features and labels, and DRAWN more of every few-shot class, from the Gaussians of its shots in turn.

    features: (N, F), after `Tukey`. labels: (N,). few: which classes are few-shot (K,). others: features (n, F) of each
    further class with many images.
    """
    bases = [*(features[labels == label] for label, is_few in enumerate(few) if not is_few), *others]
    generator = Generator(features.device).manual_seed(seed)
    drawn, classes = [features], [labels]
    for label in (label for label, is_few in enumerate(few) if is_few):
        shots = features[labels == label]
        for number, shot in enumerate(shots):
            mean, factor = borrowed(shot, bases)
            count = len(range(number, DRAWN, len(shots)))
            noise = torch.randn(count, len(factor), generator=generator, device=features.device)
            drawn.append(mean + noise @ factor)
            classes.append(labels.new_full((count,), label))
    return torch.cat(drawn), torch.cat(classes)
