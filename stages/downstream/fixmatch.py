"""FixMatch: a classifier learns from unlabelled images what it already makes of them, while it is being trained.

Sohn et al. 2020, arXiv:2001.07685. The pseudo-labels are those of a mean teacher (Tarvainen & Valpola 2017,
arXiv:1703.01780), whose weights are a moving average of the student's.

Each step minimises the mean loss of L labelled images, augmented weakly, plus that of M unlabelled ones, augmented
strongly, of which the student is to say what the teacher makes of them, augmented weakly. As many images receive a
gradient as when `train_classifier` has batches of L + M; the teacher's look at M images comes on top.

Pseudo-labels are hard and not smoothed. The true ones are smoothed, which teaches the student to give a class no more
than 1 - s + s/K: a threshold above that leaves most of the pool unused.

Where the unlabelled images are of another domain, the teacher is mostly wrong at first, and its guesses soon fall upon
one class. Then, as in AdaMatch (Berthelot et al. 2021, arXiv:2106.04732), labelled images are augmented strongly too,
guesses are aligned with the classes of the labelled images, and what is learned from them counts more and more.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.downstream.augment import Policy
from stages.downstream.domains import Domains, in_passes
from stages.downstream.params import ClassifierParams
from stages.downstream.training import (
    Examples,
    Learned,
    Seeds,
    Trained,
    Validate,
    descend,
    targets_of,
    untrained,
)
from stages.imaging.networks import moving_average
from stages.imaging.pixels import to_network_range

TEACHER_DECAY = 0.999  # in effect after 9,000 steps; until then the average spans about the last tenth of the steps
ALIGNMENT_DECAY = 0.9
RISING = 0.5  # share of the steps in which the weight of another domain's pseudo-labels rises to 1


def train_fixmatch(
    labelled: Examples,
    order: Tensor,
    unlabelled: Tensor,
    unlabelled_order: Tensor,
    augment: Policy,
    weak: Policy,
    strong: Policy,
    params: ClassifierParams,
    threshold: float,
    seeds: Seeds,
    validate: Validate | None = None,
    stop: int | None = None,
    domains: Domains | None = None,
    across: bool = False,
) -> Trained:
    """Trains a student on both sets, on their device; it is the teacher that is validated and returned.

    The history has the `pseudo_labelled_share` of the M images beside the loss. `params.weight_averaging` has no
    effect: an average is returned in any case.

    Args:
        labelled: the labelled set.
        order: int64 (steps, L), indices into it; its rows are the batches.
        unlabelled: uint8 (U, C, H, W).
        unlabelled_order: int64 (steps, M), likewise.
        augment: policy for labelled images, the weak one in the paper.
        weak: policy for what the teacher sees.
        strong: policy for the unlabelled images that the student sees.
        params: the classifier and its training.
        threshold: probability, 0..1, from which the teacher's class becomes a pseudo-label.
        seeds: streams for initial weights and augmentation.
        validate: scores a classifier in evaluation mode, the higher the better; as in `train_classifier`.
        stop: the step to end after; likewise.
        domains: likewise, of the labelled images; the unlabelled ones are of the target.
        across: whether the unlabelled images are of another domain than labelled ones.

    Raises:
        UserError: the training diverged, or the images are too small for the classifier.
    """
    device = labelled.images.device
    student = untrained(labelled, params, seeds)
    average = moving_average(student, TEACHER_DECAY)
    # with the statistics of the batch at hand where the average of the training's would be those of both domains
    teacher = average.module.train(domains is not None)
    targets = targets_of(labelled, params.label_smoothing)
    generator = Generator(device).manual_seed(seeds.augmentation)
    often = torch.bincount(order.flatten(), minlength=len(labelled.labels)).to(device) / order.numel()
    align = Alignment(often @ labelled.probabilities) if across else None

    def learn(step: int) -> Learned:
        rows, pool = order[step].to(device), unlabelled_order[step].to(device)
        images = to_network_range(unlabelled[pool])
        taught = pseudo_label(teacher, weak(images, generator), threshold, align)
        given = augment(to_network_range(labelled.images[rows]), generator)
        inputs = torch.cat([given, strong(images, generator)])
        known, unknown = in_passes(student, inputs, domains).split([len(rows), len(pool)])
        counts = min(1, step / (RISING * len(order))) if across else 1
        loss = functional.cross_entropy(known, targets[rows]) + counts * functional.cross_entropy(unknown, taught)
        return Learned(loss, {"pseudo_labelled_share": taught.sum(dim=1).mean()})

    return descend(student, average, learn, params, len(order), validate, stop, domains)


class Alignment:
    """Distribution alignment (Berthelot et al. 2020, arXiv:1911.09785, section 3.1): in the mean over the last batches,
    guesses are of each class as often as labels.

    wanted: float (K,), the shares of the labels.
    """

    def __init__(self, wanted: Tensor) -> None:
        self._wanted, self._seen = wanted, wanted.clone()

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Probabilities (M, K) of the next batch, aligned; rows sum to 1."""
        self._seen.lerp_(probabilities.mean(dim=0), 1 - ALIGNMENT_DECAY)
        return functional.normalize(probabilities * (self._wanted / self._seen), p=1, dim=1)


@torch.no_grad()
def pseudo_label(
    teacher: nn.Module, inputs: Tensor, threshold: float, align: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Targets float32 (M, K) that a classifier sets for float32 (M, C, H, W).

    A row is 1 at the likeliest class if this has a probability of at least `threshold`, and 0 elsewhere. A row without
    a 1 adds nothing to a mean cross-entropy, yet counts in it, as in FixMatch's equation 4. align: what probabilities
    go through first.
    """
    probabilities = teacher(inputs).softmax(dim=1)
    if align is not None:
        probabilities = align(probabilities)
    confidence, labels = probabilities.max(dim=1)
    return functional.one_hot(labels, probabilities.shape[1]) * (confidence >= threshold).float().unsqueeze(1)
