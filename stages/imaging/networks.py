"""A moving average of a network's weights, for the GAN's generator and for classifiers alike."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

TensorList = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy in evaluation mode whose weights and buffers become a moving average, by `update_parameters(model)`.

    The decay grows to `decay` as (1 + n) / (10 + n) with the number n of updates, as in TensorFlow's
    ExponentialMovingAverage: a constant one near 1 would keep the first weights for thousands of steps.
    """

    def update(average: TensorList, current: TensorList, updates: Tensor | int) -> None:
        n = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, n)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True).eval()
