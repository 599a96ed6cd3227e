"""What is noted of each generated image beside its pixels, for those who want to train on the best alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.generators import moments
from stages.generators.network_config import NetworkConfig
from stages.generators.registry import FAMILIES
from stages.generators.sampling import BATCH, Samples, draw_latents
from stages.imaging.pixels import to_network_range


@dataclass(frozen=True)
class Scores:
    """realness: float32 (N,), the discriminator's logit, high for what seems real (rejection as in Azadi et al. 2019,
    "Discriminator Rejection Sampling"). latent_norm: float32 (N,), length of the latent before truncation: images of
    short ones are typical, of long ones rare (the truncation trick of Brock et al. 2019)."""

    realness: NDArray[np.float32]
    latent_norm: NDArray[np.float32]


def load_discriminator(state: Mapping[str, Tensor], config: NetworkConfig) -> nn.Module:
    """Rebuild a discriminator from its configuration and its tensors.

    Raises RuntimeError when the tensors are not those of such a discriminator.
    """
    _, discriminator = FAMILIES[config.family].build(config, moments.plain(config))
    discriminator.load_state_dict(dict(state))
    return discriminator.eval()


@torch.no_grad()
def score(discriminator: nn.Module, config: NetworkConfig, samples: Samples) -> Scores:
    """Scores of samples, each a function of the sample alone: batches have one size, the last one is padded."""
    judge, logits = FAMILIES[config.family].judge, []
    for start in range(0, len(samples.images), BATCH):
        images, labels = (torch.from_numpy(each[start : start + BATCH]) for each in (samples.images, samples.labels))
        padding = BATCH - len(images)
        images = torch.cat([images, images.new_zeros(padding, *images.shape[1:])])
        labels = torch.cat([labels, labels.new_zeros(padding)])
        logits.append(judge(discriminator, to_network_range(images), labels)[: BATCH - padding])
    norms = draw_latents(samples.seeds, config.latent_dim).norm(dim=1)
    return Scores(torch.cat(logits).numpy(), norms.numpy())
