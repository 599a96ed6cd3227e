"""Images per second of our training loop beside a torchvision DataLoader's, and what the classifiers come to.

One process of one thread. Both train the same network with the same optimiser, initial weights and number of steps, on
sets that lie in memory. ours: `train_classifier`, which augments whole batches. loader: a DataLoader over PIL images
(at 8 and 32 pixels faster than over tensors), which augments one by one with torchvision's own transforms of the same
ranges. Seconds are the process's own; accuracy is that on held-out digits, the mean over the seeds, with the standard
error of the paired differences. limit: the ratio if augmenting took no time, for the network's own step is left then.
Wanted: ratios of at least 5 where the limit allows, and equal accuracies: `python -m benchmarks.downstream`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from benchmarks import parameters
from stages.downstream.augment import build_policy
from stages.downstream.classifiers import build_classifier
from stages.downstream.params import ClassifierParams, TrainDownstreamParams
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, derive_seeds, make_optimizer, train_classifier
from stages.imaging.networks import predict

POLICIES = ("classic", "randaugment")
CLASSES = 10
TRAINING_DIGITS = 500  # the other 1,297 are held out
STEPS, NOISE_STEPS = 100, 20


@dataclass(frozen=True)
class Set:
    """Images uint8 (N, C, H, W) with labels int64 (N,), and others to test on, of which there may be none."""

    name: str
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Run:
    """What one training took, in seconds of the process, and came to on the test images."""

    seconds: float
    accuracy: float


class PillowImages(Dataset[tuple[Tensor, int]]):
    """The set as torchvision's data sets hold one: a transform for each image that is asked for."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self._images = [Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()) for image in images]
        self._labels, self._transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--noise", action="store_true", help="the speed with 32x32 colour images, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = parameters.load().train_downstream
    print(f"{'':<24}{'images/s':^20}{'':>16}{'accuracy':^20}")
    print(f"{'':<24}{'ours':>10}{'loader':>10}{'ratio':>8}{'limit':>8}{'ours':>10}{'loader':>10}{'difference':>20}")
    results = {name: compare(_digits(), name, params, STEPS, range(options.seeds)) for name in POLICIES}
    if options.noise:
        noise = {f"{name}, noise": compare(_noise(), name, params, NOISE_STEPS, range(1)) for name in POLICIES}
        results |= noise
    print(json.dumps(results))


def compare(
    data: Set, policy: str, params: TrainDownstreamParams, steps: int, seeds: Sequence[int]
) -> dict[str, float]:
    """Prints a line; returns the ratio of the speeds, its limit and, where there are test images, the difference in
    accuracy."""
    params = params.model_copy(update={"classifier": params.classifier.model_copy(update={"steps": steps})})
    work = (ours, loader)
    for each in work:  # loads libraries, and takes memory
        each(data, policy, _short(params), 0)
    runs = [[each(data, policy, params, seed) for each in work] for seed in seeds]
    own, other = zip(*runs, strict=True)
    plain = [ours(data, "none", params, seed) for seed in seeds]
    count = steps * params.classifier.batch_size
    rates = [count / statistics.median(run.seconds for run in column) for column in (own, other, plain)]
    ratio, limit = rates[0] / rates[1], rates[2] / rates[1]
    line = f"{f'{data.name}, {policy}':<24}{rates[0]:>10.0f}{rates[1]:>10.0f}{ratio:>8.2f}{limit:>8.2f}"
    result = {"speed": round(ratio, 3), "limit": round(limit, 3)}
    if len(data.test_images):
        differences = [a.accuracy - b.accuracy for a, b in runs]
        mean, error = statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5
        accuracies = [statistics.mean(run.accuracy for run in column) for column in (own, other)]
        line += f"{accuracies[0]:>10.3f}{accuracies[1]:>10.3f}{f'{mean:+.3f} ± {error:.3f}':>20}"
        result["accuracy difference"] = round(mean, 4)
    print(line, flush=True)
    return result


def _short(params: TrainDownstreamParams) -> TrainDownstreamParams:
    return params.model_copy(update={"classifier": params.classifier.model_copy(update={"steps": 2})})


def ours(data: Set, policy: str, params: TrainDownstreamParams, seed: int) -> Run:
    """Trains as an arm does."""
    seeds, settings = derive_seeds(params.seed, seed), params.classifier
    given = functional.one_hot(data.labels, CLASSES).float()
    examples = Examples(data.images, given, torch.ones(len(given)))
    started = time.process_time()
    random = torch.Generator().manual_seed(seeds.order)
    order = draw_order(data.labels, settings.steps * settings.batch_size, None, random).view(settings.steps, -1)
    augment = build_policy(policy, params, flip_ok=False)
    model = train_classifier(examples, order, augment, None, settings, seeds).model
    return Run(time.process_time() - started, _accuracy(model, data))


def loader(data: Set, policy: str, params: TrainDownstreamParams, seed: int) -> Run:
    """Trains as torchvision's own examples do."""
    seeds, settings = derive_seeds(params.seed, seed), params.classifier
    channels, side = data.images.shape[1:3]
    dataset = PillowImages(data.images, data.labels, _transform(policy, params, channels, side))
    random = torch.Generator().manual_seed(seeds.order)
    started = time.process_time()
    sampler = RandomSampler(dataset, num_samples=settings.steps * settings.batch_size, generator=random)
    batches = DataLoader(dataset, settings.batch_size, sampler=sampler)
    model = build_classifier(settings.kind, channels, side, CLASSES, settings.width, seeds.initialisation)
    torch.manual_seed(seeds.augmentation)
    _train(model, batches, settings)
    return Run(time.process_time() - started, _accuracy(model, data))


def _train(model: nn.Module, batches: DataLoader[tuple[Tensor, int]], settings: ClassifierParams) -> None:
    optimizer, schedule = make_optimizer(model, settings, settings.steps)
    for images, labels in batches:
        loss = functional.cross_entropy(model(images), labels, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _transform(policy: str, params: TrainDownstreamParams, channels: int, side: int) -> v2.Transform:
    """The policy for one PIL image, which becomes float32 (C, H, W) in [-1, 1]."""
    figures, bilinear = params.classic, v2.InterpolationMode.BILINEAR
    if policy == "classic":
        shift, scale = (figures.translation_pixels / side,) * 2, (1 - figures.zoom, 1 + figures.zoom)
        steps = [
            v2.RandomAffine(figures.rotation_degrees, shift, scale, interpolation=bilinear),
            v2.ColorJitter(figures.brightness, figures.contrast),
        ]
    else:

        def shift_by_parts(image: Image.Image) -> Image.Image:
            """RandomAffine would round to whole pixels."""
            pixels = torch.empty(2).uniform_(-figures.translation_pixels, figures.translation_pixels).tolist()
            return v2.functional.affine(image, 0, pixels, 1, [0, 0], interpolation=bilinear)

        steps = [shift_by_parts, v2.RandAugment(params.randaugment.num_ops, params.randaugment.magnitude)]
    half = [0.5] * channels
    return v2.Compose([*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(half, half)])


def _accuracy(model: nn.Module, data: Set) -> float:
    right = predict(model, data.test_images).argmax(dim=1) == data.test_labels
    return float(right.float().mean())


def _digits() -> Set:
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    levels = np.rint(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    images, others = torch.from_numpy(levels).tensor_split([TRAINING_DIGITS])
    labels, other_labels = torch.from_numpy(digits[order]).tensor_split([TRAINING_DIGITS])
    return Set("digits", images, labels, others, other_labels)


def _noise() -> Set:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (TRAINING_DIGITS, 3, 32, 32), generator=random).to(torch.uint8)
    labels = torch.arange(TRAINING_DIGITS) % CLASSES
    return Set("noise", images, labels, images[:0], labels[:0])


if __name__ == "__main__":
    main()
