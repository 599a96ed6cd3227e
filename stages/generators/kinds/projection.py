"""The default kind: one discriminator for all classes that projects its features on the class.

Miyato and Koyama, "cGANs with Projection Discriminator" (2018), eq. 5.
"""

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.projection import ProjectionDiscriminator


class Kind(AdversarialGenerator):
    """A GAN with a projection discriminator."""

    Discriminator = ProjectionDiscriminator
