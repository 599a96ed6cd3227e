"""What only trained classifiers can tell of a replicate: how like real images its synthetic ones are, and how well its
classifiers withstand disturbed images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from stages.comparison.fidelity import Fidelity, fidelity
from stages.comparison.robustness import accuracy_under
from stages.downstream.training import features


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Examination:
    """One replicate. fidelity: by generator, None where there are too few images for it. robustness: arm -> disturbance
    -> accuracy, 0..1."""

    fidelity: Mapping[str, Fidelity | None]
    robustness: Mapping[str, Mapping[str, float]]


def examine(
    networks: Mapping[str, nn.Sequential],
    eye: nn.Sequential,
    test: LabelledImages,
    synthetic: Mapping[str, LabelledImages],
    disturbances: Sequence[str],
    seed: int,
) -> Examination:
    """Holds synthetic images against those of the test set, in the features of `eye`, and disturbs these for networks.

    networks: arm -> its classifier. eye: a classifier that was trained on real images alone, none of the test set.
    synthetic: by generator. Networks and images lie on one device.
    """
    real = features(eye, test.images)
    return Examination(
        fidelity={
            name: fidelity(real, test.labels.cpu(), features(eye, own.images), own.labels.cpu(), seed)
            for name, own in synthetic.items()
        },
        robustness={
            arm: accuracy_under(network, test.images, test.labels, disturbances, seed)
            for arm, network in networks.items()
            if disturbances
        },
    )
