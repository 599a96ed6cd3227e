"""Another image of a real image's class (DAGAN), by networks of two sorts.

Antoniou, Storkey and Edwards, "Data Augmentation Generative Adversarial Networks" (2017): an encoder reads a source
image, noise decides what becomes of it, and the discriminator judges pairs, a source beside another real image of its
class or beside a generated one, so that copying the source is no way to win.

Dense networks know the classes, and refine a draw of the class's Gaussian. Convolutional ones know none: a U-Net
changes the source, whatever it is of. They learn from all classes that have two images or more, other classes too
(`prepare.other_classes`), and draw for classes that they never saw.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.adversarial import AdversarialGenerator, ConditionalDiscriminator
from stages.generators.convolutional import ConvolutionalTrunk
from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.interface import Draws, Examples, Plan
from stages.generators.network_config import NetworkConfig
from stages.generators.params import ImageConditionedParams
from stages.generators.translators import build_translator
from stages.labelling.data import ReplicateData, TrustedImages
from stages.plumbing.errors import UserError

LIKENESS = 0.5  # correlation of source and image, in the components, before the network has learned anything


class SourceGenerator(DenseGenerator):
    """Starts from a draw of the class's Gaussian that is correlated with the source, and refines it.

    An encoder, the principal components, reads the source for both.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config, inputs=config.components)

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from sources get them
        source, mean = self.pixels.encode(draws.sources.flatten(1)), self.means[draws.labels]
        # Both terms have the class's mean and covariance, and so has their mixture.
        apart = (self.components(draws) - mean) * (1 - LIKENESS**2) ** 0.5
        start = mean + LIKENESS * (source - mean) + apart
        scaled = (source - mean) / self.pixels.deviations.clamp_min(torch.finfo(source.dtype).tiny)
        return self.refined(start, torch.cat([draws.latents, scaled], dim=1), draws.labels)


class PairDiscriminator(ConditionalDiscriminator):
    """Judges an image beside its source: logit = psi(phi(x), phi(s)) + trust * <embed(y), phi(x)>."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = DenseTrunk(config)
        self.psi = config.bound(nn.Linear(2 * config.width, 1))
        self.embed = config.bound(nn.Embedding(config.classes, config.width))

    def features(self, images: Tensor, sources: Tensor | None) -> Tensor:
        """Features (N, 2 * width) of images and sources."""
        assert sources is not None  # kinds that start from sources get them
        return torch.cat([self.trunk(images), self.trunk(sources)], dim=1)

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, 2 * width), labels (N,) and trust (N,)."""
        own = features[:, : self.trunk.features]
        return self.psi(features).squeeze(1) + trust * (self.embed(labels) * own).sum(dim=1)


class UnseenPairDiscriminator(ConditionalDiscriminator):
    """Judges an image by itself and beside its source, of whatever class:

    logit = psi(phi(x)) + trust * chi(phi(x), phi(s), |phi(x) - phi(s)|), where chi has one hidden layer.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = ConvolutionalTrunk(config)
        features = self.trunk.features
        self.psi = config.bound(nn.Linear(features, 1))
        self.pair = config.bound(nn.Linear(3 * features, features))
        self.chi = config.bound(nn.Linear(features, 1))

    def features(self, images: Tensor, sources: Tensor | None) -> Tensor:
        """Features (N, 2 F) of images and sources."""
        assert sources is not None  # kinds that start from sources get them
        return torch.cat([self.trunk(images), self.trunk(sources)], dim=1)

    def logits(self, features: Tensor, _labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, 2 F) and trust (N,) that source and image are of one class."""
        own, beside = features.chunk(2, dim=1)
        hidden = functional.leaky_relu(self.pair(torch.cat([own, beside, (own - beside).abs()], dim=1)), 0.2)
        return self.psi(own).squeeze(1) + trust * self.chi(hidden).squeeze(1)


class Kind(AdversarialGenerator):
    """A GAN that starts from real images."""

    starts_from = "class"
    Discriminator = PairDiscriminator

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if self.config.layers == "convolutional":
            self.latent_dim = self.config.latent_dim + self.config.size**2  # one number for each pixel's noise

    def build(self) -> tuple[nn.Module, nn.Module]:
        config = self.config
        if config.layers == "dense":
            return SourceGenerator(config), PairDiscriminator(config)
        widest = max(config.width // 2, 1)  # its smaller maps have twice as many channels
        network = build_translator("global", config.channels, config.size, config.latent_dim, widest)
        return network, UnseenPairDiscriminator(config)

    @classmethod
    def examples(cls, data: ReplicateData, given: Examples, params: ImageConditionedParams) -> Examples:
        """Convolutional networks learn from other classes too, and from no image that is alone in its class.

        Raises:
            UserError: every image is.
        """
        if params.layers == "dense":
            return given
        first = slice(given.labelled)
        labelled = _joined(given.real[first], _other_classes(data))
        everything = _joined(labelled, given.real[given.labelled :])
        images = everything.labels.bincount()
        paired = images[everything.labels] > 1
        if not paired.any():
            raise UserError(
                "kind: image_conditioned learns from two images of one class, but every class has one image: give it "
                "classes with more (prepare.other_classes, prepare.few_shot), or take layers: dense"
            )
        real = TrustedImages(*(each[paired] for each in vars(everything).values()))
        return Examples(real, int(paired[: len(labelled.labels)].sum()))


def _other_classes(data: ReplicateData) -> TrustedImages:
    return TrustedImages(data.other_images, data.other_labels, torch.ones_like(data.other_labels, dtype=torch.float32))


def _joined(first: TrustedImages, then: TrustedImages) -> TrustedImages:
    if not len(then.labels):
        return first
    pairs = zip(vars(first).values(), vars(then).values(), strict=True)
    return TrustedImages(*(torch.cat(pair) for pair in pairs))
