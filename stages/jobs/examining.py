"""Looks at one replicate's images and test set with the classifiers that its arms trained."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stages.plumbing import results
from stages.plumbing.dataset import TEST, Dataset
from stages.plumbing.images import ImageSet
from stages.plumbing.params import Params

if TYPE_CHECKING:
    from stages.comparison.examination import Examination


@dataclass(frozen=True)
class Job:
    """One replicate to examine."""

    replicate: int
    params: Params


def examine_replicate(job: Job) -> "Examination":
    """In a worker process: looks at the replicate's images and test set with its classifiers."""
    from torch import from_numpy, nn

    from stages.comparison.examination import LabelledImages, examine
    from stages.downstream.heads import build
    from stages.imaging import devices
    from stages.imaging.backbones import open_backbone

    dataset, params, classifier = Dataset.open(), job.params.evaluate, job.params.train_downstream.classifier
    channels, size, _ = dataset.shape
    device, given = devices.choose(params.device, "evaluate"), params.backbone

    def network(arm: str) -> nn.Sequential:
        own, classes = job.params.train_downstream.arms[arm], len(dataset.classes)
        new = build(own.backbone, classifier.kind, channels, size, classes, classifier.width, own.is_calibrated)
        return results.load_weights(new, arm, job.replicate).to(device)

    def on_device(own: ImageSet) -> LabelledImages:
        return LabelledImages(from_numpy(own.pixels).to(device), from_numpy(own.labels).to(device))

    test = dataset.role(0, TEST)
    truth = dataset.test_labels().loc[test.ids.tolist()].to_numpy(copy=True)
    named = (*params.arms, *params.rivals) if params.robustness else ()
    return examine(
        networks={arm: network(arm) for arm in named},
        eye=network(params.reference),
        test=on_device(replace(test, labels=truth)),
        # of another domain than the test set, where that was not seen: nothing could be said of their likeness
        synthetic={
            name: on_device(results.kept(name, job.replicate))
            for name in job.params.train_gan.generators
            if not job.params.prepare.shift.unseen
        },
        disturbances=params.robustness,
        backbone=None if given is None else open_backbone(given.name, given.size, given.weights).to(device),
        seed=params.seed,
    )
