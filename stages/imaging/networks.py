"""What all networks share: moving averages of weights, batch norm's statistics, and asking about many images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from stages.imaging.pixels import to_network_range

BATCH = 128
STATISTICS = 256  # images whose statistics batch norm takes together
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
def adapt_batch_norm(network: nn.Module, images: Tensor, view: Callable[[Tensor], Tensor] = to_network_range) -> None:
    """Gives a network's batch norm the mean and variance that these images have under its weights.

    AdaBN (Li et al. 2016, arXiv:1603.04779). images: uint8 (N, C, H, W); of a single one there is no variance, so that
    nothing changes. view: what the network reads of them.
    """
    if len(images) > 1:
        count = -(-len(images) // STATISTICS)
        # every count-th image, so that each part is like all of them, however they are sorted
        update_bn((view(images[start::count]) for start in range(count)), network)


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


def predict(classifier: nn.Module, images: Tensor) -> Tensor:
    """Class probabilities, float32 (N, K) on the CPU, of uint8 images (N, C, H, W)."""
    classifier.eval()
    return in_batches(lambda inputs: classifier(inputs).softmax(dim=1), images).cpu()
