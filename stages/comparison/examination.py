"""What only trained classifiers can tell of a replicate: how like real images its synthetic ones are, and how well its
classifiers withstand disturbed images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from stages.comparison.fidelity import Fidelity, fidelity
from stages.comparison.robustness import accuracy_under
from stages.downstream.training import features
from stages.imaging.backbones import Backbone
from stages.imaging.networks import in_batches


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Examination:
    """One replicate. fidelity: by generator, None where there are too few images for it; pretrained: the same in the
    features of a pretrained network, empty without one. robustness: arm -> disturbance -> accuracy, 0..1."""

    fidelity: Mapping[str, Fidelity | None]
    robustness: Mapping[str, Mapping[str, float]]
    pretrained: Mapping[str, Fidelity | None] = field(default_factory=dict)


def examine(
    networks: Mapping[str, nn.Sequential],
    eye: nn.Sequential,
    test: LabelledImages,
    synthetic: Mapping[str, LabelledImages],
    disturbances: Sequence[str],
    seed: int,
    backbone: Backbone | None = None,
) -> Examination:
    """Holds synthetic images against those of the test set, in the features of `eye`, and disturbs these for networks.

    networks: arm -> its classifier. eye: a classifier that was trained on real images alone, none of the test set.
    synthetic: by generator. backbone: a pretrained network, to hold them against each other in its features too.
    Networks and images lie on one device.
    """
    return Examination(
        fidelity=_fidelities(partial(features, eye), test, synthetic, seed),
        pretrained=_fidelities(partial(in_batches, backbone), test, synthetic, seed) if backbone else {},
        robustness={
            arm: accuracy_under(network, test.images, test.labels, disturbances, seed)
            for arm, network in networks.items()
            if disturbances
        },
    )


def _fidelities(
    seen: Callable[[Tensor], Tensor], test: LabelledImages, synthetic: Mapping[str, LabelledImages], seed: int
) -> dict[str, Fidelity | None]:
    """By generator, in the features that `seen` has of images."""
    real = seen(test.images).cpu()
    return {
        name: fidelity(real, test.labels.cpu(), seen(own.images).cpu(), own.labels.cpu(), seed)
        for name, own in synthetic.items()
    }
