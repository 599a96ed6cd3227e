"""What a pretrained network is worth beside one trained from scratch, and how fast it is.

Arms as in docs/arms.md, on real sets, by their development sets: `classic` and `transfer`, whose weight decay
validation chooses, and both with the class Gaussians' images added. Means over the classes and the seeds. All labels of
a class count, `--labels` of them and those of validation. With `--fine-tuning` there is a further arm, whose backbone
learns too, which takes minutes a training on a CPU. Then images per second on one core, beside timm's network alone in
the batches that it likes. `python -m benchmarks.transfer`
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import process_time
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed

from benchmarks.gan_contest import SAMPLES, accuracy, ours, parser, sets_of
from benchmarks.gan_sets import GanSet
from stages.downstream.arm_data import ArmData, SyntheticData
from stages.downstream.arms import train_arm, try_settings
from stages.downstream.params import ArmParams
from stages.imaging.backbones import IN_PACKAGE, PACKAGED, open_backbone
from stages.imaging.networks import BATCH, in_batches
from stages.labelling.data import ReplicateData

SETS = ("fashion_28", "red_cells")
SIZES = (96, 128, 192)
DECAYS = (0.03, 0.1, 0.3, 1.0)
RATES = (0.0001, 0.001)
PLAIN = {"real": True, "labels": "all", "balancing": "none", "augment": "classic"}
REAL, ADDED = PLAIN | {"images": "data/prepare"}, PLAIN | {"images": "data/filter_memorized/gaussian"}


def main() -> None:
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--labels", type=int, help="training labels of each class; default: the set's")
    arguments.add_argument("--size", type=int, default=SIZES[0], help="pixels that images are enlarged to")
    arguments.add_argument("--fine-tuning", action="store_true", help="a further arm, whose backbone learns too")
    options = arguments.parse_args()
    gains: dict[str, Any] = {}
    for name, sets in sets_of(options, SETS, "development").items():
        work = (
            delayed(scores)(own, options.labels, options.size, options.fine_tuning, seed)
            for seed, own in enumerate(sets)
        )
        found = pd.DataFrame(Parallel(n_jobs=options.jobs)(work))
        table = pd.DataFrame({"accuracy": found.mean(), "±": found.std(ddof=0)})
        print(f"\n{name}\n{table.round(3).to_string()}", flush=True)
        gains[name] = {"transfer - classic": round(float((found["transfer"] - found["classic"]).mean()), 3)}
    print(f"\nimages per second\n{(speed := speeds()).round(1).to_string()}", flush=True)
    print(json.dumps(gains | {"of timm's pace": speed["ratio"].round(2).to_dict()}))


def arms(size: int, fine_tuning: bool) -> dict[str, ArmParams]:
    backbone = {"backbone": {"name": PACKAGED, "size": size, "weights": IN_PACKAGE}}
    decays: list[dict[str, float]] = [{"weight_decay": decay} for decay in DECAYS]
    added: dict[str, list[dict[str, float]]] = {"settings": [{"synthetic_share": 0.5}]}
    stated: dict[str, dict[str, Any]] = {
        "classic": REAL | {"settings": [{}]},
        "transfer": REAL | backbone | {"settings": decays},
        "gaussian + classic": ADDED | added,
        "gaussian + transfer": ADDED | backbone | {"settings": [{"synthetic_share": 0.5} | each for each in decays]},
    }
    if fine_tuning:
        tuned = [{"weight_decay": 0.1, "fine_tuning_rate": rate} for rate in RATES]
        stated["fine-tuned"] = REAL | backbone | {"settings": tuned}
    return {name: ArmParams.model_validate(each) for name, each in stated.items()}


def scores(gan_set: GanSet, labels: int | None, size: int, fine_tuning: bool, seed: int) -> dict[str, float]:
    """Accuracy of each arm, of one replicate; in a process of one thread."""
    torch.set_num_threads(1)
    gan_set = replace(gan_set, data=fewer(gan_set, labels)) if labels else gan_set
    sample, _ = ours("gaussian")(gan_set, seed)
    images, classes = sample(SAMPLES // gan_set.data.classes, seed)
    params, found = gan_set.params.train_downstream, {}
    for name, arm in arms(size, fine_tuning).items():
        data = ArmData(
            gan_set.data, gan_set.test_images, SyntheticData(images, classes) if arm.adds_synthetic else None
        )
        chosen, stop = 0, None
        if arm.chooses(params.classifier.checkpoints):
            trials = try_settings(arm, data, params, seed, nobody)
            chosen = max(range(len(trials)), key=lambda number: trials[number].validation_score)
            stop = trials[chosen].step
        result = train_arm(arm, data, params, seed, nobody, chosen, stop)
        found[name] = accuracy(torch.from_numpy(result.test_probabilities), gan_set)
    return found


def fewer(gan_set: GanSet, labels: int) -> ReplicateData:
    """The data with the first so many training labels of each class."""
    data = gan_set.data
    kept = torch.cat([(data.labels == label).nonzero().squeeze(1)[:labels] for label in range(data.classes)])
    return replace(data, images=data.images[kept], labels=data.labels[kept])


def nobody() -> Any:
    raise AssertionError("no arm here asks for the pool's labels")


def speeds() -> pd.DataFrame:
    torch.set_num_threads(1)
    rows = {}
    for size in SIZES:
        backbone, images = open_backbone(PACKAGED, size, IN_PACKAGE), torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8)
        enlarged = torch.zeros(BATCH, 3, size, size).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            ours_takes = timed(partial(in_batches, backbone, images))
            timm_takes = timed(partial(backbone.network, enlarged))
        rows[size] = {"features": BATCH / ours_takes, "timm": BATCH / timm_takes, "ratio": timm_takes / ours_takes}
    return pd.DataFrame(rows).T


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds, the least of three times."""
    taken = []
    for _ in range(3):
        started = process_time()
        work()
        taken.append(process_time() - started)
    return min(taken)


if __name__ == "__main__":
    from benchmarks import transfer  # workers get by name what lies in a module, and cannot get torch by value

    transfer.main()
