"""What every batch of an arm is made of: so many images of each source, in what order, and what each one counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from stages.downstream.arm_data import ArmData, Labelled, SyntheticData, few_of, other_classes
from stages.downstream.params import (
    ArmParams,
    Duplicated,
    FixMatch,
    Obscured,
    Pasted,
    PixelDelta,
    PseudoLabels,
    QualityFilter,
    Setting,
    StyleMatching,
    Synthetic,
)
from stages.downstream.pasting import pasted
from stages.downstream.pixel_delta import with_pixel_deltas
from stages.downstream.sampling import class_weights, draw_order, top_up_shares
from stages.downstream.selection import best_of_every_class, select_balanced
from stages.downstream.styles import restyled
from stages.downstream.training import Examples
from stages.imaging.obscuring import obscured

Source = Literal["real", "synthetic", "pseudo_labelled"]

TARGET_SHARE = 1 / 4  # of the labelled images in a batch, where both domains have labels
REAL_SHARE_WITH_POOL = 1 / 8  # of each batch; 1/4 and 1/2 were no better on digits


@dataclass(frozen=True)
class Part:
    """Labelled images of one source, which fill `places` places of every batch.

    loss_weight: of each one's loss. probabilities: float32 (N, K), what is trained on instead of the labels (N,), by
    which classes are balanced all the same. of_target: of the target domain; with one domain alone, all are.
    """

    source: Source
    images: Tensor
    labels: Tensor
    places: int
    loss_weight: float = 1.0
    probabilities: Tensor | None = None
    of_target: bool = True

    def targets(self, classes: int) -> Tensor:
        """The probability of each class, float32 (N, classes)."""
        return one_hot(self.labels, classes).float() if self.probabilities is None else self.probabilities


@dataclass(frozen=True)
class Guess:
    """Labels int64 (N,) guessed for images, and the confidence in each (N,), 0..1; on the CPU."""

    labels: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Advice:
    """What an arm may ask for, each computed at most once.

    pool: what the teacher of a setting guesses of the unlabelled pool. own_confidence: the probability (N,) of every
    synthetic image's own class, by a classifier trained on the real labels alone.
    """

    pool: Callable[[PseudoLabels | FixMatch | Synthetic], Guess]
    own_confidence: Callable[[], Tensor]


def batch_parts(
    setting: Setting, data: ArmData, real: Labelled | None, places: int, advice: Advice, seed: int
) -> list[Part]:
    """What every batch of `places` images is made of, those of the source domain first.

    real: what the arm trains on, None where that is nothing. Generated images count as the target's.
    """
    if isinstance(setting, Obscured):
        assert real is not None  # by the schema
        assert real.masks is not None  # by check_data
        real = replace(real, images=obscured(real.images, real.masks, setting.obscured))
    return sorted(_parts(setting, data, real, places, advice, seed), key=lambda part: part.of_target)


def _parts(
    setting: Setting, data: ArmData, real: Labelled | None, places: int, advice: Advice, seed: int
) -> list[Part]:
    match setting:
        case Synthetic():
            assert data.synthetic is not None  # by check_data
            drawn = round(setting.synthetic_share * places)
            chosen = _filtered(setting.filter, data.synthetic, advice)
            images, labels = data.synthetic.images[chosen], data.synthetic.labels[chosen]
            soft = None if data.synthetic.probabilities is None else data.synthetic.probabilities[chosen]
            if setting.shuffled_labels:
                labels, soft = wrong_labels(labels, data.seen.classes, seed), None
            guessed = drawn // 2 if setting.more_rounds else 0
            parts = [Part("synthetic", images, labels, drawn - guessed, setting.loss_weight, soft)]
            if guessed:
                parts.append(_pseudo_labelled(setting, data, guessed, advice))
            return parts if real is None else [*real_parts(real, places - drawn), *parts]
        case FixMatch(more_rounds=0):  # its own guesses come on top, while it trains
            return real_parts(real, places)
        case PseudoLabels() | FixMatch():
            kept = max(1, round(REAL_SHARE_WITH_POOL * places))
            return [*real_parts(real, kept), _pseudo_labelled(setting, data, places - kept, advice)]
        case StyleMatching():
            return [_restyled(part, setting, data, seed) for part in real_parts(real, places)]
        case Pasted():
            assert real is not None  # by the schema
            assert real.masks is not None  # by check_data
            drawn = round(setting.pasted_share * places)
            images, labels = pasted(real.images, real.labels, real.masks, seed)
            return [*real_parts(real, places - drawn), Part("real", images, labels, drawn)]
        case Duplicated():
            copies = round(setting.duplicated_share * places)
            return [*real_parts(real, places - copies), *real_parts(real, copies)]
        case PixelDelta():
            assert real is not None  # by the schema
            few, others = few_of(data.seen), other_classes(data.seen)
            return real_parts(with_pixel_deltas(real, few, setting.pixel_delta, seed, others), places)
    return real_parts(real, places)


def real_parts(real: Labelled | None, places: int) -> list[Part]:
    """Labelled real images, in one part; where they are of two domains, in one for each.

    The target's few labels then have a share of their own, the same in every arm: by their number alone, they might be
    missing in a batch, or be too few for batch norm.
    """
    assert real is not None  # by the schema: only arms with synthetic images do without
    kept = min(places, max(1, round(TARGET_SHARE * places)))
    drawn = {False: places - kept, True: kept}
    domains = real.of_target.unique().tolist()
    if len(domains) == 1:
        return [Part("real", real.images, real.labels, places, of_target=domains[0])]
    chosen = {domain: (real.of_target == domain).nonzero().squeeze(1) for domain in domains if drawn[domain]}
    return [
        Part("real", real.images[rows.to(real.images.device)], real.labels[rows], drawn[domain], of_target=domain)
        for domain, rows in chosen.items()
    ]


def _pseudo_labelled(setting: PseudoLabels | FixMatch | Synthetic, data: ArmData, places: int, advice: Advice) -> Part:
    guess, share = advice.pool(setting), setting.pool_share if isinstance(setting, PseudoLabels) else 1.0
    chosen = select_balanced(guess.labels, guess.confidence, data.seen.classes, share)
    return Part("pseudo_labelled", data.seen.unlabelled[chosen], guess.labels[chosen], places)


def _restyled(part: Part, setting: StyleMatching, data: ArmData, seed: int) -> Part:
    """A part of the source in the style of the target, to which it then belongs."""
    if part.of_target:
        return part
    images = restyled(setting.style, part.images, data.seen.unlabelled, seed)
    return replace(part, images=images, labels=part.labels.repeat(len(images) // len(part.labels)), of_target=True)


def _filtered(by: QualityFilter | None, synthetic: SyntheticData, advice: Advice) -> Tensor:
    """Indices (M,) of the synthetic images that are trained on."""
    if by is None:
        return torch.arange(len(synthetic.labels))
    if by.by == "confidence":
        scores = advice.own_confidence()
    else:
        known = synthetic.realness if by.by == "discriminator" else synthetic.latent_norm
        assert known is not None  # by check_data
        scores = known if by.by == "discriminator" else -known
    return best_of_every_class(synthetic.labels, scores, by.keep)


def wrong_labels(labels: Tensor, classes: int, seed: int) -> Tensor:
    """For each label another one, each of the others equally likely."""
    steps = torch.randint(1, classes, labels.shape, generator=Generator().manual_seed(seed))
    return (labels + steps) % classes


def compose(parts: Sequence[Part], arm: ArmParams, steps: int, classes: int, seed: int) -> tuple[Examples, Tensor]:
    """All images of the parts, on their device, and the order (steps, batch) in which training visits them.

    The classes are balanced as the arm says. Every batch has the same number of places for each part.
    """
    generator, columns, offset = Generator().manual_seed(seed), [], 0
    for part in parts:
        order = draw_order(part.labels, steps * part.places, _shares(part, parts, arm, classes), generator)
        columns.append(order.view(steps, part.places) + offset)
        offset += len(part.labels)
    weights = torch.cat([torch.full((len(part.labels),), part.loss_weight) for part in parts])
    if arm.balancing == "class_weights":
        weights *= class_weights(_frequencies(parts, classes))[torch.cat([part.labels for part in parts])]
    images = torch.cat([part.images for part in parts])
    targets = torch.cat([part.targets(classes) for part in parts])
    return Examples(images, targets.to(images.device), weights.to(images.device)), torch.cat(columns, dim=1)


def _shares(part: Part, parts: Sequence[Part], arm: ArmParams, classes: int) -> Tensor | None:
    """How often each class of a part is drawn, as far as the arm balances by drawing."""
    if arm.balancing == "oversampling":
        return torch.ones(classes)
    if arm.balancing == "synthetic" and part.source == "synthetic":
        real = [other for other in parts if other.source == "real"]
        if not real:
            return torch.ones(classes)
        places = sum(other.places for other in real)
        return top_up_shares(_frequencies(real, classes), places / (places + part.places))
    return None


def _frequencies(parts: Sequence[Part], classes: int) -> Tensor:
    """How often each class (classes,) is drawn in all, beside the images of the first part once each."""
    first = parts[0].places / len(parts[0].labels)
    often = [part.places / len(part.labels) / first for part in parts]
    each = [torch.bincount(part.labels, minlength=classes) * times for part, times in zip(parts, often, strict=True)]
    return torch.stack(each).sum(dim=0)
