"""Class Gaussians in low frequencies, whose means and covariances are released under differential privacy at once."""

from dataclasses import asdict

from stages.generators.accountant import least_noise
from stages.generators.dense import GaussianGenerator
from stages.generators.interface import Plan
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.params import PrivateGaussianParams
from stages.generators.private import PROMISE, PrivateGenerator, check, promise
from stages.generators.private_moments import gaussians, release
from stages.generators.randomness import random_of
from stages.labelling.data import ReplicateData, TrustedImages


class Kind(PrivateGenerator):
    """Draws from what was released, and never sees the images again."""

    network: GaussianGenerator

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        config = NetworkConfig(**plan["networks"])
        self.latent_dim = config.latent_dim
        self.network = GaussianGenerator(config)

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: PrivateGaussianParams, seed: int
    ) -> tuple[Plan, Moments]:
        check(params, len(real.images))
        once = least_noise(params.epsilon, params.delta)
        released = release(real, data.classes, params, once.noise, random_of(params, seed))
        moments = gaussians(released, params.rank)
        config = NetworkConfig.of("dense", data.classes, data.images, params.rank, moments=moments)
        return {"networks": asdict(config), PROMISE: promise(params, [once], len(real.images))}, moments

    def initialise(self, start: Moments) -> None:
        self.network.start_from(start)
