"""What a teacher's probabilities gain over the classes that images were drawn for, and what they tell an attacker.

A classifier learns from one generator's images alone, once with their classes and once with the teacher's probabilities
(`labels: teacher`), and is tested on the development sets: `class`, `teacher` and the difference. Accuracies are means
over the classes; `agreement` is how often the teacher's likeliest class is the one that was drawn. The real labelled
images, which the teacher learned from, stand beside.

The attacker wants to tell labelled images that were learned from (members) from images of the development set, and
knows the true class of each. All attacks score a candidate by its nearest published image, -d²/2h² + log w at its best,
h being the candidates' median distance to the nearest, and differ in w. `auc images`: w = 1, the distance attack alone.
`auc classes`: w is 1 for published images of the candidate's class and else 0. `auc probabilities`: w is what the
teacher gave the candidate's class. `auc 5 nearest`: the mean log w of the 5 nearest alone, with the same w. Nothing is
filtered; where splits follow groups, an AUC above .5 may come from groups too. `python -m benchmarks.soft_labels`
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.gan_contest import REAL, SAMPLES, Fit, accuracy, ours, parser, real, sets_of, taught, teacher_of
from benchmarks.gan_sets import GanSet
from stages.imaging.distance import distances, unit_vectors
from stages.memorization.attacks import auc

SETS = ("fashion_28", "red_cells")
NEAREST = 5
LEAST = 1e-6  # of a distance and of a probability, so that no score is infinite


def main() -> None:
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--steps", type=int, help="of the GAN; default: the preset's")
    options = arguments.parse_args()
    steps = {"steps": options.steps} if options.steps else {}
    fits = {REAL: real, "gaussian": ours("gaussian"), "projection": ours("projection", **steps)}
    gains: dict[str, Any] = {}
    for name, sets in sets_of(options, SETS, "development").items():
        work = (delayed(rows)(gan_set, seed, fits) for seed, gan_set in enumerate(sets))
        found = pd.concat(Parallel(n_jobs=options.jobs)(work))
        table = found.groupby(level=0, sort=False).mean()
        print(f"\n{name}\n{table.round(3).to_string()}", flush=True)
        gains[name] = {
            "accuracy, teacher/class": (table["teacher"] / table["class"]).round(3).to_dict(),
            "AUC, probabilities - images": (table["auc probabilities"] - table["auc images"]).round(3).to_dict(),
        }
    print(json.dumps(gains))


def rows(gan_set: GanSet, seed: int, fits: Mapping[str, Fit]) -> pd.DataFrame:
    """All measures (columns) of each generator (rows), of one replicate; in a process of one thread."""
    torch.set_num_threads(1)
    teacher = teacher_of(gan_set, seed)
    of_test = teacher.probabilities(gan_set.test_images)
    # cloudpickle would take `data.classes` in this function for torch.classes, which no process can be sent
    own, count = accuracy(of_test, gan_set), of_test.shape[1]
    found = {}
    for name, fit in fits.items():
        sample, _ = fit(gan_set, seed)
        images, labels = sample(SAMPLES // count, seed)
        given, probabilities = one_hot(labels, count).float(), teacher.probabilities(images)
        accuracies = [taught(images, each, gan_set, seed) for each in (given, probabilities)]
        found[name] = {
            "class": accuracies[0],
            "teacher": accuracies[1],
            "difference": accuracies[1] - accuracies[0],
            "teacher itself": own,
            "agreement": float((probabilities.argmax(dim=1) == labels).float().mean()),
            **attack(images, given, probabilities, gan_set),
        }
    return pd.DataFrame(found).T


def attack(images: Tensor, given: Tensor, probabilities: Tensor, gan_set: GanSet) -> dict[str, float]:
    """AUC by attack, of published images uint8 (N, C, H, W) with their classes and probabilities (N, K)."""
    data = gan_set.data
    candidates = torch.cat([data.images, gan_set.test_images])
    classes = torch.cat([data.labels, gan_set.test_labels])
    apart = distances(unit_vectors(candidates), unit_vectors(images))
    bandwidth = apart.amin(dim=1).median().clamp_min(LEAST)
    likeness = -0.5 * (apart / bandwidth).square()
    of_classes, of_probabilities = (each.clamp_min(LEAST).log().T[classes] for each in (given, probabilities))
    nearest = apart.topk(NEAREST, largest=False).indices
    scores = {
        "auc images": likeness.amax(dim=1),
        "auc classes": (likeness + of_classes).amax(dim=1),
        "auc probabilities": (likeness + of_probabilities).amax(dim=1),
        "auc 5 nearest": of_probabilities.gather(1, nearest).mean(dim=1),
    }
    members = len(data.images)
    return {name: auc(score[:members].numpy(), score[members:].numpy()).value for name, score in scores.items()}


if __name__ == "__main__":
    main()
