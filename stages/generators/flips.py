"""Whether a translator that looks at no label swaps classes, as the few labelled images of the target tell.

Its losses cannot tell: threes that look like real eights of the target are real images all the same. So a quick
classifier learns from translated images, whose labels are their sources', and names the labelled target images. Their
labels were no part of what the translator learned from, so they are a fair check, and choose when to stop.
"""

from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.imaging.networks import adapt_batch_norm
from stages.imaging.pixels import to_network_range
from stages.imaging.set_metrics import log_likelihood
from stages.labelling.data import ReplicateData
from stages.labelling.quick_classifier import fit

LEVEL = 0.05  # of each of the tests, one-sided


@dataclass(frozen=True)
class Check:
    """What classifiers get right of the labelled target images, shares 0..1.

    target_hits: of one that learned from translated images; source_hits: of one that learned from the same images as
    they were. flipped: 1 where the translation clearly swaps classes, else 0. above_chance: 1 where `target_hits` is
    clearly above chance, else 0.
    """

    target_hits: float
    source_hits: float
    flipped: float
    above_chance: float


@dataclass(frozen=True)
class Examiner:
    """Compares translators by what their images teach about the labelled target images; `seed` decides what is random.

    data: with all labels, some of them of the target. All classifiers have the target's statistics in their batch norm,
    so that what is compared is what they learned.
    """

    data: ReplicateData
    seed: int

    def taught(self, images: Tensor, labels: Tensor) -> Tensor:
        """Class probabilities (V, K) of the labelled target images by a classifier that learned from these images.

        images: uint8 (N, C, H, W), translated, with the labels (N,) of their sources.
        """
        data, everywhere = self.data, torch.ones(len(labels), device=labels.device)
        classifier = fit(images, labels, everywhere, data.classes, data.flip_ok, self.seed)
        target = data.images[data.of_target]
        everything = torch.cat([target, data.unlabelled])
        adapt_batch_norm(classifier, everything, lambda images: classifier.shrink(to_network_range(images)))
        return classifier.probabilities(target)

    @cached_property
    def untranslated(self) -> Tensor:
        """The same (V, K) by a classifier that learned from the images of the source as they are."""
        source = ~self.data.of_target
        return self.taught(self.data.images[source], self.data.labels[source])

    def check(self, probabilities: Tensor) -> dict[str, float]:
        """The fields of `Check` by name, from what the classifier says that learned from translated images, (V, K).

        Beside them, what chooses among translators: `target_likelihood`, the mean log-likelihood of the labels, and
        `teaches_more`, 1 where it is clearly above that of the untranslated images (paired t-test), else 0.
        """
        from scipy.stats import ttest_1samp  # costs every training a second, and few are examined

        after, before = (each.argmax(dim=1).cpu() for each in (probabilities, self.untranslated))
        own, start = (log_likelihood(each, self._labels) for each in (probabilities, self.untranslated))
        gain = (own - start).cpu().numpy()
        teaches_more = float(len(gain) > 1 and ttest_1samp(gain, 0, alternative="greater").pvalue < LEVEL)
        checked = judge(self._labels.cpu(), after, before, self.data.classes)
        return {"target_likelihood": float(own.mean()), "teaches_more": teaches_more, **asdict(checked)}

    @property
    def _labels(self) -> Tensor:
        return self.data.labels[self.data.of_target]


def judge(labels: Tensor, translated: Tensor, untranslated: Tensor, classes: int) -> Check:
    """The verdict from labels (N,), and what two classifiers take these images for, (N,) each."""
    hits, before = translated == labels, untranslated == labels
    chance = 1 / classes
    below_chance = _clearly(int((~hits).sum()), len(labels), 1 - chance)
    lost, won = int((before & ~hits).sum()), int((hits & ~before).sum())
    return Check(
        target_hits=float(hits.float().mean()),
        source_hits=float(before.float().mean()),
        flipped=float(below_chance or _clearly(lost, lost + won, 0.5) or _swaps_a_pair(labels, translated, classes)),
        above_chance=float(_clearly(int(hits.sum()), len(labels), chance)),
    )


def _swaps_a_pair(labels: Tensor, guesses: Tensor, classes: int) -> bool:
    """Whether images of some two classes are clearly taken for the other of both more often than for their own."""
    taken = torch.zeros(classes, classes).index_put((labels, guesses), torch.tensor(1.0), accumulate=True)
    swapped, right = taken + taken.T, taken.diagonal() + taken.diagonal()[:, None]
    pairs = classes * (classes - 1) / 2  # all are looked at, so each by a stricter test (Bonferroni)
    return any(
        _clearly(int(swapped[one, other]), int(swapped[one, other] + right[one, other]), 0.5, LEVEL / pairs)
        for one in range(classes)
        for other in range(one)
    )


def _clearly(count: int, of: int, chance: float, level: float = LEVEL) -> bool:
    """Whether so many of so many are clearly more than chance alone makes."""
    from scipy.stats import binomtest

    return of > 0 and chance < 1 and binomtest(count, of, chance, alternative="greater").pvalue < level
