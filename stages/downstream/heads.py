"""A linear head on what a frozen, pretrained network sees: transfer learning in its simplest form."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.downstream.classifiers import build_classifier
from stages.downstream.many_shot import body_of
from stages.downstream.params import BackboneParams, NetworkKind
from stages.imaging.backbones import build_backbone

MOST_ITERATIONS = 500  # of L-BFGS; with a weight decay of .001 and 1,280 features it takes some 100
TOLERANCE = 1e-5  # of the gradient


def build(
    backbone: BackboneParams | str | None, kind: NetworkKind, channels: int, size: int, classes: int, width: int
) -> nn.Sequential:
    """An arm's classifier, whose weights are still to be loaded: the backbone with a head, or without one the network
    that `classifiers.build_classifier` builds. many_shot: the backbone is that network too, but for its last layer."""
    if not isinstance(backbone, BackboneParams):
        own = build_classifier(kind, channels, size, classes, width, seed=0)
        return own if backbone is None else nn.Sequential(body_of(own), own[-1])
    body = build_backbone(backbone.name, backbone.size)
    return nn.Sequential(body, nn.Linear(body.features, classes))


def fit_head(features: Tensor, targets: Tensor, weight_decay: float) -> tuple[nn.Linear, float, int]:
    """The linear head with the least loss: multinomial logistic regression on standardised features.

    The mean cross-entropy, plus `weight_decay` / 2 times the squared weights on standardised features. By torch's
    L-BFGS, for scikit-learn's takes one class for an image and no probabilities.

    Args:
        features: float32 (N, F).
        targets: float32 (N, K), those of `training.targets_of`.
        weight_decay: above 0, so that the least is where it is for one head alone.

    Returns:
        The head, which reads features as they are; the loss; and how many iterations that took.
    """
    deviation, centre = torch.std_mean(features, dim=0)
    deviation = deviation.where(deviation > 0, torch.ones_like(deviation))
    inputs = (features - centre) / deviation
    head = nn.Linear(features.shape[1], targets.shape[1], device=features.device)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    solver = torch.optim.LBFGS(
        head.parameters(),
        max_iter=MOST_ITERATIONS,
        max_eval=2 * MOST_ITERATIONS,
        tolerance_grad=TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        penalised = functional.cross_entropy(head(inputs), targets) + weight_decay / 2 * head.weight.square().sum()
        penalised.backward()
        return penalised

    solver.step(loss)
    with torch.no_grad():
        reached = float(functional.cross_entropy(head(inputs), targets))
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ centre)
    return head.requires_grad_(False), reached, solver.state[head.weight]["n_iter"]


def nearest_mean(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """The linear head whose likeliest class is the one with the nearest mean.

    It is Bayes' rule for Gaussians of one variance, the same in all directions and for all classes, which are equally
    likely: p(class) ~ exp(-|f - mean|^2 / (2 variance)). Where features do not vary within classes the variance is 1.

    Args:
        features: float32 (N, F).
        labels: int64 (N,), every one of 0..classes-1 among them.
        classes: how many there are.
    """
    means = torch.stack([features[labels == label].mean(dim=0) for label in range(classes)])
    variance = float((features - means[labels]).square().mean()) or 1.0
    head = nn.Linear(features.shape[1], classes, device=features.device).requires_grad_(False)
    head.weight.copy_(means / variance)
    head.bias.copy_(-means.square().sum(dim=1) / (2 * variance))
    return head
