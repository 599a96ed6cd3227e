"""Alignment: CORAL compares covariances, DANN turns the critic's gradient round, both learn beside the labels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from stages.downstream.alignment import Term, train_aligned
from stages.downstream.augment import build_policy
from stages.downstream.coral import CovarianceTerm, covariance_distance
from stages.downstream.dann import DomainCritic, reverse_gradient
from stages.downstream.domains import Domains
from stages.downstream.params import TrainDownstreamParams
from stages.downstream.training import Trained, derive_seeds
from tests.downstream.toy import examples


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def test_coral_is_zero_for_equal_covariances_and_the_papers_otherwise() -> None:
    features = drawn(40, 6)
    assert float(covariance_distance(features, features.flip(0) + 3)) == pytest.approx(0, abs=1e-9)
    other = drawn(30, 6, seed=1) * 2
    apart = torch.from_numpy(np.cov(features.T) - np.cov(other.T))
    assert float(covariance_distance(features, other)) == pytest.approx(float(apart.square().sum() / 24), rel=1e-5)
    assert float(CovarianceTerm(0.5)(features, other, 0.3)) == pytest.approx(float(apart.square().sum() / 48), rel=1e-5)


def test_a_reversed_gradient_is_turned_round_and_scaled() -> None:
    features = drawn(4, 3).requires_grad_()
    turned = reverse_gradient(features, 0.25)
    assert torch.equal(turned, features)
    (gradient,) = torch.autograd.grad((turned * 2).sum(), features)
    assert torch.equal(gradient, torch.full((4, 3), -0.5))


def test_the_critic_learns_the_domains_and_features_unlearn_them() -> None:
    critic, source, target = DomainCritic(1.0, 3, seed=0), drawn(20, 3).requires_grad_(), drawn(20, 3, seed=1) + 1
    loss = critic(source, target, 1.0)
    weights = list(critic.parameters())
    of_source, *gradients = torch.autograd.grad(loss, [source, *weights])
    with torch.no_grad():
        moved = critic(source - 0.1 * of_source, target, 1.0)  # as the classifier's step would
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.sub_(0.1 * gradient)
        assert moved > loss > critic(source, target, 1.0)


def test_the_warm_up_begins_at_nothing() -> None:
    critic, source = DomainCritic(1.0, 3, seed=0), drawn(20, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(source, drawn(20, 3, seed=1), 0.0), source)
    assert torch.equal(gradient, torch.zeros(20, 3))


def test_a_critics_first_weights_are_its_seeds_and_leave_others_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, again = (DomainCritic(1.0, 3, seed=7).state_dict()["critic.0.weight"] for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.rand(1), expected)


def train(
    params: TrainDownstreamParams, toy: Callable[[int, int], tuple[Tensor, Tensor]], term: Term, pool: Tensor
) -> Trained:
    """On 8 labelled images a batch, 6 of them of the source, and 8 of the pool."""
    given, order = examples(*toy(30, 0)), torch.arange(60 * 8).view(60, 8) % 30
    pool_order = torch.arange(60 * 8).view(60, 8) % len(pool)
    still, settings = build_policy("none", params, flip_ok=False), params.classifier
    return train_aligned(
        given, order, 6, pool, pool_order, still, lambda _: term, settings, derive_seeds(0, 0), domains=Domains(6, pool)
    )


@pytest.mark.parametrize("kind", ["coral", "dann"])
def test_aligned_training_learns_the_toy_problem_on_both_domains(
    params: TrainDownstreamParams, toy: Callable[[int, int], tuple[Tensor, Tensor]], kind: str
) -> None:
    from stages.imaging.networks import predict

    pool, labels = toy(60, 1)
    pool = (pool.float() * 0.6 + 60).to(torch.uint8)
    features = 2 * 4 * params.classifier.width * 4
    term = CovarianceTerm(0.1) if kind == "coral" else DomainCritic(0.1, features, seed=0)
    trained = train(params, toy, term, pool)
    assert (predict(trained.model, pool).argmax(dim=1) == labels).float().mean() > 0.9
    assert {"step", "loss", "alignment"} == set(trained.history[-1])
