"""Training on labelled images while the features of source and target are drawn together.

Each step minimises the classification loss of L labelled images plus a term that compares the features, which the last
layer reads, of those of them that are of the source with those of M images of the unlabelled pool.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.downstream.augment import Policy
from stages.downstream.domains import Domains, in_passes
from stages.downstream.params import ClassifierParams
from stages.downstream.training import Examples, Learned, Seeds, Trained, Validate, descend, targets_of, untrained
from stages.imaging.networks import moving_average
from stages.imaging.pixels import to_network_range


class Term(nn.Module, ABC):
    """What alignment adds to the loss; parameters of its own learn with the classifier."""

    @abstractmethod
    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """The term () of features (S, F) and (M, F), when the share `progress` of the training is done."""


def train_aligned(
    examples: Examples,
    order: Tensor,
    source: int,
    pool: Tensor,
    pool_order: Tensor,
    augment: Policy,
    build_term: Callable[[int], Term],
    params: ClassifierParams,
    seeds: Seeds,
    validate: Validate | None = None,
    stop: int | None = None,
    domains: Domains | None = None,
) -> Trained:
    """Trains a classifier on the examples, its features aligned with the pool's; see `train_classifier`.

    The history has the `alignment` term beside the loss, which contains it.

    Args:
        examples: the labelled set.
        order: int64 (steps, L), indices into it; its rows are the batches.
        source: how many of each batch's first are of the source.
        pool: uint8 (U, C, H, W), of the target.
        pool_order: int64 (steps, M), likewise.
        augment: policy for all images.
        build_term: what is added to the loss, for so many features of an image.
        params: the classifier and its training.
        seeds: streams for initial weights and augmentation.
        validate: as in `train_classifier`.
        stop: likewise.
        domains: likewise, of the labelled images; the pool's are of the target.

    Raises:
        UserError: the training diverged, or the images are too small for the classifier.
    """
    device = examples.images.device
    model = untrained(examples, params, seeds)
    average = moving_average(model, params.weight_averaging) if params.weight_averaging else None
    body, head = model[:-1], model[-1]
    assert isinstance(head, nn.Linear)
    term = build_term(head.in_features).to(device)
    targets = targets_of(examples, params.label_smoothing)
    generator = Generator(device).manual_seed(seeds.augmentation)

    def learn(step: int) -> Learned:
        rows = order[step].to(device)
        images = torch.cat([examples.images[rows], pool[pool_order[step].to(device)]])
        features = in_passes(body, augment(to_network_range(images), generator), domains)
        added = term(features[:source], features[len(rows) :], step / len(order))
        loss = functional.cross_entropy(head(features[: len(rows)]), targets[rows])
        return Learned(loss + added, {"alignment": added})

    return descend(model, average, learn, params, len(order), validate, stop, domains, beside=[term])
