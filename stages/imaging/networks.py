"""What all networks share: a moving average of their weights, and asking them about many images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.imaging.pixels import to_network_range

BATCH = 128
TensorList = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy in evaluation mode whose weights and buffers become a moving average, by `update_parameters(model)`.

    The decay grows to `decay` as (1 + n) / (10 + n) with the number n of updates, as in TensorFlow's
    ExponentialMovingAverage: a constant one near 1 would keep the first weights for thousands of steps.
    """

    def update(average: TensorList, current: TensorList, _on_device: Tensor | int) -> None:
        n = int(averaged.n_averaged)  # on the CPU, unlike the copy that is handed in, which waits for a GPU
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, n)

    averaged = AveragedModel(model, multi_avg_fn=update, use_buffers=True).eval()
    return averaged


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a network in evaluation mode makes of each image: (N, ...), on the images' device.

    `network`: of float32 (128, C, H, W) in [-1, 1]. `images`: uint8 (N, C, H, W). All batches have one size, the last
    one is padded: kernels choose their order of summation by the batch's size, so an image's result would otherwise
    depend, in the last digits, on how many were asked for.
    """
    results = []
    for batch in images.split(BATCH):
        padding = batch.new_zeros((BATCH - len(batch), *batch.shape[1:]))
        results.append(network(to_network_range(torch.cat([batch, padding])))[: len(batch)])
    return torch.cat(results)
