"""Cut and paste: the region of an image of the wanted class is set into another image, without a network.

Dwibedi et al., "Cut, Paste and Learn" (ICCV 2017). The seam is hidden as in Perez et al., "Poisson Image Editing"
(2003): what is pasted keeps its gradients, and is shifted by the smoothest function that makes its border fit.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from stages.imaging.pixels import rounded

DRAWS = 4  # of each image as the one that is pasted, into another one each time
SWEEPS = 200  # of Jacobi's method: enough for regions of 20 pixels, beyond which the seam is hidden a little less


def pasted(images: Tensor, labels: Tensor, masks: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (M, C, H, W) and their labels int64 (M,): DRAWS versions of each, all images before any again.

    Pasted is what lies in the regions of both images, so that nothing of the other one's is left, or in a random other
    region where neither has one. The label is that of the image that was pasted.

    Args:
        images: uint8 (N, C, H, W), N at least 2.
        labels: int64 (N,), on the CPU.
        masks: bool (N, 1, H, W), empty for images without a region; some are not.
        seed: decides all random numbers.
    """
    generator, count = Generator().manual_seed(seed), len(images)
    steps = torch.randint(1, count, (DRAWS, count), generator=generator)
    targets = ((torch.arange(count) + steps) % count).flatten().to(images.device)
    donors = torch.arange(count, device=images.device).repeat(DRAWS)
    lenders = masks.flatten(1).any(dim=1).nonzero().squeeze(1)
    lent = lenders[torch.randint(len(lenders), (len(donors),), generator=generator).to(images.device)]
    regions = masks[donors] | masks[targets]
    regions = torch.where(regions.flatten(1).any(dim=1).view(-1, 1, 1, 1), regions, masks[lent])
    return blended(images[donors], images[targets], regions), labels.repeat(DRAWS)


def blended(pieces: Tensor, images: Tensor, regions: Tensor) -> Tensor:
    """Images uint8 (N, C, H, W), with the gradients of pieces (N, C, H, W) in regions bool (N, 1, H, W)."""
    apart = images.float() - pieces.float()
    kept = (~regions).float()
    level = (apart * kept).sum(dim=(2, 3), keepdim=True) / kept.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    shift = torch.where(regions, level, apart)
    for _ in range(SWEEPS):
        around = functional.pad(shift, (1, 1, 1, 1), mode="replicate")
        mean = (around[..., :-2, 1:-1] + around[..., 2:, 1:-1] + around[..., 1:-1, :-2] + around[..., 1:-1, 2:]) / 4
        shift = torch.where(regions, mean, apart)
    return torch.where(regions, rounded(pieces.float() + shift), images)
