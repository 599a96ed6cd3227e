"""A linear head on what a frozen, pretrained network sees: transfer learning in its simplest form."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.downstream.classifiers import build_classifier
from stages.downstream.few_shot import Tukey
from stages.downstream.params import NetworkKind
from stages.imaging.backbones import build_backbone
from stages.imaging.params import BackboneParams

MOST_ITERATIONS = 500  # of L-BFGS; with a weight decay of .001 and 1,280 features it takes some 100
TOLERANCE = 1e-5  # of the gradient


def build(
    backbone: BackboneParams | None,
    kind: NetworkKind,
    channels: int,
    size: int,
    classes: int,
    width: int,
    is_calibrated: bool = False,
) -> nn.Sequential:
    """An arm's classifier, whose weights are still to be loaded: the backbone with a head, or without one the network
    that `classifiers.build_classifier` builds. is_calibrated: whether the head reads transformed features."""
    if backbone is None:
        network = build_classifier(kind, channels, size, classes, width, seed=0)
    else:
        body = build_backbone(backbone.name, backbone.size)
        network = nn.Sequential(body, nn.Linear(body.features, classes))
    return nn.Sequential(*network[:-1], Tukey(), network[-1]) if is_calibrated else network


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
