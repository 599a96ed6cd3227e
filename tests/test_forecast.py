"""What a run is said to take before it ran: near what known runs took, and more where there is more to do."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import forecast
from stages.forecast import Sizes, memory, seconds, told
from stages.imaging.params import BackboneParams
from stages.labelling import soft_labels
from stages.plumbing.pace import steps
from stages.plumbing.params import Params
from tests.conftest import DEFAULT_PARAMS
from tests.generators.toy import toy_params

DEFAULTS = YAML(typ="safe", pure=True).load(DEFAULT_PARAMS)
DIGITS = Sizes(seen=698, pool=598, drawn=1000, images=1797, side=8, channels=1, flips=False)


def params(**changes: Any) -> Params:
    values = copy.deepcopy(DEFAULTS)
    values["prepare"] |= changes
    return Params.model_validate(values)


def test_the_default_run_is_said_to_take_what_it_took() -> None:
    found = seconds(params(), DIGITS, cores=2)
    assert 420 / 1.3 < sum(found.values()) < 420 * 1.3
    assert 87 / 1.3 < found["train_gan@gan"] < 95 * 1.3


def test_every_step_of_the_run_has_its_time() -> None:
    loaded = params()
    assert sorted(seconds(loaded, DIGITS, 2)) == sorted(
        steps(loaded.train_gan.generators, loaded.train_downstream.arms)
    )


@pytest.mark.parametrize("field", ["seen", "drawn", "side", "channels"])
def test_more_to_do_takes_longer_and_needs_more_memory(field: str) -> None:
    more = replace(DIGITS, **{field: 3 * getattr(DIGITS, field)})
    assert sum(seconds(params(), more, 2).values()) > sum(seconds(params(), DIGITS, 2).values())
    assert memory(params(), more) > memory(params(), DIGITS)


@pytest.mark.parametrize(("side", "width", "measured"), [(28, 16, 0.205), (28, 32, 0.545), (32, 16, 0.28)])
def test_a_step_that_refines_the_gaussian_takes_about_as_long_as_measured(
    side: int, width: int, measured: float
) -> None:
    values = copy.deepcopy(DEFAULTS)
    gan = values["train_gan"]["generators"]["gan"]
    del gan["layers"]
    gan |= {"kind": "refined_gaussian", "width": width, "batch_size": 64, "drawn_size": 32}

    def taken(steps: int) -> float:
        gan["steps"] = steps
        return seconds(Params.model_validate(values), replace(DIGITS, side=side), 1)["train_gan@gan"]

    replicates = values["prepare"]["replicates"]
    assert (taken(2000) - taken(1000)) / replicates / 1000 == pytest.approx(measured, rel=0.3)


def test_a_generator_with_a_backbone_costs_by_the_pixels_that_this_looks_at() -> None:
    def step(size: int) -> float:
        backbone = {"name": "some", "size": size, "weights": "some"}
        section = toy_params("projected", backbone=backbone, batch_size=64, width=16, steps=1, drawn_size=64)
        return forecast._generator(section, replace(DIGITS, side=64, channels=3))

    assert step(64) == pytest.approx(0.93, rel=0.3), "as measured"
    assert step(256) - step(128) == pytest.approx(4 * (step(128) - step(64)))


@pytest.mark.parametrize("kind", ["refined_gaussian", "projected"])
def test_a_generator_that_enlarges_costs_as_much_as_at_the_size_that_it_draws(kind: str) -> None:
    section = toy_params(kind, drawn_size=16)
    small, large, smaller = (forecast._generator(section, replace(DIGITS, side=side)) for side in (16, 64, 8))
    assert small == large > smaller


def test_an_arm_with_a_backbone_costs_by_the_pixels_that_this_looks_at() -> None:
    def arm(size: int) -> float:
        values = copy.deepcopy(DEFAULTS)
        backbone = {"name": "tf_efficientnet_lite0", "size": size, "weights": "package"}
        head = {"backbone": backbone, "settings": [{"weight_decay": 0.1}, {"weight_decay": 1.0}]}
        values["train_downstream"]["arms"]["classic"] |= head
        return seconds(Params.model_validate(values), DIGITS, 2)["train_downstream@classic"]

    assert 3 < arm(192) / arm(96) < 4
    assert arm(96) > 10 / 2 * 2 * forecast.LOOKS / 126, "126 images a second were the most that a core was seen to take"


def test_a_filter_with_a_backbone_costs_by_the_images_and_by_the_pixels_that_this_looks_at() -> None:
    def extra(size: int, sizes: Sizes) -> float:
        plain, given = params(), {"name": "tf_efficientnet_lite0", "size": size, "weights": "package"}
        section = plain.filter_memorized.model_copy(update={"backbone": BackboneParams(**given)})
        step, asked = "filter_memorized@gan", plain.model_copy(update={"filter_memorized": section})
        return seconds(asked, sizes, 2)[step] - seconds(plain, sizes, 2)[step]

    assert extra(96, DIGITS) > 0
    assert extra(192, DIGITS) == pytest.approx(4 * extra(96, DIGITS))
    assert extra(96, replace(DIGITS, flips=True)) == pytest.approx(2 * extra(96, DIGITS))


@pytest.mark.parametrize(("side", "measured"), [(32, 95), (64, 415)])
def test_a_teacher_costs_what_was_measured_and_once_for_all_generators(side: int, measured: float) -> None:
    course = soft_labels.COURSE
    assert (soft_labels.MEMBERS, course.steps) == (forecast.TEACHERS, forecast.LESSONS)
    assert (soft_labels.WIDTH, course.batch_size) == (forecast.TEACHERS_WIDTH, forecast.TEACHERS_BATCH)
    plain, sizes = params(replicates=1), replace(DIGITS, side=side, channels=3, drawn=1)
    chosen = plain.model_copy(update={"generate": plain.generate.model_copy(update={"candidates": 2})})
    before, after = (seconds(each, sizes, 1) for each in (plain, chosen))
    dearer = {step: after[step] - before[step] for step in after if after[step] > before[step] + 0.1}
    assert list(dearer) == ["generate@gan"]
    assert 2 * measured < dearer["generate@gan"] < 2 * measured * 1.65, "rather too long than too short"


def test_the_images_of_which_one_is_chosen_are_all_drawn() -> None:
    def drawing(candidates: int) -> float:
        section = params().generate.model_copy(update={"candidates": candidates})
        return seconds(params().model_copy(update={"generate": section}), DIGITS, 2)["generate@gaussian"]

    assert drawing(16) - drawing(4) == pytest.approx(4 * (drawing(4) - drawing(1)))
    assert drawing(4) > drawing(1)


def test_replicates_cost_and_cores_save_up_to_the_jobs_allowed() -> None:
    total = {cores: sum(seconds(params(), DIGITS, cores).values()) for cores in (1, 2, 8)}
    assert total[1] > total[2] == total[8], "parallel.jobs is 2"
    assert sum(seconds(params(replicates=2), DIGITS, 2).values()) < total[2] / 2


def test_the_words_are_as_round_as_the_estimate() -> None:
    assert told(61, forecast.GIB, 1).startswith("the whole run may take about 2 minutes on 1 core without")
    assert "about 15 minutes on 2 cores" in told(890, forecast.GIB, 2)
    assert "about 3 hours" in told(3 * 3600 + 60, forecast.GIB, 2)
