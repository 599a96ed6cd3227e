"""What is said of the time that a run still takes is what its steps took, and no guess where they never ran."""

import pytest

from stages.plumbing.pace import Took, duration, seconds_left, steps, told

ORDER = steps(["gan", "gaussian"], ["real", "fixmatch"])
STARTED = 1000.0
EARLIER, NOW = STARTED - 500, STARTED + 50


def test_steps_stand_in_the_order_in_which_they_run():
    assert ORDER == [
        "prepare",
        "train_gan@gan",
        "train_gan@gaussian",
        "generate@gan",
        "generate@gaussian",
        "filter_memorized@gan",
        "filter_memorized@gaussian",
        "train_downstream@real",
        "train_downstream@fixmatch",
        "evaluate",
    ]


def test_on_a_machine_that_ran_all_before_the_rest_takes_what_it_took():
    took = {step: Took(10, EARLIER) for step in ORDER}
    assert seconds_left(ORDER, "prepare", took, STARTED, {}) == 90
    assert seconds_left(ORDER, "evaluate", took, STARTED, {}) == 0


def test_a_stage_that_takes_longer_than_before_is_expected_to_go_on_so():
    took = {step: Took(10, EARLIER) for step in ORDER} | {"train_downstream@real": Took(30, NOW, before=10)}
    assert seconds_left(ORDER, "train_downstream@real", took, STARTED, {}) == 30 + 10


def test_a_step_that_never_ran_takes_what_was_forecast_at_the_pace_of_this_run():
    took = {"train_gan@gan": Took(70, NOW)}
    assert seconds_left(ORDER, "train_gan@gan", took, STARTED, {}) is None
    forecast = dict.fromkeys(ORDER, 10.0) | {"train_gan@gan": 35.0}
    assert seconds_left(ORDER, "train_gan@gan", took, STARTED, forecast) == 8 * 2 * 10
    assert seconds_left(ORDER, "prepare", {}, STARTED, forecast) == 35 + 8 * 10
    took |= {"evaluate": Took(7, EARLIER)}
    assert seconds_left(ORDER, "train_downstream@fixmatch", took, STARTED, forecast) == 7


def test_the_line_names_step_and_elapsed_time_and_estimates_after_the_first_minute():
    took = {step: Took(200, EARLIER) for step in ORDER}
    early = told(ORDER, "train_gan@gan", took, STARTED, STARTED + 30, {})
    assert early == "train_gan@gan: 3 min; step 2 of 10, 30 s so far"
    later = told(ORDER, "train_gan@gan", took, STARTED, STARTED + 120, {})
    assert later == "train_gan@gan: 3 min; step 2 of 10, 2 min so far, about 27 min to go if all others run"
    unknown = told(ORDER, "prepare", {"prepare": Took(5, NOW)}, STARTED, STARTED + 120, {})
    assert unknown.endswith("no estimate yet of the rest")
    assert told(ORDER, "evaluate", took, STARTED, STARTED + 400, {}).endswith("step 10 of 10, 7 min so far")


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.6, "5 s"), (89, "89 s"), (90, "2 min"), (3600 * 2 + 60 * 5, "2 h 5 min")]
)
def test_durations_are_round(seconds, words):
    assert duration(seconds) == words
