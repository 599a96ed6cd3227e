"""What an image-conditioned GAN adds for classes with one label or five, beside every rival that needs none.

Each set is its preset (presets/few_shot_*.yaml), with its generator `gan`, the arms of its question `augment` and all
their settings. But which classes are few-shot, three tenths of them, and all roles are drawn anew for every split, from
seeds that nothing was ever tried with; settings are chosen on the split's own validation images. Printed for each arm:
balanced accuracy over all classes, the share found of the few-shot ones' test images, and how far `gan_classic` is
beyond the arm, by split, with a 95 % interval of Student's t over the splits. Arms with a backbone are left out where
timm is missing. `python -m benchmarks.few_shot --data FOLDER`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import recall_score

from benchmarks import gan_sets, parameters
from benchmarks.gan_contest import kept, parser, sampler, train
from benchmarks.gan_sets import GanSet
from stages.downstream.arm_data import ArmData, SyntheticData
from stages.downstream.arms import train_arm, try_settings
from stages.downstream.choice import choose
from stages.downstream.few_shot import few_shot_classes
from stages.generators.drawing import sources_of
from stages.generators.requests import class_plan, requests
from stages.plumbing.params import Params

# preset, the folder that must be there, and the labels (train, validation) of classes that have many
SETS = {
    "fashion": ("few_shot_fashion", "fashion_mnist_sub", (40, 10)),
    "cells": ("few_shot_cells", "rbc_chula11", (40, 10)),
    "omniglot": ("few_shot_omniglot", "omniglot_small", (8, 4)),
}
SHOTS = {1: (1, 0), 5: (3, 2)}  # labels of a few-shot class: train, validation
FEW_SHARE = 0.3  # of the classes
FIRST_SPLIT = 500  # nothing was ever tried with it, or with a later one
ARM = "gan_classic"
FEW = "few-shot classes"


def main() -> None:
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--shots", nargs="+", type=int, choices=SHOTS, default=list(SHOTS))
    arguments.add_argument("--steps", type=int, help="of generator and classifier; default: the preset's")
    options = arguments.parse_args()
    gains: dict[str, Any] = {}
    for name in options.sets or [name for name, (_, source, _) in SETS.items() if (options.data / source).is_dir()]:
        for shots in options.shots:
            preset, source, many = SETS[name]
            path = {"prepare.source.path": str(gan_sets.source_in(options.data, source))}
            work = (
                delayed(_split)(preset, path, SHOTS[shots], many, FIRST_SPLIT + split, options.steps)
                for split in range(options.seeds)
            )
            found = table(Parallel(n_jobs=options.jobs)(work))
            print(f"\n{name}, {shots} shots, {options.seeds} splits\n{found.to_string()}", flush=True)
            gains[f"{name}, {shots} shots"] = found[f"{ARM} beyond it"].drop(ARM).to_dict()
    print(json.dumps(gains))


def regime(classes: Sequence[str], shots: tuple[int, int], many: tuple[int, int], split: int) -> dict[str, Any]:
    """Changes of a preset that make FEW_SHARE of the classes few-shot. shots, many: labels for training, validation."""
    few = np.random.default_rng(split).permutation(sorted(classes))[: max(1, round(FEW_SHARE * len(classes)))].tolist()
    train_labels, validation = (
        {"others": others} | dict.fromkeys(few, own) for own, others in zip(shots, many, strict=True)
    )
    return {
        "prepare.seed": split,
        "prepare.replicates": 1,
        "prepare.labels_per_class": train_labels,
        "prepare.validation_per_class": validation,
    }


def _split(
    preset: str,
    changes: Mapping[str, Any],
    shots: tuple[int, int],
    many: tuple[int, int],
    split: int,
    steps: int | None,
) -> pd.DataFrame:
    """The scores of one split of the classes."""
    plain = {**parameters.TWO_ARMS, **changes}
    form = gan_sets.opened(f"{preset}-classes", preset, plain, 0, "test").data.form
    assert form is not None  # every replicate of a prepared set has one
    own = plain | regime(form.class_names, shots, many, split)
    gan_set = gan_sets.opened(f"{preset}-{split}-{shots[0]}", preset, own, 0, "test")
    fewer = {"train_gan.generators.gan.steps": steps, "train_downstream.classifier.steps": steps} if steps else {}
    return scores(replace(gan_set, params=parameters.load(fewer, preset)), split)


def scores(gan_set: GanSet, split: int) -> pd.DataFrame:
    """A row for each arm: balanced accuracy over all classes and over the few-shot ones; in a process of one thread."""
    torch.set_num_threads(1)
    params, rows = gan_set.params, {}
    synthetic = drawn(gan_set, params, split)
    everyone = gan_set.data.with_all_labels().labels
    few = np.array(few_shot_classes(torch.bincount(everyone, minlength=gan_set.data.classes).tolist()))
    for name in (ARM, *params.evaluate.augment.rivals):
        arm = params.train_downstream.arms[name]
        if arm.backbone is not None and find_spec("timm") is None:
            continue
        data = ArmData(gan_set.data, gan_set.test_images, synthetic if arm.adds_synthetic else None)
        given, chosen, stop = params.train_downstream, 0, None
        if arm.chooses(given.classifier.checkpoints):
            trials = try_settings(arm, data, given, split, _nobody)
            best = choose([[vars(trial) for trial in trials]])
            chosen, stop = best.setting, best.steps[0]
        result = train_arm(arm, data, given, split, _nobody, chosen, stop)
        found = recall_score(gan_set.test_labels, result.test_probabilities.argmax(axis=1), average=None)
        rows[name] = {"all classes": found.mean(), FEW: found[few].mean()}
    return pd.DataFrame.from_dict(rows, orient="index")


def drawn(gan_set: GanSet, params: Params, seed: int) -> SyntheticData:
    """As many images of each class as `generate.plan` says of the rarest, but for those that the filter drops."""
    made = train(gan_set, params.train_gan.generators["gan"], seed)
    labels = torch.bincount(gan_set.data.with_all_labels().labels, minlength=gan_set.data.classes).tolist()
    count = max(class_plan(labels, params.generate.plan))
    images, classes = sampler(made, gan_set)(count, seed)
    asked = requests([range(count)] * gan_set.data.classes, seed, 0, sources_of(made.generator, gan_set.data))
    sources = [each.sources[: each.wanted] for each in asked if each.sources is not None]
    own = kept(images, gan_set, np.concatenate(sources) if sources else None)
    return SyntheticData(images[own], classes[own])


def table(splits: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Means over the splits in percent, and how far `gan_classic` is beyond each arm: mean (low, high)."""
    whole = pd.concat(splits, keys=range(len(splits))) * 100
    result = whole.groupby(level=1, sort=False).mean().round(1)
    for column in whole:
        by_arm = whole[column].unstack(level=0)
        gains = by_arm.loc[ARM] - by_arm
        title = f"{ARM} beyond it" if column == "all classes" else f"{ARM} beyond it, {column}"
        result[title] = [_interval(gains.loc[name].to_numpy()) for name in result.index]
    return result


def _interval(gains: NDArray[np.float64]) -> str:
    """Of a mean over the splits; of a single one there is none."""
    if len(gains) < 2:
        return f"{gains.mean():+.1f}"
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return f"{gains.mean():+.1f} ({gains.mean() - half:+.1f}, {gains.mean() + half:+.1f})"


def _nobody() -> Any:
    raise AssertionError("no arm here asks for the pool's labels")


if __name__ == "__main__":
    from benchmarks import few_shot  # workers get by name what lies in a module, and cannot get torch by value

    few_shot.main()
