"""Arms in words: distinct where arms differ, without keys, and explained."""

from itertools import chain

import pytest

from stages.comparison.arm_words import arm_words, glossary, maker_words
from stages.downstream.params import ArmParams
from stages.generators.params import GeneratorParams
from stages.plumbing.params import Params, load
from stages.presets import PRESETS, read
from tests.downstream.conftest import arm

NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))
GENERATORS = {
    "a": GeneratorParams(kind="projection", path="data/raw/none", labels="class"),
    "b": GeneratorParams(kind="gaussian", path="data/raw/none", labels="class"),
}


@pytest.fixture(scope="module", params=NAMES)
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Params:
    path = tmp_path_factory.mktemp("preset") / "params.yaml"
    path.write_text((PRESETS / "base.yaml").read_text() if request.param == "base" else read(request.param))
    return load(path)


def words(**changes: object) -> str:
    return arm_words(ArmParams.model_validate(arm(**changes)), GENERATORS)


def test_arms_of_a_preset_have_different_words_without_any_key(preset: Params) -> None:
    arms = preset.train_downstream.arms
    said = {name: arm_words(arm, preset.train_gan.generators) for name, arm in arms.items()}
    assert len(set(said.values())) == len(said), said
    keys = {*(name for name in (*arms, *preset.train_gan.generators) if "_" in name), "data/", "synthetic_share", "{"}
    assert not [(key, each) for key in sorted(keys) for each in said.values() if key in each]


def test_the_words_are_the_field_s() -> None:
    gan = {"images": "data/filter_memorized/a", "settings": [{"synthetic_share": 0.5}, {"synthetic_share": 0.75}]}
    alone = {"images": "data/filter_memorized/b", "real": False, "settings": [{"synthetic_share": 1.0}]}
    fixmatch = {"settings": [{"fixmatch_threshold": 0.6, "unlabelled_share": 0.5}]}
    assert words() == "classic augmentation"
    assert words(labels={"per_class": 5}) == "classic augmentation, 5 labels per class"
    assert words(**gan) == "GAN images + classic augmentation"
    assert words(**gan, balancing="synthetic") == "GAN images for rare classes + classic augmentation"
    assert words(**alone) == "Gaussian images alone"
    either = [{"synthetic_share": 1.0, "generator": name} for name in ("a", "b")]
    assert words(images="data/filter_memorized", real=False, settings=either) == "GAN or Gaussian images alone"
    assert words(settings=[{"pool_share": 0.8, "teacher": "ensemble"}]) == "pseudo-labels"
    assert words(**fixmatch, augment="randaugment") == "FixMatch"
    pretrained = {"backbone": {"name": "tf_efficientnet_lite0", "size": 96, "weights": "package"}}
    assert words(**pretrained, settings=[{"weight_decay": 0.1}]) == "pretrained network + classic augmentation"
    tuned = [{"weight_decay": 0.1, "fine_tuning_rate": 0.001}]
    assert words(**pretrained, settings=tuned) == "fine-tuned network + classic augmentation"
    on_gan = gan | {"settings": [{"synthetic_share": 0.5, "weight_decay": 0.1}]}
    assert words(**pretrained, **on_gan) == "GAN images + pretrained network + classic augmentation"
    assert words(**fixmatch, augment="trivialaugment") == "FixMatch + TrivialAugment"


def test_the_words_under_domain_shift() -> None:
    adapted = {"batch_norm": "target"}
    pool, own = {"pool_share": 0.8, "teacher": "classifier"}, {"fixmatch_threshold": 0.6, "unlabelled_share": 0.5}
    curves, randaugment = {"augment": "tone_curves"}, {"augment": "randaugment"}
    assert words(**adapted) == "classic augmentation + adapted batch norm"
    assert words(**adapted, **curves) == "random tone curves + adapted batch norm"
    assert words(settings=[{"style": "histogram"}]) == "histogram matching"
    assert words(settings=[{"style": "histogram"}, {"style": "fourier"}]) == "style matching"
    assert words(settings=[{"coral_weight": 0.1}], **curves) == "CORAL + random tone curves"
    assert words(settings=[{"dann_weight": 0.1}], **adapted) == "DANN + adapted batch norm"
    assert words(settings=[pool | {"rounds": 3}]) == "self-training, 3 rounds"
    assert words(settings=[pool, pool | {"rounds": 3}]) == "self-training, up to 3 rounds"
    assert words(settings=[own | {"more_rounds": 1}], **randaugment) == "FixMatch, then one more round"
    assert words(settings=[own, own | {"more_rounds": 2}], **randaugment) == "FixMatch, then up to 2 more rounds"
    gan = {"images": "data/filter_memorized/a", "settings": [{"synthetic_share": 0.5, "more_rounds": 1}]}
    assert words(**gan) == "GAN images, then one more round + classic augmentation"


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "none"},
        {"augment": "cutmix"},
        {"augment": "tone_curves"},
        {"batch_norm": "target"},
        {"settings": [{"style": "fourier"}]},
        {"settings": [{"coral_weight": 1}]},
        {"settings": [{"dann_weight": 1}]},
        {"balancing": "oversampling"},
        {"balancing": "class_weights"},
        {"labels": {"per_class": 5}},
        {"settings": [{"other_seeds": 1}]},
        {"settings": [{"duplicated_share": 0.5}]},
        {"settings": [{"pasted_share": 0.5}]},
        {"images": "data/filter_memorized/a", "settings": [{"synthetic_share": 0.5}]},
        {"images": "data/filter_memorized/b", "settings": [{"synthetic_share": 0.5}]},
    ],
    ids=str,
)
def test_what_an_arm_does_otherwise_is_heard(changes: dict[str, object]) -> None:
    assert words(**changes) != words()


@pytest.mark.parametrize(
    "setting",
    [{"shuffled_labels": True}, {"filter": {"by": "confidence", "keep": 0.8}}],
    ids=lambda each: next(iter(each)),
)
def test_what_is_done_with_generated_images_is_heard(setting: dict[str, object]) -> None:
    share = {"synthetic_share": 0.5}
    plain, changed = (words(images="data/filter_memorized/a", settings=[each]) for each in (share, share | setting))
    assert plain != changed


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "tone_curves"},
        {"batch_norm": "target", "augment": "none"},
        *({"settings": [{"style": style}]} for style in ("histogram", "fourier", "tone_curve")),
        {"settings": [{"style": "histogram"}, {"style": "fourier"}]},
        {"settings": [{"coral_weight": 1}]},
        {"settings": [{"dann_weight": 1}]},
        {"settings": [{"pool_share": 0.8, "teacher": "classifier", "rounds": 2}]},
    ],
    ids=str,
)
def test_rivals_under_domain_shift_are_explained(changes: dict[str, object]) -> None:
    assert glossary([words(**changes)])


def test_generators_of_one_kind_are_numbered() -> None:
    kinds = {"wide": "projection", "narrow": "projection", "control": "gaussian"}
    assert [maker_words(name, kinds) for name in kinds] == ["GAN 1", "GAN 2", "Gaussian"]


def test_the_glossary_explains_what_is_said_in_four_lines(preset: Params) -> None:
    arms = [arm_words(arm, preset.train_gan.generators) for arm in preset.train_downstream.arms.values()]
    lines = glossary(arms)
    terms = [term for term, _ in chain(*lines)]
    assert 1 <= len(lines) <= 4
    assert all(any(term in arm for arm in arms) for term in terms)
    unexplained = [arm for arm in arms if arm != "no augmentation" and not any(term in arm for term in terms)]
    assert not unexplained
