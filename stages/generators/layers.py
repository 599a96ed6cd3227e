"""Parts that networks of several kinds have: batch norm conditioned on the class, and the limits of an image."""

from torch import Tensor, lerp, nn, ones, zeros
from torch.nn import functional

SLOPE = 0.1  # of what lies beyond [-1, 1], so that the gradient of a black or white pixel never stops


def limited(images: Tensor) -> Tensor:
    """Images whose values beyond [-1, 1] are nearly cut off: a background may be plain black without being aimed at."""
    return lerp(functional.hardtanh(images), images, SLOPE)


class ConditionalBatchNorm(nn.Module):
    """Batch norm over features (N, F) or maps (N, F, H, W) with a gain and a bias of its own for each class.

    De Vries et al., "Modulating early visual processing by language", 2017. The statistics are shared by the classes.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.gain = nn.Embedding.from_pretrained(ones(classes, features), freeze=False)
        self.bias = nn.Embedding.from_pretrained(zeros(classes, features), freeze=False)
        self.register_buffer("running_mean", zeros(features))
        self.register_buffer("running_var", ones(features))

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        normal = functional.batch_norm(hidden, self.running_mean, self.running_var, training=self.training)
        places = (1,) * (hidden.ndim - 2)
        gain, bias = (table(labels).unflatten(1, (-1, *places)) for table in (self.gain, self.bias))
        return bias.addcmul(normal, gain)
