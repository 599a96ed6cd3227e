"""What variants of a single image are worth beside classic augmentation of it, where a class has one image.

Of each class one image is drawn at random. Kind `single_image` learns a pyramid from each; a quick classifier then
learns from as many images of each class in every arm, and names other images of the set: copies of the one image;
copies with classic augmentation, the rival; variants with classic augmentation; and half of each. Variants are drawn by
the same pyramids at two values of `rearrangement`. The ratios are accuracies over the rival's. Beside them stand the
CPU seconds that a pyramid took, the error of the image that fixed noise gives back, and the share of variants that lie
nearer to their source than to any of the test images. `python -m benchmarks.single_image --data FOLDER` prints a table
for each set that is there.
"""

import json
from collections.abc import Iterator
from time import process_time
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks import parameters
from benchmarks.alignment import DRAWN, SOURCES, Split, drawn, parser, split, taught
from benchmarks.gan_contest import Nowhere
from stages.generators.kinds.single_image import Pyramids
from stages.generators.params import KINDS, GeneratorParams
from stages.generators.training import train
from stages.imaging.classic import classic
from stages.imaging.distance import distances, unit_vectors
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool

REARRANGEMENTS = (0.5, 1.0)
SHIFT = 2.0  # pixels at most, of classic augmentation: the default's, as a share of the side
RIVAL = "classic"
SECTION: dict[str, Any] = {
    "scales": 4,
    "images_per_class": 1,
    "reconstruction": 50.0,
    "rearrangement": 1.0,
    "batch_size": 2,
    "latent_dim": 3,
    "width": 24,
    "generator_learning_rate": 3e-3,
    "discriminator_learning_rate": 1e-3,
    "ema_decay": 0.9,
    "augment": {"policies": [], "limit": 0.0},
}


def section(steps: int) -> GeneratorParams:
    """The default's GAN as a section of this kind, with values of its own."""
    schema, _ = KINDS["single_image"]
    own = parameters.load().train_gan.generators["gan"].model_dump() | SECTION | {"kind": "single_image"}
    quiet = {"steps": steps, "samples_every": steps, "checkpoint_every": steps}
    return schema.model_validate({name: (own | quiet)[name] for name in schema.model_fields})


def arms(own: Split, variants: dict[float, Tensor], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Name and images uint8 (classes * DRAWN, 1, 28, 28), class by class, of each arm."""
    copies = own.images.repeat_interleave(DRAWN, dim=0)
    half = (torch.arange(len(copies)) % 2 == 0)[:, None, None, None]
    yield "the image alone", copies
    yield RIVAL, _augmented(copies, seed)
    for freedom, images in variants.items():
        yield f"variants at {freedom}, classic", _augmented(images, seed)
        yield f"half variants at {freedom}, classic", _augmented(torch.where(half, copies, images), seed)


def _augmented(images: Tensor, seed: int) -> Tensor:
    settings = parameters.load().train_downstream.classic.model_copy(update={"translation_pixels": SHIFT})
    return to_bytes(classic(to_network_range(images), torch.Generator().manual_seed(seed), settings, False))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=300, help="of each pyramid")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    found, facts = list[dict[str, Any]](), list[dict[str, Any]]()
    for name in chosen.sets or [name for name in SOURCES if (chosen.data / name).is_dir()]:
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
            own = split(name, chosen.data, 1, seed)
            data, started = own.data, process_time()
            params = section(chosen.steps * own.classes)
            made = train(data, pool.unguessed(data), params, seed, lambda _: None, Nowhere())
            seconds = (process_time() - started) / own.classes
            network, variants = made.generator.network, dict[float, Tensor]()
            assert isinstance(network, Pyramids)
            for freedom in REARRANGEMENTS:
                network.rearrangement = freedom
                variants[freedom], labels = drawn(made, data, seed)
            facts.append({"set": name, "seconds_per_image": seconds, **_likeness(network, own, variants)})
            print(seed, *facts[-1].values(), flush=True)
            for arm, images in arms(own, variants, seed):
                found.append({"set": name, "arm": arm, "accuracy": taught(images, labels, own, seed)})
                print(seed, *found[-1].values(), flush=True)
    table = pd.DataFrame(found).groupby(["set", "arm"], sort=False)["accuracy"].agg(["mean", "std"])
    print(f"\n{table.round(3).to_string()}\n\n{pd.DataFrame(facts).groupby('set').mean().round(2).to_string()}")
    means = table["mean"].unstack("arm")
    ratios = means.filter(like="variants").div(means[RIVAL], axis=0)
    print(json.dumps(ratios.round(3).to_dict("index")))


@torch.no_grad()
def _likeness(network: Any, own: Split, variants: dict[float, Tensor]) -> dict[str, float]:
    """How well the sources come back, in levels of 255, and how near the variants stay to them."""
    back = to_bytes(torch.cat([each.reconstruction(len(each.sides) - 1) for each in network.each]))
    told = {"reconstruction_error": float((back.float() - own.images.float()).square().mean().sqrt())}
    sources, others = unit_vectors(own.images.repeat_interleave(DRAWN, dim=0)), unit_vectors(own.test_images)
    for freedom, images in variants.items():
        each = unit_vectors(images)
        nearer = (each - sources).norm(dim=1) < distances(each, others).min(dim=1).values
        told[f"nearest_to_source_at_{freedom}"] = float(nearer.float().mean())
    return told


if __name__ == "__main__":
    main()
