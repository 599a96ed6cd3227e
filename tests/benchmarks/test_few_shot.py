"""The benchmark of few-shot classes, in miniature: four digits, one of which has a single label."""

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from benchmarks import few_shot, parameters
from benchmarks.gan_sets import GanSet
from stages.downstream import few_shot as heads
from stages.downstream import fitting
from stages.labelling.data import ReplicateData
from stages.labelling.pool import Guesses, unguessed

TINY = {
    "generate.plan.per_class": 40,
    "filter_memorized.blurred_view": False,
    "train_gan.generators.gan.steps": 2,
    "train_gan.generators.gan.width": 16,
    "train_gan.generators.gan.batch_size": 16,
    "train_downstream.classifier.steps": 30,
    "train_downstream.classifier.width": 4,
}


def digits() -> GanSet:
    """Digits 0 to 3: 20 labels of each and 4 to choose by, but a single one of the 3."""
    images, labels = map(torch.from_numpy, load_digits(n_class=4, return_X_y=True))
    images, rows = (
        (images * 15).to(torch.uint8).view(-1, 1, 8, 8),
        [(labels == label).nonzero()[:, 0] for label in range(4)],
    )

    def some(start: int, stop: int, few: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.cat(
            [each[start : start + (few if label == 3 else stop - start)] for label, each in enumerate(rows)]
        )
        return images[chosen], labels[chosen]

    train, validation, test, calibration = some(0, 20, 1), some(20, 24, 0), some(24, 74, 50), some(74, 120, 46)
    data = ReplicateData(*train, images[:0], *validation, classes=4, flip_ok=False)
    return GanSet(
        name="digits",
        data=data,
        guessed=Guesses(unguessed(data), unguessed(data)),
        calibration_images=calibration[0],
        test_images=test[0],
        test_labels=test[1],
        params=parameters.load(TINY, "few_shot_fashion"),
    )


def test_every_rival_has_a_row_and_its_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "LOOKS", 200)
    monkeypatch.setattr(heads, "DRAWN", 20)
    monkeypatch.setattr(few_shot, "find_spec", lambda _: None)
    gan_set = digits()
    found = few_shot.scores(gan_set, 0)
    rivals = [name for name in gan_set.params.evaluate.augment.rivals if name != "transfer"]
    assert list(found.index) == [few_shot.ARM, *rivals]
    assert (found["all classes"] > 0.4).all()


def test_differences_are_paired_and_their_interval_is_over_the_splits() -> None:
    def split(gan: float, rival: float) -> pd.DataFrame:
        rows = {
            few_shot.ARM: {"all classes": gan, few_shot.FEW: 0.5},
            "rival": {"all classes": rival, few_shot.FEW: 0.5},
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    whole = few_shot.table([split(0.5, 0.4), split(0.9, 0.8), split(0.7, 0.6)])
    assert whole.loc["rival", f"{few_shot.ARM} beyond it"] == "+10.0 (+10.0, +10.0)"
    assert whole.loc["rival", "all classes"] == 60
    wide = few_shot.table([split(0.5, 0.4), split(0.5, 0.5), split(0.5, 0.6)])
    assert wide.loc["rival", f"{few_shot.ARM} beyond it"] == "+0.0 (-24.8, +24.8)"


def test_a_split_makes_three_tenths_of_the_classes_few_shot() -> None:
    names = [f"class {number}" for number in range(10)]
    one, other = (few_shot.regime(names, (1, 0), (20, 5), split) for split in (500, 501))
    labels, validation = one["prepare.labels_per_class"], one["prepare.validation_per_class"]
    assert sorted(labels.values()) == [1, 1, 1, 20]
    assert set(labels) == set(validation) != set(other["prepare.labels_per_class"])
    assert (labels["others"], validation["others"]) == (20, 5)
    assert one == few_shot.regime(names[::-1], (1, 0), (20, 5), 500)
