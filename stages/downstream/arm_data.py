"""What one replicate has for training a classifier, and whether that can serve an arm."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stages.downstream.few_shot import few_shot_classes, shortfall
from stages.downstream.params import ArmParams, LabelBudget, QualityFilter, Synthetic
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError

MORE_SYNTHETIC = "train the GAN for more steps, generate more images, or lower filter_memorized's alpha"


@dataclass(frozen=True)
class SyntheticData:
    """Synthetic images uint8 (N, C, H, W), the classes int64 (N,) they were drawn for, and what else is known of each.

    probabilities: float32 (N, K), those of all classes by a teacher, to be trained on instead of the class; realness:
    float (N,), the logit of the GAN's discriminator; latent_norm: float (N,), length of its latent; None where
    `generate` did not note them. The images lie on a device, all else on the CPU.
    """

    images: Tensor
    labels: Tensor
    probabilities: Tensor | None = None
    realness: Tensor | None = None
    latent_norm: Tensor | None = None


@dataclass(frozen=True)
class ArmData:
    """What one replicate has, on one device. Test images uint8 (N, C, H, W): there are no test labels here."""

    seen: ReplicateData
    test_images: Tensor
    synthetic: SyntheticData | None


@dataclass(frozen=True)
class Labelled:
    """Real images with their labels, and which are of the target domain, bool (N,); both on the CPU.

    masks: bool (N, 1, H, W), their regions, empty for those that have none; None where regions are not known of.
    """

    images: Tensor
    labels: Tensor
    of_target: Tensor
    masks: Tensor | None = None

    def beside(self, others: "Labelled") -> "Labelled":
        """These images and, behind them, others; their regions are forgotten."""
        images = torch.cat([self.images, others.images])
        return Labelled(images, torch.cat([self.labels, others.labels]), torch.cat([self.of_target, others.of_target]))


def labelled_images(arm: ArmParams, data: ArmData, final: bool, seed: int) -> Labelled:
    """The real images with labels that the arm may train on: those of `train` to choose by, all in its final run.

    A budget of k labels a class takes k at random, the same for every budget as far as they go; validation images only
    where `train` has too few.

    Raises:
        UserError: `train` and `validation` together have fewer labels of a class than the budget.
    """
    seen = data.seen
    given = seen if arm.labels == "all" and not final else seen.with_all_labels()
    images, labels, of_target = given.images, given.labels.cpu(), given.of_target.cpu()
    masks = None if given.masks is None else given.masks[: len(labels)]
    if isinstance(arm.labels, LabelBudget):
        chosen = _first_of_each_class(labels, len(seen.labels), arm.labels.per_class, seen.classes, seed)
        return Labelled(images[chosen], labels[chosen], of_target[chosen], None if masks is None else masks[chosen])
    return Labelled(images, labels, of_target, masks)


def _first_of_each_class(labels: Tensor, preferred: int, count: int, classes: int, seed: int) -> Tensor:
    """Indices of `count` images of each class, of the first `preferred` ones as far as there are enough."""
    generator = Generator().manual_seed(seed)
    order = torch.cat([
        torch.randperm(preferred, generator=generator),
        preferred + torch.randperm(len(labels) - preferred, generator=generator),
    ])  # fmt: skip
    ranked = [order[labels[order] == label] for label in range(classes)]
    least = min(len(each) for each in ranked)
    if least < count:
        raise UserError(
            f"labels: per_class: {count} is more than the {least} labelled images that train and validation have of "
            "the rarest class"
        )
    return torch.cat([each[:count] for each in ranked])


def check_data(arm: ArmParams, data: ArmData) -> None:
    """Whether this replicate's images and labels can serve the arm.

    Raises:
        UserError: labels that do not fit the images, a class without real images, no synthetic image at all, an empty
            pool, one domain where two are needed, no few-shot classes for what is for these, a filter by what is not
            known of the synthetic images.
    """
    seen = data.seen
    if arm.real:
        check_labels("train", seen.images, seen.labels, seen.classes)
        check_every_class("train", seen.labels, seen.classes)
    check_labels("validation", seen.validation_images, seen.validation_labels, seen.classes)
    if arm.for_shift and seen.from_source is None:
        raise UserError(
            f"{' and '.join(arm.for_shift)} needs a source and a target domain, but there is one alone: remove the "
            "arm, or set prepare.shift, with pool: true"
        )
    if arm.from_pool and not len(seen.unlabelled):
        raise UserError(
            f"{' and '.join(arm.from_pool)} needs unlabelled images, but the pool is empty: remove the arm, or let "
            "prepare set fewer images aside for other roles"
        )
    if arm.from_regions and (seen.masks is None or not seen.masks[: len(seen.labels)].any()):
        raise UserError(
            f"{' and '.join(arm.from_regions)} needs images with regions, but there are none: say in prepare.masks "
            "where they lie, or remove the arm"
        )
    others = len(other_classes(seen).labels.unique())
    if problem := shortfall(label_counts(seen), arm.for_few_shot, arm.least_many_shot, others):
        raise UserError(problem)
    if arm.adds_synthetic:
        _check_synthetic(arm, data)


def label_counts(seen: ReplicateData) -> list[int]:
    """Labels of each class (K,), whether choices are to be made on them or not."""
    return torch.bincount(seen.with_all_labels().labels, minlength=seen.classes).tolist()


def other_classes(seen: ReplicateData) -> Labelled:
    """Images of the classes that are never tested, of which there are two or more to learn from."""
    labels = seen.other_labels.cpu()
    several = labels.bincount()[labels] > 1
    everyone = torch.ones(int(several.sum()), dtype=torch.bool)
    return Labelled(seen.other_images[several.to(seen.other_images.device)], labels[several], everyone)


def few_of(seen: ReplicateData) -> list[bool]:
    """Which classes (K,) are few-shot."""
    return few_shot_classes(label_counts(seen), len(other_classes(seen).labels))


def _check_synthetic(arm: ArmParams, data: ArmData) -> None:
    synthetic = data.synthetic
    if synthetic is None or not len(synthetic.images):
        raise UserError("the arm needs synthetic images, but filter_memorized kept none: " + MORE_SYNTHETIC)
    check_labels("synthetic", synthetic.images, synthetic.labels, data.seen.classes)
    filters = [setting.filter for setting in arm.settings if isinstance(setting, Synthetic) and setting.filter]
    for each in filters:
        check_filter(each, synthetic)


def check_filter(by: QualityFilter, synthetic: SyntheticData) -> None:
    """Whether the images can be ranked so; else a UserError says what can be done."""
    unknown = {"discriminator": synthetic.realness is None, "truncation": synthetic.latent_norm is None}
    if unknown.get(by.by, False):
        raise UserError(
            f"filter: by: {by.by} needs scores that generate did not note: set generate.scores: true, or, for images "
            "made elsewhere, use by: confidence"
        )


def check_labels(role: str, images: Tensor, labels: Tensor, classes: int) -> None:
    """Whether there are images, and one label 0..classes-1 for each; else a UserError says what is wrong."""
    if len(images) != len(labels):
        raise UserError(f"{role}: {len(images)} images but {len(labels)} labels")
    if not len(labels):
        raise UserError(f"{role}: there are no images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"{role}: labels range from {low} to {high}, allowed are 0 to {classes - 1}")


def check_every_class(role: str, labels: Tensor, classes: int) -> None:
    """Whether every class has an image; else a UserError names those that have none."""
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise UserError(f"{role}: no image of class {', '.join(map(str, missing))}")
