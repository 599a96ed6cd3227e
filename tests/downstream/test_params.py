"""The schema lets possible arms in and says clearly what is wrong with impossible ones."""

from typing import Any

import pytest
from pydantic import ValidationError

from stages.downstream.params import ArmParams, TrainDownstreamParams

SYNTHETIC = {"images": "data/filter_memorized/gan"}
BACKBONE = {"name": "tf_efficientnet_lite0", "size": 96, "weights": "package"}
FIXMATCH = {"fixmatch_threshold": 0.8, "unlabelled_share": 0.5}

ALONE = {"synthetic_share": 1.0}

IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    (
        "a generator beside the one of the images",
        {"images": "data/filter_memorized/gan", "real": False, "settings": [ALONE | {"generator": "gan"}]},
        "set images: data/filter_memorized ",
    ),
    (
        "all generators at once",
        {"images": "data/filter_memorized", "real": False, "settings": [ALONE, ALONE | {"generator": "gan"}]},
        "every setting must name its generator",
    ),
    ("share without images", {"settings": [{"synthetic_share": 0.5}]}, "needs images: data/filter_memorized"),
    ("images without share", SYNTHETIC, "every setting must state synthetic_share"),
    (
        "pool beside synthetic",
        SYNTHETIC | {"settings": [{"pool_share": 0.5, "teacher": "classifier"}]},
        "every setting must state",
    ),
    ("all synthetic, yet real", SYNTHETIC | {"settings": [{"synthetic_share": 1}]}, "contradicts real: true"),
    (
        "a pool, yet no real",
        SYNTHETIC | {"real": False, "settings": [{"synthetic_share": 1, "more_rounds": 1}]},
        "more_rounds: 1 trains on the pool's real images",
    ),
    ("half, yet no real", SYNTHETIC | {"real": False, "settings": [{"synthetic_share": 0.5}]}, "contradicts real"),
    ("nothing to train on", {"real": False}, "leaves nothing to train on"),
    (
        "generated images on a budget",
        SYNTHETIC | {"labels": {"per_class": 3}, "settings": [{"synthetic_share": 0.5}]},
        "the generator of data/filter_memorized/gan used all labels",
    ),
    (
        "choice on a budget",
        {
            "labels": {"per_class": 3},
            "settings": [{"pool_share": 0.5, "teacher": "classifier"}, {"pool_share": 1, "teacher": "classifier"}],
        },
        "one setting is allowed, not 2",
    ),
    ("no settings", {"settings": []}, "at least 1 item"),
    (
        "five settings",
        {"settings": [{"pool_share": i / 10, "teacher": "classifier"} for i in range(1, 6)]},
        "at most 4 items",
    ),
    ("twice the same", {"settings": [{"pool_share": 0.5, "teacher": "classifier"}] * 2}, "settings must differ"),
    ("share of zero", {"settings": [{"pool_share": 0, "teacher": "classifier"}]}, "greater than 0"),
    (
        "both kinds",
        {"settings": [{"pool_share": 0.5, "teacher": "classifier", "synthetic_share": 0.5}]},
        "Extra inputs",
    ),
    ("unknown setting", {"settings": [{"pool_shar": 0.5}]}, "Extra inputs"),
    ("setting no mapping", {"settings": ["pool_share"]}, "dictionary"),
    (
        "unknown policy",
        {"augment": "cutout"},
        "'none', 'classic', 'randaugment', 'trivialaugment', 'tone_curves', 'mixup' or 'cutmix'",
    ),
    ("unknown balancing", {"balancing": "smote"}, "'none', 'oversampling', 'class_weights' or 'synthetic'"),
    ("topping up with nothing", {"balancing": "synthetic"}, "tops up rare classes"),
    ("no labels of a class", {"labels": {"per_class": 0}}, "greater than or equal to 1"),
    ("unknown labels", {"labels": "train"}, "Input should be 'all'"),
    ("weak FixMatch", {"settings": [FIXMATCH]}, "needs a strong policy, augment: randaugment or trivialaugment"),
    (
        "weighted FixMatch",
        {"settings": [FIXMATCH], "augment": "randaugment", "balancing": "class_weights"},
        "cannot weight classes",
    ),
    (
        "unknown filter",
        SYNTHETIC | {"settings": [{"synthetic_share": 0.5, "filter": {"by": "luck", "keep": 0.5}}]},
        "'confidence'",
    ),
    ("weight of zero", SYNTHETIC | {"settings": [{"synthetic_share": 0.5, "loss_weight": 0}]}, "greater than 0"),
    ("unfiltered images", {"images": "data/generate/gan"}, "data/.prepare|filter_memorized/"),
    ("unknown field", {"weight": 1}, "Extra inputs"),
    ("a head on nothing", {"settings": [{"weight_decay": 0.1}]}, "state the arm's backbone too"),
    (
        "fine-tuning without a head's start",
        SYNTHETIC | {"backbone": BACKBONE, "settings": [{"synthetic_share": 0.5, "fine_tuning_rate": 0.001}]},
        "every setting must be {weight_decay: 0.1}",
    ),
    ("a backbone without head", {"backbone": BACKBONE}, "every setting must be {weight_decay: 0.1}"),
    (
        "a backbone that learns",
        {"backbone": BACKBONE, "settings": [FIXMATCH], "augment": "randaugment"},
        "every setting must be {weight_decay: 0.1}",
    ),
    (
        "mixed features",
        {"backbone": BACKBONE, "settings": [{"weight_decay": 0.1}], "augment": "mixup"},
        "a head is fitted to single images",
    ),
    (
        "a backbone of stamps",
        {"backbone": BACKBONE | {"size": 16}, "settings": [{"weight_decay": 0.1}]},
        "greater than or equal to 32",
    ),
]


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in IMPOSSIBLE], ids=[row[0] for row in IMPOSSIBLE])
def test_impossible_arms_are_refused(arm, changes, words):
    with pytest.raises(ValidationError, match=words):
        ArmParams.model_validate(arm(**changes))


def test_possible_arms_are_let_in(section):
    checked = TrainDownstreamParams.model_validate(section())
    assert [name for name, one in checked.arms.items() if one.adds_synthetic] == [
        "gan",
        "synthetic_only",
        "gan_balanced",
        "gan_filtered",
        "gan_soft",
        "shuffled_labels",
    ]
    assert {tuple(one.generators) for one in checked.arms.values()} == {("gan",), ()}


def test_an_arm_that_chooses_a_generator_is_one_arm_for_each(arm):
    wanted = [("gan", 0.5), ("gan", 1.0), ("gaussian", 1.0)]
    settings = [ALONE | {"generator": name, "loss_weight": weight} for name, weight in wanted]
    checked = ArmParams.model_validate(arm(images="data/filter_memorized", real=False, settings=settings))
    assert checked.generators == ["gan", "gaussian"]
    parts = checked.by_generator()
    assert [(*part.generators, setting.loss_weight) for part in parts for setting in part.settings] == wanted
    assert all(ArmParams.model_validate(part.model_dump(exclude_unset=True)) == part for part in parts)
    plain = ArmParams.model_validate(arm())
    assert plain.by_generator() == [plain]


@pytest.mark.parametrize(
    ("changes", "checkpoints", "chooses"),
    [
        ({}, 1, False),
        ({}, 2, True),
        ({"settings": [{"pool_share": 0.5, "teacher": "ensemble"}, {}]}, 1, True),
        ({"labels": {"per_class": 3}}, 2, False),
    ],
)
def test_an_arm_chooses_where_there_is_something_to_choose(arm, changes, checkpoints, chooses):
    assert ArmParams.model_validate(arm(**changes)).chooses(checkpoints) == chooses


def test_every_field_must_be_stated(arm):
    for field in arm():
        with pytest.raises(ValidationError, match=rf"{field}\n\s+Field required"):
            ArmParams.model_validate({key: value for key, value in arm().items() if key != field})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (SYNTHETIC | {"settings": [{"synthetic_share": 0.01}]}, r"arms.one: a share of 0.01 of batch_size: 16 is 0"),
        ({"settings": [{"duplicated_share": 0.99}]}, "a share of 0.99 of batch_size: 16 is 16 images"),
        ({"augment": "randaugment", "settings": [FIXMATCH | {"unlabelled_share": 0.02}]}, "a share of 0.02"),
    ],
)
def test_a_batch_must_have_room_for_both_kinds_of_images(arm, section, changes, words):
    with pytest.raises(ValidationError, match=words):
        TrainDownstreamParams.model_validate(section(arms={"one": arm(**changes)}))


def test_no_more_checkpoints_than_steps(section):
    classifier = section()["classifier"] | {"checkpoints": 31}
    with pytest.raises(ValidationError, match="checkpoints: 31 are more than steps: 30"):
        TrainDownstreamParams.model_validate(section(classifier=classifier))


@pytest.mark.parametrize("name", ["", "Gan", "../gan", "gan classic"])
def test_arm_names_are_folder_names(arm, section, name):
    with pytest.raises(ValidationError, match="pattern"):
        TrainDownstreamParams.model_validate(section(arms={name: arm()}))


def test_no_arms_are_refused(section):
    with pytest.raises(ValidationError, match="at least 1 item"):
        TrainDownstreamParams.model_validate(section(arms={}))
