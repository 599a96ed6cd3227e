"""A control without any network: the Gaussian of each class in principal components, from which dense GANs start.

What a GAN adds is what its arms gain over the same arms with these images.
"""

from dataclasses import asdict

from stages.generators.dense import GaussianGenerator
from stages.generators.interface import Generator, Plan
from stages.generators.moments import Moments, measure
from stages.generators.network_config import NetworkConfig
from stages.generators.params import GaussianParams
from stages.labelling.data import ReplicateData, TrustedImages


class Kind(Generator):
    """Class Gaussians, ready as soon as they have been measured."""

    network: GaussianGenerator

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        config = NetworkConfig(**plan)
        self.latent_dim = config.latent_dim
        self.network = GaussianGenerator(config)

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: GaussianParams, _seed: int
    ) -> tuple[Plan, Moments]:
        moments = measure(real, data.classes, params.rank)
        return asdict(NetworkConfig.of("dense", data.classes, data.images, params.rank, moments=moments)), moments

    def initialise(self, start: Moments) -> None:
        self.network.start_from(start)
