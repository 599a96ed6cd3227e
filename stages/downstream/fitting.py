"""One training of an arm: the classifier on one replicate, by one setting."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from stages.downstream.alignment import Term, train_aligned
from stages.downstream.arm_data import ArmData, Labelled, labelled_images
from stages.downstream.augment import Policy, build_policy, on_first
from stages.downstream.batches import Part, compose, real_parts
from stages.downstream.calibration import draw_calibrated
from stages.downstream.coral import CovarianceTerm
from stages.downstream.dann import DomainCritic
from stages.downstream.domains import Domains
from stages.downstream.fixmatch import train_fixmatch
from stages.downstream.heads import fit_head, nearest_mean
from stages.downstream.many_shot import ManyShot, body_of, many_shot
from stages.downstream.mixing import build_mixing
from stages.downstream.params import (
    ALIGNED_SHARE,
    ArmParams,
    Calibrated,
    Coral,
    Dann,
    FixMatch,
    Head,
    NearestMean,
    OtherSeeds,
    Setting,
    Synthetic,
    TrainDownstreamParams,
)
from stages.downstream.pixel_delta import with_deltas
from stages.downstream.sampling import draw_order
from stages.downstream.training import (
    Examples,
    Seeds,
    Trained,
    Validate,
    derive_seeds,
    predict,
    targets_of,
    train_classifier,
)
from stages.imaging.backbones import open_backbone
from stages.imaging.networks import in_batches
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.pool import Guesses

GuessPool = Callable[[], Guesses]  # the ensemble's labels of the pool
AT_ONCE = 1000  # images that are augmented together, or a few more: of 128 pixels in colour, 200 MB
LOOKS = 2500  # images that a backbone's features are taken of, once
PLAIN = 1 / 5  # of these are not augmented, as what is predicted on: on red cells that gains 2 points


@dataclass(frozen=True)
class Bench:
    """One arm on one replicate, to choose by or in its final run: what all its settings share."""

    arm: ArmParams
    data: ArmData
    params: TrainDownstreamParams
    replicate: int
    guess_pool: GuessPool
    final: bool

    @cached_property
    def labelled(self) -> Labelled:
        """The real images with labels, which exist even where the arm itself trains on synthetic ones alone."""
        return labelled_images(self.arm, self.data, self.final, self.seeds.order)

    @property
    def real(self) -> Labelled | None:
        """Those of them that the arm trains on."""
        return self.labelled if self.arm.real else None

    @cached_property
    def seeds(self) -> Seeds:
        """Shared by all arms of a replicate, so that these are paired."""
        return derive_seeds(self.params.seed, self.replicate)

    @cached_property
    def many_shot(self) -> ManyShot:
        """Labelled images of the classes with many of them."""
        return many_shot(self.data.seen, self.labelled)

    @cached_property
    def backbone(self) -> nn.Module:
        """The arm's, frozen, on the device of the images."""
        if self.arm.backbone == "many_shot":
            return _learned_backbone(self)
        given = self.arm.pretrained
        assert given is not None
        return open_backbone(given.name, given.size, given.weights).to(self.data.test_images.device)

    @cached_property
    def seen_by_backbone(self) -> dict[Setting, tuple[Tensor, Tensor]]:
        """Features (N, F) and targets (N, K) by setting, which all weight decays and rates share."""
        return {}

    def validate(self, model: nn.Module) -> float:
        """Balanced accuracy on `validation`, by which an arm chooses."""
        return balanced_accuracy(predict(model, self.data.seen.validation_images), self.data.seen.validation_labels)


def fit_setting(
    setting: Setting, parts: Sequence[Part], bench: Bench, validate: Validate | None = None, stop: int | None = None
) -> Trained:
    """validate, stop: see `train_classifier`."""
    match setting:
        case NearestMean():
            return _fit_nearest_mean(setting, parts, bench)
        case Calibrated():
            return _fit_head(setting, parts, bench)
        case Head(weight_decay=float()) | Synthetic(weight_decay=float()):
            headed = _fit_head(setting, parts, bench)
            rate = setting.fine_tuning_rate
            return headed if rate is None else fine_tuned(headed.model, rate, parts, bench, validate, stop)
        case FixMatch(more_rounds=0):
            return _fit_fixmatch(setting, bench, validate, stop)
        case Coral() | Dann():
            return _fit_aligned(setting, bench, validate, stop)
        case OtherSeeds():
            seeds = derive_seeds(bench.params.seed + setting.other_seeds, bench.replicate)
            return fit(parts, bench, seeds, validate, stop)
    return fit(parts, bench, bench.seeds, validate, stop)


def fit(
    parts: Sequence[Part],
    bench: Bench,
    seeds: Seeds,
    validate: Validate | None = None,
    stop: int | None = None,
    start: nn.Sequential | None = None,
) -> Trained:
    """Trains on batches with a fixed number of images of each part; validate, stop, start: see `train_classifier`."""
    return train_classifier(
        *composed(parts, bench, seeds),
        policy_of(parts, bench, bench.params.classifier.batch_size),
        build_mixing(bench.arm.augment),
        bench.params.classifier,
        seeds,
        validate,
        stop,
        _domains(parts, bench),
        start,
    )


def fine_tuned(
    headed: nn.Sequential,
    rate: float,
    parts: Sequence[Part],
    bench: Bench,
    validate: Validate | None = None,
    stop: int | None = None,
) -> Trained:
    """The backbone learns too, `classifier.steps` at this learning rate, once its head has been fitted.

    A head of random weights would distort the features before it knows anything (Kumar et al., "Fine-Tuning can Distort
    Pretrained Features and Underperform Out-of-Distribution", 2022). Batch norm keeps the statistics that it came with.
    validate, stop: see `train_classifier`.
    """
    slow = bench.params.classifier.model_copy(update={"learning_rate": rate})
    params = bench.params.model_copy(update={"classifier": slow})
    whole = deepcopy(headed).requires_grad_(True)  # other settings start from the backbone as it is
    return fit(parts, replace(bench, params=params), bench.seeds, validate, stop, whole)


def _fit_fixmatch(setting: FixMatch, bench: Bench, validate: Validate | None, stop: int | None) -> Trained:
    params, seen, seeds = bench.params, bench.data.seen, bench.seeds
    parts, drawn = _with_pool(setting.unlabelled_share, bench)
    weak, across = build_policy("classic", params, seen.flip_ok), seen.from_source is not None
    made_up = across and bench.arm.augment == "tone_curves"
    return train_fixmatch(
        *composed(parts, bench, seeds),
        seen.unlabelled,
        drawn,
        policy_of(parts, bench, sum(part.places for part in parts)) if across else weak,
        weak,
        build_policy("randaugment" if made_up else bench.arm.augment, params, seen.flip_ok),
        params.classifier,
        setting.fixmatch_threshold,
        seeds,
        validate,
        stop,
        _domains(parts, bench),
        across,
    )


def _fit_head(setting: Head | Synthetic | Calibrated, parts: Sequence[Part], bench: Bench) -> Trained:
    """A head on the features of what the network of other arms would be shown first, augmented as there."""
    assert setting.weight_decay is not None  # by the schema
    features, targets = _seen(setting, parts, bench)
    if isinstance(setting, Calibrated):
        features = _calibrated(features, targets.argmax(dim=1), setting.calibration_spread, bench)
    head, loss, iterations = fit_head(features, targets, setting.weight_decay)
    model = nn.Sequential(bench.backbone, head).eval()
    return Trained(model, [{"step": iterations, "loss": loss}], iterations)


def _fit_nearest_mean(setting: NearestMean, parts: Sequence[Part], bench: Bench) -> Trained:
    features, targets = _seen(setting, parts, bench)
    head = nearest_mean(features, targets.argmax(dim=1), bench.data.seen.classes)
    return Trained(nn.Sequential(bench.backbone, head).eval(), [], 1)


def _calibrated(features: Tensor, labels: Tensor, spread: float, bench: Bench) -> Tensor:
    """The features, with draws in place of every second one of few-shot classes."""
    rows = torch.isin(labels, bench.data.seen.few_shot.to(labels.device)).nonzero().squeeze(1)[1::2]
    many, random = bench.many_shot, torch.Generator(features.device).manual_seed(bench.seeds.augmentation)
    known = many.by_class(in_batches(bench.backbone, many.images))
    drawn = features.clone()
    drawn[rows] = draw_calibrated(features[rows], known, spread, random)
    return drawn


def _learned_backbone(bench: Bench) -> nn.Module:
    """What a classifier of the many-shot classes sees, trained as long as any, on all of them alike, augmented as the
    arm's own images."""
    many, params, seeds = bench.many_shot, bench.params, bench.seeds
    places, steps, classes = params.classifier.batch_size, params.classifier.steps, many.classes
    targets = one_hot(many.labels, classes).float().to(many.images.device)
    examples = Examples(many.images, targets, torch.ones(len(many.labels), device=many.images.device))
    generator = torch.Generator().manual_seed(seeds.order)
    order = draw_order(many.labels, steps * places, torch.ones(classes), generator).view(steps, places)
    policy = build_policy(bench.arm.augment, params, bench.data.seen.flip_ok)
    classifier = train_classifier(examples, order, policy, None, params.classifier, seeds).model
    return body_of(classifier).requires_grad_(False).eval()


def _seen(
    setting: Head | Synthetic | Calibrated | NearestMean, parts: Sequence[Part], bench: Bench
) -> tuple[Tensor, Tensor]:
    """Features (N, F) of what the network of other arms is shown first, augmented as there, and targets (N, K)."""
    added = isinstance(setting, Synthetic)
    key = setting.model_copy(update={"weight_decay": 1.0, "fine_tuning_rate": None}) if added else Head()
    if key not in bench.seen_by_backbone:
        looks = shown(parts, bench, LOOKS, round(PLAIN * LOOKS))
        targets = targets_of(looks, bench.params.classifier.label_smoothing)
        different, places = looks.images.unique(dim=0, return_inverse=True)  # without augmentation there are few
        bench.seen_by_backbone[key] = (in_batches(bench.backbone, different)[places], targets)
    return bench.seen_by_backbone[key]


def shown(parts: Sequence[Part], bench: Bench, count: int, plain: int = 0) -> Examples:
    """The first `count` images that a network is shown, augmented as there, but never mixed; on their device.

    The first `plain` of them are left as they are.
    FixMatch's guesses are the network's own: of the pool, others see nothing.
    """
    params, seeds = bench.params, bench.seeds
    examples, order = composed(parts, bench, seeds)
    rows, device = order.flatten()[:count], examples.images.device
    augment = policy_of(parts, bench, params.classifier.batch_size)
    generator = torch.Generator(device).manual_seed(seeds.augmentation)
    whole_batches = -(-AT_ONCE // params.classifier.batch_size) * params.classifier.batch_size
    images = torch.cat([
        to_bytes(augment(to_network_range(examples.images[some]), generator)) for some in rows.split(whole_batches)
    ])  # fmt: skip
    images[:plain] = examples.images[rows[:plain]]
    return Examples(images, examples.probabilities[rows], examples.weights[rows])


def _fit_aligned(setting: Coral | Dann, bench: Bench, validate: Validate | None, stop: int | None) -> Trained:
    params, seen, seeds = bench.params, bench.data.seen, bench.seeds
    parts, drawn = _with_pool(ALIGNED_SHARE, bench)
    return train_aligned(
        *composed(parts, bench, seeds),
        _of_source(parts),
        seen.unlabelled,
        drawn,
        policy_of(parts, bench, params.classifier.batch_size),
        _term_of(setting, seeds),
        params.classifier,
        seeds,
        validate,
        stop,
        _domains(parts, bench),
    )


def _term_of(setting: Coral | Dann, seeds: Seeds) -> Callable[[int], Term]:
    if isinstance(setting, Coral):
        return lambda _features: CovarianceTerm(setting.coral_weight)
    return lambda features: DomainCritic(setting.dann_weight, features, seeds.initialisation)


def _with_pool(share: float, bench: Bench) -> tuple[list[Part], Tensor]:
    """Batches of which so much are images of the pool: their labelled images, and the order (steps, M) of the pool."""
    steps, places = bench.params.classifier.steps, bench.params.classifier.batch_size
    drawn = round(share * places)
    pool_labels = torch.zeros(len(bench.data.seen.unlabelled), dtype=torch.int64)  # unknown: all are drawn alike
    generator = torch.Generator().manual_seed(bench.seeds.order)
    order = draw_order(pool_labels, steps * drawn, None, generator).view(steps, drawn)
    return real_parts(bench.labelled, places - drawn), order


def policy_of(parts: Sequence[Part], bench: Bench, batch: int) -> Policy:
    """What the arm's policy does to every `batch` images that begin with the source's among the parts.

    Tone curves make up scanners that were never seen. The target's images already are what they should prepare for, and
    get the geometry alone (in FixMatch, the strong policy of the pool then is RandAugment).
    """
    policy, classic = (
        build_policy(name, bench.params, bench.data.seen.flip_ok) for name in (bench.arm.augment, "classic")
    )
    if bench.arm.augment == "pixel_delta":
        return with_deltas(classic, bench.many_shot)
    if bench.data.seen.from_source is None or bench.arm.augment != "tone_curves":
        return policy
    return on_first(_of_source(parts), batch, policy, classic)


def _of_source(parts: Sequence[Part]) -> int:
    """How many images of each batch are of the source; they come first."""
    return sum(part.places for part in parts if not part.of_target)


def _domains(parts: Sequence[Part], bench: Bench) -> Domains | None:
    """How batches of these parts go through batch norm."""
    return None if bench.arm.batch_norm == "joint" else Domains(_of_source(parts), bench.data.seen.unlabelled)


def composed(parts: Sequence[Part], bench: Bench, seeds: Seeds) -> tuple[Examples, Tensor]:
    return compose(parts, bench.arm, bench.params.classifier.steps, bench.data.seen.classes, seeds.order)


def balanced_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean over the classes that are there of the share predicted right (sklearn's `balanced_accuracy_score`)."""
    labels = labels.cpu()
    right = (probabilities.argmax(dim=1) == labels).double()
    return float(torch.stack([right[labels == label].mean() for label in labels.unique()]).mean())
