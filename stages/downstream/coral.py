"""Deep CORAL: the features of source and target are to have one covariance (Sun & Saenko 2016, arXiv:1607.01719)."""

from torch import Tensor

from stages.downstream.alignment import Term


class CovarianceTerm(Term):
    """`weight` times the distance of the features' covariances: `covariance_distance`."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, source: Tensor, target: Tensor, _progress: float) -> Tensor:
        """See `Term`."""
        return self._weight * covariance_distance(source, target)


def covariance_distance(source: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance () of the covariances of features (S, F) and (M, F), over 4 F.

    The paper's equation 1 divides by 4 F^2, and its weight is set so that this is as large as the classification loss
    in the end. With hundreds of features, over F it is so about as it stands.
    """
    return (source.T.cov() - target.T.cov()).square().sum() / (4 * source.shape[1])
