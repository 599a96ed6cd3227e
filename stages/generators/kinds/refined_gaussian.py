"""Convolutions that refine draws from the class Gaussians, judged in patches and as a whole.

Two judges share their first layers: one sees patches (Isola et al., "Image-to-Image Translation with Conditional
Adversarial Networks", 2017, section 3.2.2), the other the whole image; both compare image and class by projection
(Miyato and Koyama 2018, eq. 5).
"""

from stages.generators.refining import RefiningGenerator
from stages.generators.two_judges import TwoJudges


class Kind(RefiningGenerator):
    """A GAN that starts from the class Gaussians and refines what they draw."""

    Discriminator = TwoJudges
