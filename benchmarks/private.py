"""What classifiers learn from images under a privacy budget, over epsilon, and what an audit finds of the budget.

Of each class so many images are learned from (`--per-class`) and others tested on, at random. Each generator learns
them; a quick classifier then learns from as many of its images alone and names the test images. Beside the kinds with a
budget stand their sisters without one, and a classifier of the real images. The ratio is accuracy over that of DP-MERF
at the same epsilon (Harder et al. 2021, our `private_features`).

The audit plants canaries, each there by a coin's toss, and guesses from all that was released, beyond what is
published, which of them were. The least epsilon under which so many hits are likely (Steinke et al. 2023), at 95 %
confidence, must lie below the epsilon claimed. `python -m benchmarks.private --data FOLDER` prints a table for each set
that is there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from time import process_time
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed

from benchmarks import auditing, parameters
from benchmarks.alignment import FIRST_SEED, SOURCES, Split, split
from benchmarks.gan_contest import Nowhere
from benchmarks.gan_contest import parser as contest_parser
from stages.generators.params import KINDS, GeneratorParams
from stages.generators.quality import draw_classes
from stages.generators.training import train
from stages.labelling import pool, quick_classifier

EPSILONS = (0.5, 1.0, 3.0, 10.0)
DELTA = 1e-5
PRIVATE, SISTERS = ("private_gaussian", "private_gan", "private_features"), ("gaussian", "projection")
KINDS_TRIED = (*PRIVATE, *SISTERS, "real images")
RIVAL = "private_features"
CLASSIFIER = {"steps": 400, "batch_size": 128, "largest_side": 32}
SECTION: dict[str, Any] = {
    "delta": DELTA,
    "protects": "image",
    "noise": "reproducible",  # a rehearsal with seeds
    "frequencies": 12,
    "clip": 0.4,
    "covariance": "class",
    "rank": 144,
    "latent_dim": 144,
    "width": 64,
    "batch_size": 200,
    "steps": 200,
    "ema_decay": 0.99,
    "generator_learning_rate": 1e-4,
    "discriminator_learning_rate": 1e-3,
    "discriminator_steps": 5,
    "lot": 1024,
    "gradient_clip": 1.0,
    "start_share": 0.5,
    "features": 4000,
    "bandwidth": 0.5,
}
# What single kinds have otherwise: DP-MERF a larger network and more steps; the sister without a budget the default's.
OWN: dict[str, dict[str, Any]] = {
    "private_features": {"width": 128, "latent_dim": 32, "steps": 500, "generator_learning_rate": 1e-3},
    "projection": {"width": 256, "steps": 1000, "batch_size": 64, "generator_learning_rate": 1e-3},
}


def section(kind: str, epsilon: float, **changes: Any) -> GeneratorParams:
    """The default's GAN as a section of this kind, with values of its own."""
    schema, _ = KINDS[kind]
    values = parameters.load().train_gan.generators["gan"].model_dump() | SECTION | OWN.get(kind, {})
    quiet = {"samples_every": 1_000_000, "checkpoint_every": 1_000_000}
    own = values | quiet | changes | {"kind": kind, "epsilon": epsilon}
    return schema.model_validate({name: own[name] for name in schema.model_fields})


def score(own: Split, kind: str, epsilon: float, seed: int, **changes: Any) -> dict[str, Any]:
    """Accuracy 0..1 on the test images of what the generator's images teach; in a process of one thread."""
    torch.set_num_threads(1)
    started = process_time()
    if kind == "real images":
        images, labels = own.images, own.labels
    else:
        data = own.data
        made = train(data, pool.unguessed(data), section(kind, epsilon, **changes), seed, lambda _: None, Nowhere())
        images, labels = draw_classes(
            made.generator.network, made.generator, data, len(own.images) // own.classes, seed
        )
    seconds = process_time() - started
    weights = torch.ones(len(images))
    classifier = quick_classifier.fit(images, labels, weights, own.classes, False, seed, **CLASSIFIER)
    right = classifier.probabilities(own.test_images).argmax(dim=1) == own.test_labels
    accuracy = float(right.float().mean())
    return {"generator": kind, "epsilon": epsilon, "accuracy": accuracy, "seconds": seconds}


def jobs_of(
    own: Split, seed: int, epsilons: Sequence[float], kinds: Sequence[str], changes: Mapping[str, Any]
) -> Iterator[Any]:
    """Everything to score on a split."""
    for kind in kinds:
        found = epsilons if kind in PRIVATE else [float("inf")]
        yield from (delayed(score)(own, kind, epsilon, seed, **changes) for epsilon in found)


def main() -> None:
    options = contest_parser(__doc__, seeds=1)
    options.add_argument("--per-class", type=int, default=780, help="images learned from")
    options.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    options.add_argument("--canaries", type=int, default=1000, help="of the audit; 0 leaves it out")
    options.add_argument("--kinds", nargs="+", choices=KINDS_TRIED, default=KINDS_TRIED)
    options.add_argument("--changes", type=json.loads, default={}, help="of sections: '{\"frequencies\": 18}'")
    chosen = options.parse_args()
    ratios: dict[str, Any] = {}
    for name in chosen.sets or [name for name in SOURCES if (chosen.data / name).is_dir()]:
        seeds = range(FIRST_SEED, FIRST_SEED + chosen.seeds)
        splits = [split(name, chosen.data, chosen.per_class, seed) for seed in seeds]
        work = (
            job
            for seed, own in zip(seeds, splits, strict=True)
            for job in jobs_of(own, seed, chosen.epsilons, chosen.kinds, chosen.changes)
        )
        table = pd.DataFrame(Parallel(n_jobs=chosen.jobs)(work))
        means = table.pivot_table(index="generator", columns="epsilon", values="accuracy", sort=False)
        print(f"\n{name}, {len(splits[0].images)} images, accuracy\n{means.round(3).to_string()}")
        print(table.groupby("generator", sort=False)["seconds"].mean().round(0).to_string(), flush=True)
        if RIVAL in means.index:
            private = means.loc[[kind for kind in PRIVATE if kind in means.index]]
            ratios[name] = (private / means.loc[RIVAL]).drop(RIVAL).dropna(axis=1).round(3).to_dict()
    if chosen.canaries:
        audits = Parallel(n_jobs=chosen.jobs)(
            delayed(auditing.audit)(section(kind, epsilon), chosen.canaries, seed)
            for kind in PRIVATE
            for epsilon in chosen.epsilons
            for seed in range(chosen.seeds)
        )
        print(f"\naudit, {chosen.canaries} canaries\n{pd.DataFrame(audits).round(3).to_string()}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    from benchmarks import private  # workers get by name what lies in a module, and cannot get torch by value

    private.main()
