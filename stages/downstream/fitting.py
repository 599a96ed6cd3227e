"""One training of an arm: the classifier on one replicate, by one setting."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.downstream.alignment import Term, train_aligned
from stages.downstream.arm_data import ArmData, Labelled, few_of, labelled_images, other_classes
from stages.downstream.augment import Policy, build_policy, on_first
from stages.downstream.batches import Part, compose, real_parts
from stages.downstream.coral import CovarianceTerm
from stages.downstream.dann import DomainCritic
from stages.downstream.domains import Domains
from stages.downstream.few_shot import Tukey, calibrated, nearest_mean
from stages.downstream.fixmatch import train_fixmatch
from stages.downstream.heads import fit_head
from stages.downstream.mixing import build_mixing
from stages.downstream.params import (
    ALIGNED_SHARE,
    ArmParams,
    Coral,
    Dann,
    FewShotHead,
    FixMatch,
    Head,
    OtherSeeds,
    Setting,
    Synthetic,
    TrainDownstreamParams,
)
from stages.downstream.sampling import class_weights, draw_order
from stages.downstream.training import (
    Examples,
    Seeds,
    Trained,
    Validate,
    derive_seeds,
    targets_of,
    train_classifier,
)
from stages.imaging.backbones import Backbone, open_backbone
from stages.imaging.networks import in_batches, predict
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.pool import Guesses

GuessPool = Callable[[], Guesses]  # the ensemble's labels of the pool
AT_ONCE = 1000  # images that are augmented together, or a few more: of 128 pixels in colour, 200 MB
LOOKS = 2500  # images that a backbone's features are taken of, once
FEW_SHOT_DECAY = 0.1  # weight decay of the heads for few-shot classes that are fitted
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
    def backbone(self) -> Backbone:
        """The arm's, on the device of the images."""
        given = self.arm.backbone
        assert given is not None
        return open_backbone(given.name, given.size, given.weights).to(self.data.test_images.device)

    @cached_property
    def many_shot_body(self) -> nn.Sequential:
        """All but the last layer of the arm's classifier, trained on the classes with many labels alone, and on other
        classes, where there are any; frozen."""
        seen, others = self.data.seen, other_classes(self.data.seen)
        few = torch.tensor(few_of(seen))
        rows = (~few[self.labelled.labels]).nonzero().squeeze(1)
        images = self.labelled.images[rows.to(self.labelled.images.device)]
        many = Labelled(images, self.labelled.labels[rows], self.labelled.of_target[rows])
        bench = self
        if len(others.labels):
            wider = replace(seen, classes=int(others.labels.max()) + 1)
            bench, many = replace(self, data=replace(self.data, seen=wider)), many.beside(others)
        trained = fit(real_parts(many, self.params.classifier.batch_size), bench, self.seeds)
        return trained.model[:-1].requires_grad_(False)

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
        case Head(weight_decay=float()) | Synthetic(weight_decay=float()):
            headed = _fit_head(setting, parts, bench)
            rate = setting.fine_tuning_rate
            return headed if rate is None else fine_tuned(headed.model, rate, parts, bench, validate, stop)
        case FewShotHead():
            return _fit_few_shot(setting, parts, bench)
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


def _fit_head(setting: Head | Synthetic, parts: Sequence[Part], bench: Bench) -> Trained:
    """A head on the features of what the network of other arms would be shown first, augmented as there."""
    assert setting.weight_decay is not None  # by the schema
    key = setting.model_copy(update={"weight_decay": 1.0, "fine_tuning_rate": None})
    if key not in bench.seen_by_backbone:
        bench.seen_by_backbone[key] = _looks(bench.backbone, parts, bench)
    return _headed([bench.backbone], *bench.seen_by_backbone[key], setting.weight_decay)


def _looks(body: nn.Module, parts: Sequence[Part], bench: Bench) -> tuple[Tensor, Tensor]:
    """Features (LOOKS, F) and targets (LOOKS, K) of what the network of other arms would be shown first."""
    looks = shown(parts, bench, LOOKS, round(PLAIN * LOOKS))
    targets = targets_of(looks, bench.params.classifier.label_smoothing)
    different, places = looks.images.unique(dim=0, return_inverse=True)  # without augmentation there are few
    return in_batches(body, different)[places], targets


def _headed(body: Sequence[nn.Module], features: Tensor, targets: Tensor, weight_decay: float) -> Trained:
    """The body's layers with the head that is fitted to what they see."""
    head, loss, iterations = fit_head(features, targets, weight_decay)
    return Trained(nn.Sequential(*body, head).eval(), [{"step": iterations, "loss": loss}], iterations)


def _fit_few_shot(setting: FewShotHead, parts: Sequence[Part], bench: Bench) -> Trained:
    """A head for all classes on the backbone's features, or on those of a network that learned the many-shot ones."""
    few, classes = few_of(bench.data.seen), bench.data.seen.classes
    body: list[nn.Module] = [bench.backbone] if bench.arm.backbone else list(bench.many_shot_body)
    if setting.head == "logistic":
        return _headed(body, *_looks(nn.Sequential(*body), parts, bench), FEW_SHOT_DECAY)
    if setting.head == "calibrated":
        body.append(Tukey())
    features = in_batches(nn.Sequential(*body).eval(), bench.labelled.images)
    labels = bench.labelled.labels.to(features.device)
    if setting.head == "nearest_mean":
        head = nearest_mean(features, labels, classes)
        loss = float(functional.cross_entropy(head(features), labels))
        return Trained(nn.Sequential(*body, head).eval(), [{"step": 1, "loss": loss}], 1)
    others = other_classes(bench.data.seen)
    known = in_batches(nn.Sequential(*body), others.images) if len(others.labels) else features[:0]
    further = [known[(others.labels == label).to(known.device)] for label in others.labels.unique().tolist()]
    features, labels = calibrated(features, labels, few, bench.seeds.order, further)
    weights = class_weights(torch.bincount(labels, minlength=classes))[labels]
    targets = functional.one_hot(labels, classes) * weights.unsqueeze(1)
    return _headed(body, features, targets, FEW_SHOT_DECAY)


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
