"""How a generator should use the labels that choices were made on: not at all, in the pool's guess, or like all others.

`choices alone`: labels of `train`, the pool's teacher being chosen on `validation`. `pool too`: that teacher, once
chosen, learns from all labels. `all labels`: the generator learns from all of them too, as `train_gan` has it.

Judged on the development sets by classifiers that learn from generated images alone (`alone`) and from the same images
beside all labelled ones, classic augmentation throughout (`added`, a quarter of each batch real). Beside them stand the
real labelled images and the pool with either guess, as rivals have them. `python -m benchmarks.all_labels`
"""

import json
from dataclasses import replace

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.gan_contest import SAMPLES, accuracy, parser, sampler, section, sets_of, taught, train
from benchmarks.gan_sets import GanSet
from stages.downstream.augment import build_policy
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, derive_seeds, train_classifier
from stages.imaging.networks import predict

SETS = ("digits_pool", "digits_closed", "fashion_pool")
KINDS = ("projection", "gaussian")
REAL_SHARE = 0.25


def main() -> None:
    options = parser(__doc__, seeds=6).parse_args()
    gains = {}
    for name, sets in sets_of(options, SETS, "development").items():
        work = (delayed(rows)(gan_set, seed) for seed, gan_set in enumerate(sets))
        found = pd.concat(Parallel(n_jobs=options.jobs)(work), keys=range(len(sets)), names=["seed"])
        means = found.groupby(level=[1, 2], sort=False).mean()
        print(f"\n{name}\n{means.round(3).to_string()}", flush=True)
        base = found.xs("choices alone", level=2)
        for use in ("pool too", "all labels"):
            gain = found.xs(use, level=2) - base
            spread = gain.groupby(level=1).agg(["mean", "sem"]).round(3)
            gains[f"{name}, {use} - choices alone"] = {
                kind: {how: f"{row[how, 'mean']} ± {row[how, 'sem']}" for how in ("alone", "added")}
                for kind, row in spread.iterrows()
            }
    print(json.dumps(gains, indent=1))


def rows(gan_set: GanSet, seed: int) -> pd.DataFrame:
    """Accuracy `alone` and `added` by kind and use of the labels, of one replicate; in a process of one thread."""
    torch.set_num_threads(1)
    data, guesses, everything = gan_set.data, gan_set.guessed, gan_set.data.with_all_labels()
    uses = {
        "choices alone": replace(gan_set, guessed=replace(guesses, final=guesses.choosing)),
        "pool too": gan_set,
        "all labels": replace(gan_set, data=everything),
    }
    real = one_hot(everything.labels, data.classes).float()
    found = {("real", "all labels"): {"alone": taught(everything.images, real, gan_set, seed)}}
    for use, own in uses.items():
        guess = own.guessed.final.among(everything)
        sure = guess.trust > 0.5
        images, labels = guess.images[sure], one_hot(guess.labels[sure], data.classes).float()
        found["pool", use] = {
            "alone": taught(images, labels, gan_set, seed),
            "added": added(images, labels, gan_set, seed),
        }
        for kind in KINDS:
            made = train(own, section(own, kind), seed)
            images, drawn = sampler(made, own)(SAMPLES // data.classes, seed)
            labels = one_hot(drawn, data.classes).float()
            found[kind, use] = {
                "alone": taught(images, labels, gan_set, seed),
                "added": added(images, labels, gan_set, seed),
            }
    return pd.DataFrame(found).T


def added(images: Tensor, probabilities: Tensor, gan_set: GanSet, seed: int) -> float:
    """Accuracy of a classifier taught by these images and, in a share of each batch, all labelled ones."""
    params, everything = gan_set.params.train_downstream, gan_set.data.with_all_labels()
    settings, seeds = params.classifier, derive_seeds(params.seed, seed)
    random, count = torch.Generator().manual_seed(seeds.order), round(REAL_SHARE * settings.batch_size)
    flat, steps = torch.ones(gan_set.data.classes), settings.steps
    beside = settings.batch_size - count
    own = draw_order(everything.labels, steps * count, flat, random).view(steps, count)
    others = draw_order(probabilities.argmax(dim=1), steps * beside, flat, random).view(steps, beside)
    labels = one_hot(everything.labels, gan_set.data.classes).float()
    together = torch.cat([everything.images, images])
    examples = Examples(together, torch.cat([labels, probabilities]), torch.ones(len(together)))
    order = torch.cat([own, others + len(everything.images)], dim=1)
    policy = build_policy("classic", params, gan_set.data.flip_ok)
    return accuracy(
        predict(train_classifier(examples, order, policy, None, settings, seeds).model, gan_set.test_images), gan_set
    )


if __name__ == "__main__":
    from benchmarks import all_labels  # workers get by name what lies in a module, and cannot get torch by value

    all_labels.main()
