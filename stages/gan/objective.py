"""What the two players minimise: the hinge form of the adversarial loss.

Lim and Ye, "Geometric GAN" (2017), eq. 15; Miyato et al., "Spectral Normalization for Generative Adversarial
Networks" (2018), eqs. 16 and 17.
"""

import torch
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of max(0, 1 - D(real)) plus mean of max(0, 1 + D(fake)); logits of shape (N,) and (M,), any range."""
    return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Mean of -D(fake); logits of shape (N,), any range."""
    return -fake.mean()
