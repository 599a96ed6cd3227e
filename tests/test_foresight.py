"""What would stop a later stage is told before any generator is trained."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages import foresight
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.generators import moments
from stages.imaging.distance import alignments
from stages.memorization.filtering import MemorizationFilter, Originals
from stages.plumbing import images, workdir
from stages.plumbing.dataset import CALIBRATION, MASKS, TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.plumbing.params import Params
from stages.sources.masks import as_table
from tests.conftest import DEFAULT_PARAMS, ROOT
from tests.generators.toy import toy_params

DEFAULTS = YAML(typ="safe", pure=True).load(DEFAULT_PARAMS)
CLASSES = ["cat", "dog"]
ENOUGH = {TRAIN: 10, VALIDATION: 10, CALIBRATION: 19, UNLABELLED_POOL: 30, TEST: 4}


def params(**changes: Any) -> Params:
    """The default ones, but for changes of dotted keys, written with double underscores."""
    values = copy.deepcopy(DEFAULTS)
    for key, value in changes.items():
        *above, last = key.split("__")
        section = values
        for part in above:
            section = section[part]
        section[last] = value
    return Params.model_validate(values)


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Dataset]:
    """A prepared set with so many images of each role, of both classes in turn, in each of two replicates."""

    def make(group_of: Callable[[int], str | None] = lambda _: None, shifted: bool = False, **sizes: int) -> Dataset:
        roles = [role for role, size in (ENOUGH | sizes).items() for _ in range(size)]
        count = len(roles)
        ids = np.array([f"{number:03d}" for number in range(count)])
        pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        groups = [group_of(number) for number in range(count)]
        images.write(tmp_path / "images.parquet", ImageSet(ids, pixels, np.arange(count) % 2, groups), CLASSES)
        table = {"id": [*ids, *ids], "replicate": np.repeat([0, 1], count), "role": [*roles, *roles]}
        images.write_table(tmp_path / "roles.parquet", pa.table(table))
        image = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": False}
        facts = {"name": "toy", "classes": CLASSES, "image": image, "replicates": 2, "shifted": shifted}
        workdir.write_json(tmp_path / "dataset.json", facts)
        return Dataset.open(tmp_path)

    return make


def problems(changed: Params, dataset: Dataset) -> list[str]:
    with pytest.raises(UserError) as caught:
        foresight.check(changed, dataset)
    first, *lines = str(caught.value).split("\n")
    assert first == "these would stop later stages, so none is begun:"
    return lines


def test_the_defaults_pass_where_there_is_enough_of_everything(prepared: Callable[..., Dataset]) -> None:
    foresight.check(params(), prepared())


def test_a_pyramid_of_too_many_scales_is_told(prepared: Callable[..., Dataset]) -> None:
    section = toy_params("single_image", scales=4).model_dump()
    (problem,) = problems(params(train_gan__generators__one=section), prepared())
    assert "train_gan.generators.one.scales: 4 leaves 2 x 2 of 8 x 8 pixels" in problem


@pytest.mark.parametrize(("cats", "told"), [(1, True), (2, False)])
def test_a_class_of_one_image_that_is_to_be_aligned_is_noted(
    prepared: Callable[..., Dataset], cats: int, told: bool
) -> None:
    """Images are of both classes in turn, the first ones for training."""
    sizes = {TRAIN: 2 * cats, VALIDATION: 0, UNLABELLED_POOL: 0}
    for align in (False, True):
        lines = foresight.notes(params(train_gan__generators__gaussian__align=align), prepared(**sizes))
        assert any("generators.gaussian.align" in line and "'cat', 'dog'" in line for line in lines) == (told and align)


@pytest.mark.parametrize(
    ("size", "layers", "refused"), [(32, "dense", False), (33, "dense", True), (33, "convolutional", False)]
)
def test_dense_layers_end_where_principal_components_tell_too_little(
    prepared: Callable[..., Dataset], size: int, layers: str, refused: bool
) -> None:
    changed = params(prepare__image__size=size, train_gan__generators__gan__layers=layers)
    if refused:
        (problem,) = problems(changed, prepared())
        assert "train_gan.generators.gan.layers: dense" in problem
        assert f"{moments.MOST_COMPONENTS} at most" in problem
        assert "kind: refined_gaussian" in problem
    else:
        foresight.check(changed, prepared())


@pytest.mark.parametrize(("device", "gpu", "told"), [("auto", True, 1), ("auto", False, 0), ("cpu", True, 0)])
def test_compiling_for_a_gpu_needs_triton(monkeypatch: pytest.MonkeyPatch, device: str, gpu: bool, told: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(foresight, "find_spec", lambda _: None)
    changed = params(train_gan__generators__gan__compile=True, train_gan__device=device)
    assert sum("Triton" in line for line in foresight._of_generators(changed)) == told


def test_too_few_replicates_for_any_difference_are_told_beforehand_with_the_number_that_can(
    prepared: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    few = foresight.notes(params(prepare__replicates=8), prepared())
    assert few[0].startswith("8 replicates cannot show any difference in stand_in, which compares 8 pairs")
    assert few[0].endswith("from prepare.replicates: 9 on they can")
    assert len(few) == 2
    (cost,) = foresight.notes(params(), prepared())
    assert "GiB of memory" in cost


def test_no_image_is_decoded(prepared: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = prepared()
    monkeypatch.delattr(images, "decode_png")
    foresight.check(params(), dataset)


@pytest.mark.parametrize(
    ("changes", "sizes", "words"),
    [
        ({}, {CALIBRATION: 18}, "alpha is 0.05, which needs at least 19 calibration images, but there are 18"),
        ({"filter_memorized__guarantee": "with_confidence"}, {CALIBRATION: 58}, "needs at least 59 calibration images"),
        ({"filter_memorized__too_few": "full_conformal"}, {CALIBRATION: 18, UNLABELLED_POOL: 18}, "needs 39 images"),
        ({"filter_memorized__neighbours": 50}, {}, "neighbours is 50, which needs 51 images"),
        ({"filter_memorized__shift_pixels": 4}, {}, "shift_pixels is 4, but images are 8 x 8 pixels: at most 3"),
        ({"generate__plan__per_class": 10}, {}, "generate.plan.per_class is 10"),
        ({"generate__plan": {"kind": "factor", "factor": [1, 1, 1]}}, {}, "lists 3 factors for 2 classes"),
        ({"generate__plan": {"kind": "factor", "factor": [0.05, 1]}}, {}, "comes to no image of class 'cat'"),
        ({"generate__plan": {"kind": "factor", "factor": 0}}, {}, "comes to no image in any class"),
        ({"train_downstream__arms__classic_5__labels": {"per_class": 11}}, {}, "arms.classic_5: labels: per_class: 11"),
        ({"train_downstream__arms__classic_5__labels": {"per_class": 10}}, {VALIDATION: 9}, "more than the 9 labelled"),
        ({}, {TRAIN: 1}, "class 'dog' has no labelled image in train"),
        ({}, {VALIDATION: 1}, "class 'dog' has no labelled image in validation"),
        ({"train_downstream__arms__classic__settings": [{"head": "logistic"}]}, {}, "arms.classic: head needs classes"),
    ],
)
def test_each_shortage_is_told_once_and_its_key_named(
    prepared: Callable[..., Dataset], changes: dict[str, Any], sizes: dict[str, int], words: str
) -> None:
    lines = problems(params(**changes), prepared(**sizes))
    assert len([line for line in lines if words in line]) == 1
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({"prepare__validation_per_class": {"dog": 0, "others": 5}}, {VALIDATION: 1}),
        ({"filter_memorized__guarantee": "with_confidence"}, {CALIBRATION: 59}),
        ({"filter_memorized__too_few": "full_conformal"}, {CALIBRATION: 0, UNLABELLED_POOL: 19}),
        ({"filter_memorized__neighbours": 49}, {}),
        ({"filter_memorized__shift_pixels": 3}, {}),
        ({"filter_memorized__thresholds": "per_class"}, {}),
        ({"generate__plan__per_class": 11}, {}),
        ({"generate__plan": {"kind": "factor", "factor": [0.1, 1]}}, {}),
        ({"train_downstream__arms__classic_5__labels": {"per_class": 10}}, {}),
    ],
)
def test_what_just_suffices_passes(
    prepared: Callable[..., Dataset], changes: dict[str, Any], sizes: dict[str, int]
) -> None:
    foresight.check(params(**changes), prepared(**sizes))


def test_a_missing_extra_is_told_once_for_all_arms_with_that_backbone(
    prepared: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    backbone = {"name": "tf_efficientnet_lite0", "size": 96, "weights": "package"}
    changes: dict[str, Any] = {}
    for name in ("real", "classic"):
        changes[f"train_downstream__arms__{name}__backbone"] = backbone
        changes[f"train_downstream__arms__{name}__settings"] = [{"weight_decay": 0.1}]
    (line,) = problems(params(**changes), prepared())
    assert "needs timm" in line


def test_a_network_that_a_generator_cannot_have_is_told(prepared: Callable[..., Dataset]) -> None:
    section = toy_params("projected").model_dump()
    (problem,) = problems(params(train_gan__generators__one=section), prepared())
    assert "train_gan.generators.one.backbone.weights: some is missing" in problem


def test_the_largest_shift_is_the_filters_own(prepared: Callable[..., Dataset]) -> None:
    with pytest.raises(UserError) as caught:
        alignments(4, False, 8, 8)
    assert problems(params(filter_memorized__shift_pixels=4), prepared()) == [f"  - {caught.value}"]
    assert alignments(3, False, 8, 8)


def test_an_empty_pool_is_told_for_each_arm_that_wants_one(prepared: Callable[..., Dataset]) -> None:
    lines = problems(params(), prepared(unlabelled=0))
    assert [line.split(": ")[0].rpartition(".")[2] for line in lines] == ["pseudo_label", "fixmatch"]
    assert all("the pool is empty: raise prepare.unlabelled" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"batch_norm": "target"}, ["batch_norm: target"]),
        ({"settings": [{"style": "fourier"}]}, ["style"]),
        ({"settings": [{"coral_weight": 1.0}]}, ["coral_weight"]),
        ({"batch_norm": "target", "settings": [{"dann_weight": 1.0}]}, ["batch_norm: target", "dann_weight"]),
    ],
    ids=str,
)
def test_rivals_of_a_domain_shift_need_one_and_a_pool(
    prepared: Callable[..., Dataset], changes: dict[str, Any], asked: list[str]
) -> None:
    values = copy.deepcopy(DEFAULTS)
    values["train_downstream"]["arms"]["rival"] = values["train_downstream"]["arms"]["classic"] | changes
    changed = Params.model_validate(values)
    foresight.check(changed, prepared(shifted=True))
    for lacking, words in (({}, "a source and a target"), ({"shifted": True, "unlabelled": 0}, "unlabelled images")):
        (line,) = (each for each in problems(changed, prepared(**lacking)) if "arms.rival: " in each)
        assert f"arms.rival: {' and '.join(asked)} needs {words}" in line


def test_a_target_without_a_pool_is_told_even_where_no_arm_wants_one(prepared: Callable[..., Dataset]) -> None:
    shift = {"source": {"kind": "none", "path": "data/raw/none"}, "simulate": "scan", "pool": True}
    changed = params(prepare__shift=shift)
    foresight.check(changed, prepared(shifted=True))
    lines = problems(changed, prepared(shifted=True, unlabelled=0))
    assert len([line for line in lines if "prepare.shift.pool is true, but the target has no image left" in line]) == 1


def translating(batch_size: int) -> Params:
    """The default parameters with a generator that starts from images of the source domain."""
    scanner = YAML(typ="safe", pure=True).load(ROOT / "presets/scanner_shift.yaml")
    section = scanner["train_gan.generators"]["translation"] | {"batch_size": batch_size}
    return params(train_gan__generators=DEFAULTS["train_gan"]["generators"] | {"translation": section})


def test_a_generator_between_domains_needs_two_and_a_batch_of_the_target(prepared: Callable[..., Dataset]) -> None:
    (line,) = problems(translating(batch_size=40), prepared())
    assert "train_gan.generators.translation carries images of one domain to another, but there is one alone" in line
    foresight.check(translating(batch_size=40), prepared(shifted=True))
    (line,) = problems(translating(batch_size=41), prepared(shifted=True))
    assert "translation.batch_size is 41, but the target has 40 images in the pool and in validation" in line


def test_regions_that_are_drawn_or_pasted_must_be_there(prepared: Callable[..., Dataset]) -> None:
    values = copy.deepcopy(DEFAULTS)
    planted = YAML(typ="safe", pure=True).load(ROOT / "presets/planted_lesions.yaml")
    values["train_gan"]["generators"] |= planted["train_gan.generators"]
    values["train_downstream"]["arms"]["pasted"] = planted["train_downstream.arms"]["pasted"]
    wanted, dataset = Params.model_validate(values), prepared()
    drawn, pasted = problems(wanted, dataset)
    assert "generators.infilling draws regions anew, but no labelled image has one: set prepare.masks" in drawn
    assert "arms.pasted: pasted_share needs regions, but no labelled image has one" in pasted
    region = np.pad(np.ones((3, 3), bool), (0, 5))
    for role, found in ((TEST, 2), (TRAIN, 0)):
        own = dict.fromkeys(dataset.ids(0, role).tolist(), region)
        images.write_table(dataset.folder / MASKS, as_table(own))
        if found:
            assert len(problems(wanted, Dataset.open(dataset.folder))) == found
        else:
            foresight.check(wanted, Dataset.open(dataset.folder))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("private_gaussian", {"delta": 0.06}, "one.delta: 0.06 would allow to give away one of 20 images"),
        ("private_gan", {"lot": 21}, "one.lot: 21 is more than the 20 images"),
        ("private_features", {"protects": "group"}, "one.protects: group needs images in groups"),
    ],
)
def test_a_budget_that_promises_nothing_is_told(
    prepared: Callable[..., Dataset], kind: str, changes: dict[str, Any], words: str
) -> None:
    section = toy_params(kind, **changes).model_dump()
    (problem,) = problems(params(train_gan__generators__one=section), prepared())
    assert f"train_gan.generators.{words}" in problem


def test_of_each_group_one_image_counts_for_a_budget(prepared: Callable[..., Dataset]) -> None:
    """Twenty labelled images, the first ten of one group."""
    section = toy_params("private_gan", lot=12, protects="group").model_dump()
    dataset = prepared(lambda number: "patient" if number < 10 else None, **{CALIBRATION: 40})
    (problem,) = problems(params(train_gan__generators__one=section), dataset)
    assert "lot: 12 is more than the 11 groups" in problem


def test_a_budget_needs_who_accounts_for_it(prepared: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresight, "find_spec", lambda _: None)
    section = toy_params("private_gaussian").model_dump()
    (problem,) = problems(params(train_gan__generators__one=section), prepared())
    assert "Opacus accounts for: `make extras`" in problem


def test_of_each_group_one_image_calibrates(prepared: Callable[..., Dataset]) -> None:
    pairs = prepared(lambda number: f"patient {number // 2}", calibration=20)
    (line,) = problems(params(), pairs)
    assert "there are 10" in line
    assert "by_group: false" in line
    foresight.check(params(filter_memorized__by_group=False), pairs)


def test_neighbours_from_other_groups_must_be_there(prepared: Callable[..., Dataset]) -> None:
    crowd = prepared(lambda number: "one" if number < 20 or 39 <= number < 66 else None)
    (line,) = problems(params(), crowd)
    assert "one group holds 47 of the 50 images" in line
    foresight.check(params(filter_memorized__by_group=False), crowd)
    foresight.check(params(filter_memorized__neighbours=4), crowd)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pool=st.integers(0, 45),
    calibration=st.integers(0, 62),
    group_size=st.sampled_from([1, 2, 25]),
    section=st.fixed_dictionaries(
        {
            "by_group": st.booleans(),
            "neighbours": st.sampled_from([2, 5, 40]),
            "too_few": st.sampled_from(["stop", "full_conformal"]),
            "guarantee": st.sampled_from(["on_average", "with_confidence"]),
            "shift_pixels": st.sampled_from([0, 1, 4]),
        }
    ),
)
def test_what_passes_is_what_the_filter_takes(
    prepared: Callable[..., Dataset], pool: int, calibration: int, group_size: int, section: dict[str, Any]
) -> None:
    dataset = prepared(lambda number: str(number // group_size), unlabelled=pool, calibration=calibration)
    wanted = params(**{f"filter_memorized__{key}": value for key, value in section.items()}).filter_memorized
    seen, held_out = dataset.seen_by_gan(0), dataset.role(0, CALIBRATION)
    groups = (seen.groups, held_out.groups) if wanted.by_group else (None, None)
    numbers = foresight._Numbers.of(dataset, 0, wanted.by_group)
    foreseen = list(foresight._of_filter(wanted, numbers, dataset.image.size))
    try:
        MemorizationFilter(
            Originals(torch.from_numpy(seen.pixels), torch.from_numpy(held_out.pixels), False, *groups), wanted
        )
    except UserError:
        assert foreseen
    else:
        assert not foreseen


@pytest.mark.parametrize(("crowds", "passes"), [((23, 23), True), ((24, 23), False)])
def test_enough_must_be_left_beside_a_source_and_its_group(
    prepared: Callable[..., Dataset], crowds: tuple[int, int], passes: bool
) -> None:
    order = [*range(20), *range(39, 69)]  # what has labels, and the pool
    group = dict(zip(order, ["source"] * crowds[0] + ["crowd"] * crowds[1], strict=False))
    dataset = prepared(group.get)
    wanted = params(train_gan__generators__gaussian=image_conditioned())
    seen, held_out = dataset.seen_by_gan(0), dataset.role(0, CALIBRATION)
    originals = Originals(
        torch.from_numpy(seen.pixels), torch.from_numpy(held_out.pixels), False, seen.groups, held_out.groups
    )
    judge, row = MemorizationFilter(originals, wanted.filter_memorized), (seen.groups or []).index("crowd")
    if passes:
        foresight.check(wanted, dataset)
        judge.decide(originals.seen[row : row + 1], sources=np.array([0]))
        return
    (line,) = problems(wanted, dataset)
    assert "train_gan.generators.gaussian draws from real images" in line
    foresight.check(params(), dataset)
    with pytest.raises(UserError, match="without an image's source and its group"):
        judge.decide(originals.seen[row : row + 1], sources=np.array([0]))


def image_conditioned() -> dict[str, Any]:
    return DEFAULTS["train_gan"]["generators"]["gan"] | {"kind": "image_conditioned"}


def test_full_conformal_needs_one_more_where_images_are_drawn_from_others(prepared: Callable[..., Dataset]) -> None:
    full = {"filter_memorized__too_few": "full_conformal"}
    sources = {"train_gan__generators__gaussian": image_conditioned()}
    (line,) = problems(params(**full, **sources), prepared(calibration=0, unlabelled=19))
    assert "train_gan.generators.gaussian draws from real images" in line
    foresight.check(params(**full, **sources), prepared(calibration=0, unlabelled=20))


def among(**settings: dict[str, Any]) -> TrainDownstreamParams:
    """The default's, with one more arm, which chooses among generators with these settings."""
    section = params().train_downstream
    arm = section.arms["gan"].model_dump() | {"images": "data/filter_memorized"}
    arm["settings"] = [each | {"generator": name} for name, each in settings.items()]
    return section.model_copy(update={"arms": section.arms | {"either": ArmParams.model_validate(arm)}})


def test_scores_that_filters_go_by_must_be_noted(prepared: Callable[..., Dataset]) -> None:
    def by(score: str, arm: str) -> dict[str, Any]:
        return {
            f"train_downstream__arms__{arm}__settings": [{"synthetic_share": 0.5, "filter": {"by": score, "keep": 0.5}}]
        }

    dataset = prepared()
    (line,) = problems(params(**by("truncation", "gan")), dataset)
    assert "arms.gan: filter: by: truncation needs generate.scores: true" in line
    (line,) = problems(params(generate__scores=True, **by("discriminator", "gaussian_classic")), dataset)
    assert "arms.gaussian_classic: filter: by: discriminator needs a generator that has one, not kind: gaussian" in line
    foresight.check(params(generate__scores=True, **by("discriminator", "gan")), dataset)
    judged = {"synthetic_share": 0.5, "filter": {"by": "discriminator", "keep": 0.5}}
    either = params(generate__scores=True).model_copy(update={"train_downstream": among(gan=judged, gaussian=judged)})
    (line,) = problems(either, dataset)
    assert "not kind: gaussian" in line, "of the settings that go by it, one names a generator that has none"
    foresight.check(params(**by("confidence", "gaussian_classic")), dataset)


def test_the_class_that_answers_rest_on_must_be_one(prepared: Callable[..., Dataset]) -> None:
    measure = {"sensitivity_at_specificity": 0.95, "of": "owl"}
    named = problems(params(evaluate__measure=measure), prepared())
    assert named == ["  - evaluate.measure.of: 'owl' is no class of the data set (cat, dog)"]
    foresight.check(params(evaluate__measure=measure | {"of": "dog"}), prepared())


def test_images_made_elsewhere_must_be_there(prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    section = {"kind": "external", "path": str(folder), "labels": "class"}
    changed = params(train_gan__generators__gaussian=section)
    for make in (lambda: None, folder.mkdir, (folder / "cat").mkdir):
        make()
        (line,) = problems(changed, prepared())
        assert f"train_gan.generators.gaussian.path: {folder} is missing or empty" in line
    (folder / "cat/1.png").touch()
    foresight.check(changed, prepared())


def test_data_that_are_not_there_are_told_before_dvc_looks_for_them(tmp_path: Path) -> None:
    source = DEFAULTS["prepare"]["source"] | {"path": str(tmp_path / "scans")}
    with pytest.raises(UserError, match=r"not there: prepare\.source\.path: .*scans; put the data there"):
        foresight.check_paths(params(prepare__source=source))
    (tmp_path / "scans.dvc").touch()
    foresight.check_paths(params(prepare__source=source))
    foresight.check_paths(params())


def test_everything_is_told_at_once(prepared: Callable[..., Dataset]) -> None:
    wrong = params(
        filter_memorized__neighbours=50,
        filter_memorized__shift_pixels=4,
        generate__plan__per_class=10,
        train_downstream__arms__classic_5__labels={"per_class": 11},
    )
    assert len(problems(wrong, prepared(calibration=18, unlabelled=0))) == 7
