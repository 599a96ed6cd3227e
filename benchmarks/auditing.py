"""An empirical lower limit of epsilon, from one run: canaries, each there by a coin's toss, and who guesses which were.

Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run" (2023). Import it from the project's root.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from stages.generators import accountant
from stages.generators.batches import PoissonFeed
from stages.generators.frequencies import cosine_basis
from stages.generators.kinds import private_features, private_gan
from stages.generators.params import GeneratorParams, PrivateFeaturesParams, PrivateGanParams, PrivateGaussianParams
from stages.generators.private_moments import Released, cut, release
from stages.imaging.pixels import to_network_range
from stages.labelling.data import ReplicateData, TrustedImages

CONFIDENCE = 0.95
GUESSED = 0.1  # share of the canaries that are guessed to have been there, and as many not to have been
SIDE, CLASSES = 28, 10
STEPS = 20  # of the generator, for GANs


def least_epsilon(canaries: int, guesses: int, right: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The least epsilon that so many right guesses allow for at this confidence; 0 where they prove nothing.

    Theorem 5.2 and appendix D of the paper. `canaries` of which `guesses` were guessed at, `right` of them rightly.
    """
    low, high = 0.0, 50.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if _chance(canaries, guesses, right, middle, delta) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def _chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """An upper limit on the chance of so many right guesses, or more, under (epsilon, delta)-differential privacy."""
    hit = 1 / (1 + np.exp(-epsilon))
    fewer = np.arange(1, right + 1)
    sums = np.cumsum(binom.pmf(right - fewer, guesses, hit))
    slope = float(np.max(sums / fewer, initial=0.0))
    return min(1.0, float(binom.sf(right - 1, guesses, hit)) + 2 * canaries * delta * slope)


def found(scores: NDArray[np.float64], there: NDArray[np.bool_], delta: float) -> float:
    """The least epsilon by guessing that canaries (N,) of the highest scores were there, those of the lowest not."""
    each = max(1, round(GUESSED * len(scores) / 2))
    order = np.argsort(scores)
    right = int(there[order[-each:]].sum() + (~there[order[:each]]).sum())
    return least_epsilon(len(scores), 2 * each, right, delta)


def audit(params: GeneratorParams, canaries: int, seed: int, weaken: float = 1.0) -> dict[str, Any]:
    """What one run with canaries alone shows of a budget. weaken: a fault, by which the noise is multiplied."""
    torch.set_num_threads(1)
    images, there = _canaries(canaries, seed), np.random.default_rng(seed).random(canaries) < 0.5
    labels = torch.arange(canaries) % CLASSES
    chosen = torch.from_numpy(there)
    real = TrustedImages(images[chosen], labels[chosen], torch.ones(int(chosen.sum())))
    match params:
        case PrivateGanParams():
            scores = _scores_of_gan(params, real, there, seed, weaken)
        case PrivateGaussianParams():
            scores = _scores_of_moments(params, real, images, labels, seed, weaken)
        case PrivateFeaturesParams():
            scores = _scores_of_features(params, real, images, labels, seed, weaken)
        case _:
            raise TypeError(f"{params.kind} has no budget")
    least = found(scores.double().numpy(), there, params.delta)
    return {"generator": params.kind, "claimed": params.epsilon, "found, at least": least, "seed": seed}


def _canaries(count: int, seed: int) -> Tensor:
    """Random patterns of low frequencies, as strong as pixels allow, uint8 (N, 1, SIDE, SIDE)."""
    basis = cosine_basis(1, SIDE, 12)
    numbers = torch.randn(count, len(basis), generator=torch.Generator().manual_seed(seed))
    patterns = (numbers @ basis).view(-1, 1, SIDE, SIDE)
    return (patterns / patterns.flatten(1).std(dim=1)[:, None, None, None] * 100 + 127.5).clamp(0, 255).to(torch.uint8)


def _scores_of_moments(
    params: PrivateGaussianParams, real: TrustedImages, images: Tensor, labels: Tensor, seed: int, weaken: float
) -> Tensor:
    """How much of what each canary would have added is in the released sums: the likelihood ratio."""
    noise = accountant.least_noise(params.epsilon, params.delta).noise * weaken
    random = torch.Generator().manual_seed(seed + 1)
    known = release(real, CLASSES, params, noise, random)
    vectors = (to_network_range(images).flatten(1) @ known.basis.T).double() - known.centre
    return _found_in(known, cut(vectors, known.length) * known.length, labels)


def _found_in(known: Released, vectors: Tensor, labels: Tensor) -> Tensor:
    products = known.products[labels] if len(known.products) > 1 else known.products.expand(len(labels), -1, -1)
    of_sums = (known.sums[labels] * vectors).sum(dim=1) / known.sd_sums**2
    of_products = torch.einsum("nd,nde,ne->n", vectors, products, vectors) / known.sd_products**2 / 2
    return of_sums + of_products


def _scores_of_features(
    params: PrivateFeaturesParams, real: TrustedImages, images: Tensor, labels: Tensor, seed: int, weaken: float
) -> Tensor:
    noise = accountant.least_noise(params.epsilon, params.delta).noise * weaken
    means = private_features.released(real, CLASSES, params, noise, torch.Generator().manual_seed(seed + 1))
    features = private_features.RandomFeatures(params.features, SIDE * SIDE, params.bandwidth)
    return (features(to_network_range(images)) * means[labels]).sum(dim=1)


def _scores_of_gan(
    params: PrivateGanParams, real: TrustedImages, there: NDArray[np.bool_], seed: int, weaken: float
) -> Tensor:
    """By every step's noised gradient. A canary is the worst image that could be: its gradient is as long as clipping
    leaves it, and has one number of its own alone."""
    none = real.images[:0], real.labels[:0]
    data = ReplicateData(real.images, real.labels, real.images[:0], *none, classes=CLASSES, flip_ok=False)
    short = params.model_copy(update={"lot": len(real.images) // 4, "steps": STEPS})
    plan, begin = private_gan.Kind.study(data, real, short, seed)
    kind = private_gan.Kind({**plan, "noise": plan["noise"] * weaken})
    kind.initialise(begin)
    random, present = torch.Generator().manual_seed(seed), torch.from_numpy(there)
    feed = PoissonFeed(real=real, lot=short.lot, classes=CLASSES, latent_dim=short.latent_dim, random=random)
    sizes, scores = [each.numel() for each in kind.discriminator.parameters()], torch.zeros(len(there))
    for _ in range(STEPS * short.discriminator_steps):
        drawn = present & (torch.rand(len(there), generator=random) < short.lot / len(real.images))
        sums = torch.zeros(sum(sizes))
        sums[: len(there)][drawn] = short.gradient_clip
        released = kind.noised(sums.split(sizes), feed)
        scores += torch.cat([each.flatten() for each in released])[: len(there)]
    return scores
