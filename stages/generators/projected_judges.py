"""A discriminator that sees images through a network which others trained, and which stays as it is.

Projected GAN (Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021, section 3): what four stages of the network
see is mixed at random, so that no part of it is easily ignored; small judges, one for each scale, learn on that.
"""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.adversarial import ConditionalDiscriminator
from stages.generators.network_config import NetworkConfig
from stages.generators.patch_head import PatchHead
from stages.imaging.backbones import Backbone

SCALES = 4  # the network's last stages
MIXING_SEED = 0
JUDGED_SIDE = 4  # places a side, at most, that a judge gives a logit to


class Eyes(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to maps of `SCALES` sizes, the largest first, by weights that nothing changes.

    Each stage's channels are mixed (a 1 x 1 convolution), then each map is given the next coarser one (by a 3 x 3
    convolution, enlarged): both drawn at random, once, from the same seed for all. width: channels of the largest map;
    each coarser one has twice as many.
    """

    def __init__(self, backbone: Backbone, channels: int, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        with torch.no_grad():
            stages = backbone.maps(torch.zeros(1, channels, backbone.size, backbone.size))[-SCALES:]
        self.shapes = [(width * 2**scale, *stage.shape[2:]) for scale, stage in enumerate(stages)]
        widths = [each for each, _, _ in self.shapes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(MIXING_SEED)
            pairs = zip(stages, widths, strict=True)
            across = [nn.Conv2d(stage.shape[1], own, 1, bias=False) for stage, own in pairs]
            down = [nn.Conv2d(coarse, fine, 3, padding=1, bias=False) for fine, coarse in pairwise(widths)]
            for layer in [*across, *down]:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        self.across_channels, self.to_finer = nn.ModuleList(across), nn.ModuleList(down)
        self.to(memory_format=torch.channels_last).requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        stages = self.backbone.maps(images)[-SCALES:]
        mixed = [mix(stage) for mix, stage in zip(self.across_channels, stages, strict=True)]
        for finer in reversed(range(len(mixed) - 1)):
            coarse = self.to_finer[finer](mixed[finer + 1])
            mixed[finer] = mixed[finer] + functional.interpolate(coarse, mixed[finer].shape[-2:], mode="bilinear")
        return mixed


class ProjectedJudges(ConditionalDiscriminator):
    """A row of logits for each image: of every place that a judge sees, scale by scale."""

    def __init__(self, config: NetworkConfig, backbone: Backbone) -> None:
        super().__init__()
        eyes = Eyes(backbone, config.channels, 2 * config.width)
        # In a tuple, where PyTorch looks for no parts: the eyes do not learn, and no file is to hold them.
        self._eyes = (eyes,)
        self.shapes = eyes.shapes
        self.judges = nn.ModuleList(_Judge(features, side, config) for features, side, _ in self.shapes)

    @property
    def eyes(self) -> Eyes:
        """What images are seen through."""
        return self._eyes[0]

    def features(self, images: Tensor, _sources: Tensor | None = None) -> Tensor:
        """All numbers of the maps that the eyes see, (N, numbers)."""
        return torch.cat([maps.flatten(1) for maps in self.eyes.to(images.device)(images)], dim=1)

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N, places of all scales) from features (N, numbers), labels (N,) and trust (N,)."""
        numbers = features.split([prod(shape) for shape in self.shapes], dim=1)
        every = zip(self.judges, numbers, self.shapes, strict=True)
        return torch.cat([judge(own.unflatten(1, shape), labels, trust) for judge, own, shape in every], dim=1)

    def together(self, values: Tensor) -> Tensor:
        """The sum over the scales of the mean over a scale's places."""
        scales = values.split([judge.places for judge in self.judges], dim=1)
        return torch.stack([scale.mean(dim=1) for scale in scales]).sum(dim=0)


class _Judge(nn.Module):
    """Halves maps until they have `JUDGED_SIDE` places a side at most, and judges these one by one."""

    def __init__(self, features: int, side: int, config: NetworkConfig) -> None:
        super().__init__()
        layers = list[nn.Module]()
        while side > JUDGED_SIDE:
            layers += [config.bound(nn.Conv2d(features, features, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            side //= 2
        layers += [config.bound(nn.Conv2d(features, features, 3, padding=1)), nn.LeakyReLU(0.2)]
        self.layers, self.places = nn.Sequential(*layers), side**2
        self.head = PatchHead(features, config.classes, config.bound)

    def forward(self, maps: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(maps), labels, trust)
        return logits
