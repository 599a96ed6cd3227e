import json
from dataclasses import replace

import numpy as np
import pytest

from stages.comparison.power import Power
from stages.comparison.scores import align, score
from stages.comparison.verdict import Evidence, Rule, arm_outcome, compare, draw_means, judge, listed, signed_points
from stages.plumbing.errors import UserError

RULE = Rule("accuracy", 0.95, 0.01, replicates=10, contrasts=2)

GAIN = Evidence("classic", 0.03, 0.01, 0.05, 0.004, (0.012, 0.048))
LOSS = Evidence("classic", -0.03, -0.05, -0.01, 0.004, (-0.048, -0.012))
SAME = Evidence("classic", 0.001, -0.008, 0.009, 0.9, (-0.007, 0.008))
OPEN = Evidence("classic", 0.01, -0.02, 0.04, 0.5, (-0.015, 0.035))
SMALL_GAIN = Evidence("classic", 0.004, 0.001, 0.007, 0.004, (0.002, 0.006))
SMALL_LOSS = Evidence("classic", -0.004, -0.007, -0.001, 0.004, (-0.006, -0.002))
INTERVAL_ONLY = Evidence("classic", 0.03, 0.01, 0.05, 0.2, (0.012, 0.048))
P_ONLY = Evidence("classic", 0.03, -0.001, 0.05, 0.004, (0.002, 0.048))


@pytest.mark.parametrize(
    ("rivals", "outcome"),
    [
        ([GAIN, GAIN], "helps"),
        ([GAIN, LOSS], "hurts"),
        ([LOSS, SAME], "hurts"),
        ([SMALL_LOSS, SAME], "hurts"),
        ([SMALL_GAIN, SMALL_GAIN], "helps"),
        ([GAIN, SAME], "equivalent"),
        ([GAIN, SAME, OPEN], "undecided"),
        ([GAIN, OPEN], "undecided"),
        ([SAME, SAME], "equivalent"),
        ([SMALL_GAIN, SAME], "equivalent"),
        ([SAME, OPEN], "undecided"),
        ([INTERVAL_ONLY], "undecided"),
        ([P_ONLY], "undecided"),
    ],
)
def test_precedence_within_an_arm(rivals, outcome):
    assert arm_outcome(rivals, RULE) == outcome


@pytest.mark.parametrize(
    ("arms", "outcome"),
    [
        ([GAIN, LOSS], "helps"),
        ([GAIN, OPEN], "helps"),
        ([OPEN, LOSS], "undecided"),
        ([OPEN, SAME], "undecided"),
        ([SAME, LOSS], "equivalent"),
        ([LOSS, LOSS], "hurts"),
    ],
)
def test_the_whole_is_decided_by_the_best_use_and_names_every_arm(arms, outcome):
    verdict = judge({f"arm{i}": [evidence] for i, evidence in enumerate(arms)}, RULE)
    assert verdict.outcome == outcome
    assert all(arm in verdict.sentence for arm in verdict.arms)


def test_sentences_name_numbers_arms_and_replicates():
    helps = judge({"gan": [GAIN]}, RULE).sentence
    assert helps == (
        "Yes: over 10 replicates, gan helps, its accuracy being 3.0 percentage points above classic's"
        " (95 % interval +1.0 to +5.0)."
    )
    equivalent = judge({"gan": [SAME]}, RULE).sentence
    assert "no difference as large as 1 percentage point" in equivalent
    assert "90 % interval" in equivalent
    partly = judge({"gan": [GAIN, OPEN]}, RULE).arms["gan"].sentence
    assert "only the gain over classic is beyond chance" in partly


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (Power(34, 15, 0.02, 0.3), "; about 34 replicates would show a gain of 1 percentage point over classic four"),
        (
            Power(None, None, 0.02, 0.1),
            "; more test images are needed: with these, not even 1000 replicates would show a gain of 1 percentage",
        ),
        (Power(9, None, 0.009, 0.85), "; such replicates show a gain of 1 percentage point over classic four times"),
    ],
)
def test_an_open_verdict_says_what_would_decide_it(power, words):
    verdict = judge({"gan": [replace(OPEN, power=power)]}, RULE)
    assert words in verdict.sentence
    assert words in verdict.arms["gan"].sentence


def test_a_larger_difference_than_matters_says_what_would_confirm_it():
    seen = replace(OPEN, mean=0.03, power=Power(80, 14, 0.035, 0.1))
    assert judge({"gan": [seen]}, RULE).sentence.endswith(
        "; about 80 replicates would show a gain of 1 percentage point over classic four times out of five, "
        "and about 14 a difference as large as that seen."
    )


def test_the_rival_that_takes_most_replicates_is_named_and_decided_ones_are_not():
    rivals = [
        replace(GAIN, power=Power(900, None, 0.02, 0.2)),
        replace(OPEN, rival="a", power=Power(20, None, 0.02, 0.2)),
        replace(OPEN, rival="b", power=Power(50, None, 0.02, 0.2)),
    ]
    sentence = judge({"gan": rivals}, RULE).sentence
    assert "only the gain over classic is beyond chance; about 50 replicates would show a gain" in sentence
    assert "over b four times out of five" in sentence


def test_where_nothing_is_open_no_replicates_are_asked_for():
    rivals = [replace(GAIN, power=Power(80, 14, 0.03, 0.1)), replace(SAME, rival="b", power=Power(80, 14, 0.03, 0.1))]
    verdict = judge({"gan": rivals}, RULE)
    assert verdict.sentence == (
        "No difference that matters: over 10 replicates, gan makes no difference as large as 1 percentage point beside "
        "b, though it beats classic, its accuracy being 0.1 percentage points above b's (90 % interval "
        "\N{MINUS SIGN}0.7 to +0.8), its strongest rival."
    )
    assert verdict.arms["gan"].sentence == (
        "Over 10 replicates, gan makes no difference as large as 1 percentage point beside b, though it beats classic, "
        "its accuracy being 0.1 percentage points above b's (90 % interval \N{MINUS SIGN}0.7 to +0.8) and 3.0 "
        "percentage points above classic's (95 % interval +1.0 to +5.0)."
    )


def test_points_keep_the_sign_of_what_rounds_to_zero() -> None:
    shares = (0.012, -0.003, 0.0, 0.0001, -1e-17)  # the last is what is left of equal means
    assert [signed_points(share) for share in shares] == ["+1.2", "\N{MINUS SIGN}0.3", "0.0", "+0.0", "0.0"]


def _compare(predictions, params, groups=None):
    draws = draw_means(predictions, params, groups)
    return compare(predictions, score(predictions), draws, dict.fromkeys(predictions.arms, 100), params, groups)


@pytest.fixture
def compared(make_tables, make_params):
    def run(chances, replicates=10, **changes):
        tables, truth = make_tables(chances, replicates=replicates)
        predictions = align(tables, truth, 3)
        return _compare(predictions, make_params(**changes))

    return run


def test_numbers_have_the_designed_shape(compared):
    contrast = {"arms": ["gan"], "rivals": ["classic", "pseudo"], "measure": "macro_f1"}
    numbers = compared({"real": 0.5, "classic": 0.6, "pseudo": 0.6, "gan": 0.9}, contrast=contrast)
    assert set(numbers) == {"arms", "differences", "power", "verdict", "replicates", "labels_used"}
    assert {arm: list(rivals) for arm, rivals in numbers["power"].items()} == {"gan": ["classic", "pseudo"]}
    assert set(numbers["power"]["gan"]["classic"]) >= {"smallest_gain", "power_for_margin"}
    assert {a: list(d) for a, d in numbers["differences"].items()} == {
        "gan": ["classic", "pseudo"],
        "real": ["classic"],
        "pseudo": ["classic"],
    }
    assert set(numbers["differences"]["gan"]["classic"]["macro_f1"]) == {"mean", "low", "high", "p", "p_holm"}
    assert set(numbers["differences"]["gan"]["classic"]["accuracy"]) == {"mean", "low", "high", "p"}
    assert set(numbers["differences"]["real"]["classic"]["macro_f1"]) == {"mean", "low", "high", "p"}
    assert numbers["labels_used"]["gan"] == 100
    assert numbers["verdict"]["outcome"] == "helps"
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_differences_are_those_of_the_means(compared):
    numbers = compared({"classic": 0.6, "gan": 0.7})
    for measure, entry in numbers["differences"]["gan"]["classic"].items():
        means = [numbers["arms"][arm][measure]["mean"] for arm in ("gan", "classic")]
        assert entry["mean"] == pytest.approx(means[0] - means[1])
        assert entry["low"] <= entry["mean"] <= entry["high"]


def test_a_planted_loss_hurts(compared):
    assert compared({"classic": 0.9, "gan": 0.6})["verdict"]["outcome"] == "hurts"


def test_one_replicate_gives_means_and_says_that_nothing_follows(compared):
    numbers = compared({"classic": 0.3, "gan": 0.9}, replicates=1)
    assert set(numbers["arms"]["gan"]["accuracy"]) == {"mean"}
    assert set(numbers["differences"]["gan"]["classic"]["accuracy"]) == {"mean"}
    assert numbers["power"] == {}
    assert numbers["verdict"]["outcome"] == "undecided"
    assert "a single replicate allows no interval and no p-value" in numbers["verdict"]["sentence"]


def test_too_few_replicates_cannot_decide_and_say_so(compared):
    numbers = compared({"classic": 0.3, "gan": 0.9}, replicates=4)
    assert numbers["verdict"]["outcome"] == "undecided"
    assert "least possible p: 0.12" in numbers["verdict"]["sentence"]
    assert "smallest_gain" not in numbers["power"]["gan"]["classic"]
    assert numbers["power"]["gan"]["classic"]["power_for_margin"] == 0


def test_copies_of_test_images_in_their_groups_change_no_number(make_tables, make_params):
    tables, truth = make_tables({"classic": 0.7, "gan": 0.75}, images=60)
    once = align(tables, truth, 3)
    twice = replace(
        once,
        truth=np.repeat(once.truth, 2),
        arms={arm: np.repeat(labels, 2, axis=1) for arm, labels in once.arms.items()},
    )
    alone = _compare(once, make_params())
    grouped = _compare(twice, make_params(), np.repeat(np.arange(60), 2))
    for part in ("low", "high", "p"):
        expected = alone["differences"]["gan"]["classic"]["macro_f1"][part]
        assert grouped["differences"]["gan"]["classic"]["macro_f1"][part] == pytest.approx(expected)
    assert grouped["power"]["gan"]["classic"] == pytest.approx(alone["power"]["gan"]["classic"])


def test_identical_predictions_are_equivalent(make_tables, make_params):
    tables, truth = make_tables({"classic": 0.7})
    predictions = align(tables | {"gan": tables["classic"]}, truth, 3)
    numbers = _compare(predictions, make_params())
    assert numbers["differences"]["gan"]["classic"]["accuracy"] == {
        "mean": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p": 1.0,
        "p_holm": 1.0,
    }
    assert numbers["verdict"]["outcome"] == "equivalent"
    assert "level with classic's" in numbers["verdict"]["sentence"]


def test_equal_arms_are_rarely_told_apart(make_tables, make_params):
    outcomes = []
    for seed in range(12):
        tables, truth = make_tables({"classic": 0.8, "gan": 0.8}, images=60, seed=seed)
        numbers = _compare(align(tables, truth, 3), make_params(bootstrap=100))
        outcomes.append(numbers["verdict"]["outcome"])
    assert np.isin(outcomes, ["helps", "hurts"]).sum() <= 2


def test_an_unknown_arm_in_the_contrast_is_named(compared):
    with pytest.raises(UserError, match="names the arm classic, which has no predictions; there are gan"):
        compared({"gan": 0.9})


@pytest.mark.parametrize(("words", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_lists_are_spoken(words: list[str], text: str) -> None:
    assert listed(words) == text
