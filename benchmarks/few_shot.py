"""What DAGAN's images are worth to classes with one or five labels, beside every rival, on splits that chose nothing.

A split draws the few-shot classes: of clothes and red cells a third of the classes, beside the others with many labels;
of Omniglot ten of the classes that the preset tells apart, and all others are learned from and never tested. Every arm
has one setting, and the same labels: a few-shot class has one or five in all. All classes are told apart together.
Scores are balanced accuracies, and the mean over the few-shot classes alone. Generated images are not filtered: the
filter could only take some away. `python -m benchmarks.few_shot`
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from sklearn.metrics import recall_score
from torch import Tensor

from benchmarks.gan_contest import Nowhere, parser, sets_of
from benchmarks.gan_sets import GanSet
from stages.downstream.arm_data import ArmData, SyntheticData
from stages.downstream.arms import train_arm
from stages.downstream.params import ArmParams
from stages.generators import training
from stages.generators.params import GeneratorParams
from stages.generators.quality import draw_classes
from stages.imaging.backbones import IN_PACKAGE, PACKAGED
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.labelling.pool import Guesses

SETS = ("few_shot_fashion", "few_shot_cells", "few_shot_omniglot")
SHOTS = (1, 5)
FIRST_SPLIT = 1000  # nothing was ever tried with these
WAYS = 10  # classes that are told apart, of a set with other classes
DRAWN = 50  # images of each class
DAGAN = "dagan"  # the generator in question, whose images are held against all else
REAL: dict[str, Any] = {"images": "data/prepare", "real": True, "labels": "all", "balancing": "oversampling"}
REAL |= {"augment": "classic", "settings": [{}]}
ADDED: dict[str, Any] = {"settings": [{"synthetic_share": 0.5}]}
ARMS: dict[str, dict[str, Any]] = {
    "oversampling": REAL,
    "class weights": REAL | {"balancing": "class_weights"},
    "pixel delta": REAL | {"augment": "pixel_delta"},
    "nearest mean": REAL | {"backbone": "many_shot", "settings": [{"nearest_mean": True}]},
    "logistic regression": REAL | {"backbone": "many_shot", "settings": [{"weight_decay": 0.1}]},
    "calibrated": REAL | {"backbone": "many_shot", "settings": [{"calibration_spread": 0.2, "weight_decay": 0.1}]},
    "pretrained": REAL
    | {"backbone": {"name": PACKAGED, "size": 96, "weights": IN_PACKAGE}, "settings": [{"weight_decay": 0.1}]},
    "gaussian": REAL | ADDED | {"images": "data/filter_memorized/gaussian"},
    DAGAN: REAL | ADDED | {"images": f"data/filter_memorized/{DAGAN}"},
}


@dataclass(frozen=True)
class Split:
    """What may be learned from, and the test set: images uint8 (N, C, H, W) and labels (N,). few: the few-shot ones."""

    data: ReplicateData
    test_images: Tensor
    test_labels: Tensor
    few: Tensor


def main() -> None:
    arguments = parser(__doc__, seeds=10)
    arguments.add_argument("--steps", type=int, help="of DAGAN; default: the preset's")
    arguments.add_argument("--shots", type=int, nargs="+", default=SHOTS)
    arguments.add_argument("--arms", nargs="+", choices=ARMS, help="beside DAGAN; default: all that are installed")
    options = arguments.parse_args()
    without = set() if find_spec("timm") else {"pretrained"}
    arms = [*(options.arms or [name for name in ARMS if name != DAGAN and name not in without]), DAGAN]
    for name, sets in sets_of(options, SETS, "test").items():
        for shots in options.shots:
            work = (delayed(scores)(own, shots, number, arms, options.steps) for number, own in enumerate(sets))
            found = Parallel(n_jobs=options.jobs)(work)
            print(f"\n{name}, {shots} shot(s), {len(found)} splits\n{table(found).to_string()}", flush=True)


def split_of(gan_set: GanSet, shots: int, number: int) -> Split:
    """Split `number` of the set's classes, with so many labels in each few-shot class, and without validation."""
    data, random = gan_set.data.with_all_labels(), torch.Generator().manual_seed(FIRST_SPLIT + number)
    drawn = torch.randperm(data.classes, generator=random)
    if not len(data.other_labels):
        few = drawn[: max(1, data.classes // 3)]
        rows = _fewer(data.labels, few, shots)
        return Split(
            replace(data, images=data.images[rows], labels=data.labels[rows]),
            gan_set.test_images,
            gan_set.test_labels,
            few,
        )
    few = drawn[:WAYS]
    numbered = torch.full((data.classes,), -1)
    numbered[few] = torch.arange(len(few))
    own, tested = torch.isin(data.labels, few), torch.isin(gan_set.test_labels, few)
    rows = _fewer(data.labels, few, shots)
    rows = rows[own[rows]]
    others = ~own
    kept = replace(
        data,
        images=data.images[rows],
        labels=numbered[data.labels[rows]],
        classes=len(few),
        other_images=torch.cat([data.other_images, data.images[others]]),
        other_labels=torch.cat([data.other_labels, data.labels[others]]) + len(few),
    )
    labels = numbered[gan_set.test_labels[tested]]
    return Split(kept, gan_set.test_images[tested], labels, torch.arange(len(few)))


def _fewer(labels: Tensor, few: Tensor, shots: int) -> Tensor:
    """Rows of the labels (N,), ascending, with the first `shots` of each class in `few`."""
    kept = [(labels == label).nonzero().squeeze(1)[:shots] for label in few.tolist()]
    return torch.cat([*kept, (~torch.isin(labels, few)).nonzero().squeeze(1)]).sort().values


def scores(
    gan_set: GanSet, shots: int, number: int, arms: list[str], steps: int | None
) -> dict[str, tuple[float, float]]:
    """Arm -> balanced accuracy over all classes and over the few-shot ones; in a process of one thread."""
    torch.set_num_threads(1)
    split = split_of(gan_set, shots, number)
    params, sections, found = gan_set.params.train_downstream, gan_set.params.train_gan.generators, {}
    for name in arms:
        arm = ArmParams.model_validate(ARMS[name])
        synthetic = None
        if arm.generator is not None:
            section = sections[arm.generator]
            if steps is not None and arm.generator == DAGAN:
                section = section.model_copy(update={"steps": steps})
            synthetic = drawn(split.data, section, number)
        result = train_arm(arm, ArmData(split.data, split.test_images, synthetic), params, number, _nobody, 0, None)
        predicted = result.test_probabilities.argmax(axis=1)
        labels = np.arange(split.data.classes)
        recalls = recall_score(split.test_labels, predicted, labels=labels, average=None, zero_division=0)
        found[name] = float(recalls.mean()), float(recalls[split.few].mean())
    return found


def drawn(data: ReplicateData, section: GeneratorParams, seed: int) -> SyntheticData:
    """Images of a generator that learned from the data."""
    made = training.train(data, pool.unguessed(data), section, seed, lambda _: None, Nowhere())
    return SyntheticData(*draw_classes(made.generator.network, made.generator, data, DRAWN, seed))


def table(found: list[Mapping[str, tuple[float, float]]]) -> pd.DataFrame:
    """A row for each arm, in percent: mean scores over the splits, and how far DAGAN's lie beyond, with the 95 %
    intervals of paired t."""
    rows = {}
    for name in found[0]:
        row: dict[str, str] = {}
        for place, words in enumerate(("all classes", "few-shot")):
            own, dagan = (100 * np.array([each[arm][place] for each in found]) for arm in (name, DAGAN))
            row[words] = f"{own.mean():.1f}"
            row[f"{DAGAN} beyond it, {words}"] = "" if name == DAGAN else _interval(dagan - own)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _interval(gains: Any) -> str:
    mean = gains.mean()
    if len(gains) < 2:
        return f"{mean:+.1f}"
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f}, {mean + half:+.1f})"


def _nobody() -> Guesses:
    raise AssertionError("no arm here asks for the pool's labels")


if __name__ == "__main__":
    main()
