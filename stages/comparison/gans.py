"""What is told about the GANs behind a synthetic set, out of what each replicate's training found."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

Quality = Mapping[str, Mapping[str, float]]  # replicate -> measure -> value


@dataclass(frozen=True)
class Spread:
    """A measure's mean, lowest and highest value over the replicates."""

    mean: float
    low: float
    high: float


def spreads(quality: Quality) -> dict[str, Spread]:
    """Measure -> its spread over those replicates that have it; empty where no GAN was trained.

    quality: `replicates` of metrics/train_gan.json.
    """
    names = dict.fromkeys(name for measures in quality.values() for name in measures)
    values = {name: [measures[name] for measures in quality.values() if name in measures] for name in names}
    return {name: Spread(fmean(each), min(each), max(each)) for name, each in values.items()}
