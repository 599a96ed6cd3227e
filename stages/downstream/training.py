"""Training the classifier on a set that lives on the device as one tensor, and predicting with it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.downstream.augment import Policy
from stages.downstream.classifiers import build_classifier, to_input
from stages.downstream.params import ClassifierParams

PREDICTION_BATCH = 128
HISTORY_POINTS = 20


@dataclass(frozen=True)
class Seeds:
    """Independent streams of one training run, so that arms of a replicate share what they can."""

    initialisation: int
    order: int
    augmentation: int


@dataclass(frozen=True)
class Trained:
    """A trained classifier (in evaluation mode) and its mean loss over each stretch of steps: {step, loss}."""

    model: nn.Module
    history: list[dict[str, float]]


def derive_seeds(seed: int, replicate: int) -> Seeds:
    """The streams of replicate `replicate`."""
    state = np.random.SeedSequence((seed, replicate)).generate_state(3, dtype=np.uint32)
    return Seeds(*(int(value) for value in state))


def draw_order(
    labels: Tensor, count: int, sampling: Literal["shuffled", "oversampled"], generator: Generator
) -> Tensor:
    """Indices (count,) into a set with these labels (N,), in the order in which training visits its images.

    `shuffled` visits all images before any comes again. `oversampled` does so within each class and takes the classes
    in turn, so that all classes that are there come equally often (to within one) whatever their sizes.
    """

    def cycle(members: Tensor, length: int) -> Tensor:
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(0, length, len(members))]
        return torch.cat(rounds)[:length]

    if sampling == "shuffled":
        return cycle(torch.arange(len(labels)), count)
    labels = labels.cpu()
    turns = cycle(labels.unique(), count)
    order = torch.empty(count, dtype=torch.int64)
    for label in turns.unique():
        places = (turns == label).nonzero().squeeze(1)
        order[places] = cycle((labels == label).nonzero().squeeze(1), len(places))
    return order


def train_classifier(
    images: Tensor, labels: Tensor, order: Tensor, classes: int, augment: Policy, params: ClassifierParams, seeds: Seeds
) -> Trained:
    """Trains on `images` in the order given, with AdamW and a one-cycle learning rate (Smith & Topin 2018).

    Args:
        images: uint8 (N, C, H, W); they and the labels stay on their device.
        labels: int64 (N,), 0..classes-1.
        order: int64 (steps, batch), indices into both; its rows are the batches.
        classes: number of classes.
        augment: policy applied to every batch.
        params: the classifier and its training.
        seeds: streams for initial weights and augmentation.
    """
    device = images.device
    model = build_classifier(images.shape[1], images.shape[-1], classes, params.width, seeds.initialisation).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.learning_rate, total_steps=len(order) + 1, pct_start=0.2
    )
    generator = Generator(device).manual_seed(seeds.augmentation)
    losses = torch.empty(len(order), device=device)

    for step, batch in enumerate(order.to(device)):
        logits = model(augment(to_input(images[batch]), generator))
        loss = functional.cross_entropy(logits, labels[batch], label_smoothing=params.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses[step] = loss.detach()

    return Trained(model.eval(), summarise(losses))


def summarise(losses: Tensor) -> list[dict[str, float]]:
    """Mean loss over each of at most HISTORY_POINTS equal stretches, with the step at which the stretch ends."""
    stretch = -(-len(losses) // HISTORY_POINTS)
    ends = torch.arange(len(losses)).split(stretch)
    return [{"step": int(part[-1]) + 1, "loss": float(losses[part].mean())} for part in ends]


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Class probabilities, float32 (N, K) on the CPU, of uint8 images (N, C, H, W).

    Always runs batches of PREDICTION_BATCH, the last one padded: kernels choose their order of summation by the
    batch's size, so an image's probabilities would otherwise depend, in the last digits, on how many were asked for.
    """
    model.eval()
    batches = []
    for batch in images.split(PREDICTION_BATCH):
        padding = batch.new_zeros((PREDICTION_BATCH - len(batch), *batch.shape[1:]))
        logits = model(to_input(torch.cat([batch, padding])))
        batches.append(logits[: len(batch)].softmax(dim=1).cpu())
    return torch.cat(batches)
