"""Convolutions that refine draws from the class Gaussians, judged through the eyes of a pretrained network.

The generator is that of `refined_gaussian`. Its judge looks through a network that others trained on millions of
photographs, as in Projected GAN: it knows edges and textures before it has seen a single image, so that few images
teach it. Its rival is the arm that has such a network too: both borrow.
"""

from collections.abc import Iterator

from torch import nn

from stages.generators.interface import Plan
from stages.generators.moments import Moments
from stages.generators.params import ConditionalParams, ProjectedParams
from stages.generators.projected_judges import ProjectedJudges
from stages.generators.refining import RefiningGenerator
from stages.imaging.backbones import open_backbone
from stages.labelling.data import ReplicateData, TrustedImages


class Kind(RefiningGenerator):
    """A GAN that starts from the class Gaussians and learns through a pretrained network."""

    discriminator: ProjectedJudges

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: ConditionalParams, seed: int
    ) -> tuple[Plan, Moments | None]:
        assert isinstance(params, ProjectedParams)
        plan, start = super().study(data, real, params, seed)
        return {**plan, "backbone": params.backbone.model_dump()}, start

    def build_discriminator(self) -> nn.Module:
        return ProjectedJudges(self.config, open_backbone(**self.plan["backbone"]))

    def compiled(self) -> Iterator[nn.Module]:
        yield self.network
        yield self.discriminator.eyes
