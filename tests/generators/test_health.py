"""Failures of a training are told from what is no failure."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.generators.health import FailedTrainingError, check_collapse, check_finite, check_weights, diversity
from tests.labelling.toy import toy_images

DIVERSITIES = st.floats(0, 3)
NAN = math.nan
MEASURES = ("generator_loss", "real_logit", "sureness")


def collapsed(now: float, before: float) -> bool:
    try:
        check_collapse(now, before)
    except FailedTrainingError:
        return True
    return False


@given(now=DIVERSITIES, before=DIVERSITIES, less=DIVERSITIES, more=DIVERSITIES)
def test_less_diversity_now_or_more_before_never_clears_a_collapse(
    now: float, before: float, less: float, more: float
) -> None:
    assert collapsed(max(now - less, 0), before + more) >= collapsed(now, before)


def test_a_collapse_is_what_was_diverse_and_is_no_more() -> None:
    assert collapsed(0.01, before=0.9)
    assert not collapsed(0.8, before=0.9)
    assert not collapsed(0.01, before=0.01)  # an untrained generator's samples are alike
    assert not collapsed(0.4, before=0.9)


@pytest.mark.parametrize(("now", "before"), [(NAN, 1.0), (0.0, NAN), (NAN, NAN)])
def test_what_is_not_known_is_no_collapse(now: float, before: float) -> None:
    assert not collapsed(now, before)


def test_the_message_says_what_was_seen() -> None:
    with pytest.raises(FailedTrainingError, match=r"mode collapse: samples of a class vary 0\.012 times"):
        check_collapse(0.0123, before=1.0)


def test_diversity_of_a_case_worked_by_hand() -> None:
    """Two images of a class that differ by 2 d in each pixel have the variance 2 d^2 there."""
    real = torch.tensor([10, 50]).expand(4, 1, 2, 2).clone()
    real[2:] = 90
    real[3] = 170
    grey = torch.tensor([100, 120, 100, 160]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    labels = torch.tensor([0, 0, 1, 1])
    expected = ((2 * 10**2 + 2 * 30**2) / (0 + 2 * 40**2)) ** 0.5
    assert diversity(grey.byte(), labels, real.byte(), labels) == pytest.approx(expected)


def test_diversity_is_one_for_like_images_and_nothing_for_copies_of_one_image() -> None:
    real, labels = toy_images(60, seed=0)
    others, _ = toy_images(60, seed=1)
    assert diversity(others, labels, real, labels) == pytest.approx(1, abs=0.02)
    assert diversity(real[::60].repeat_interleave(60, dim=0), labels, real, labels) == 0


def test_that_classes_differ_is_no_diversity() -> None:
    real, labels = toy_images(20, seed=0)
    assert diversity(real[labels * 20], labels, real, labels) == 0


def test_nothing_is_known_where_real_images_do_not_differ_or_are_alone() -> None:
    samples, labels = toy_images(4, seed=0)
    assert math.isnan(diversity(samples, labels, torch.full_like(samples, 7), labels))
    assert math.isnan(diversity(samples, labels, samples[::4], labels[::4]))


@pytest.mark.parametrize("bad", MEASURES)
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_a_measure_that_is_no_finite_number_is_named(bad: str, value: float) -> None:
    fine = dict.fromkeys(MEASURES, 1e30)
    check_finite(fine)
    with pytest.raises(FailedTrainingError, match=f"{bad} is {value}"):
        check_finite(fine | {bad: value})


@pytest.mark.parametrize("value", [NAN, math.inf])
def test_a_network_with_a_weight_that_is_no_finite_number_is_named(value: float) -> None:
    fine, spoilt = nn.Linear(3, 2), nn.BatchNorm1d(2)
    check_weights(fine, spoilt)
    spoilt.running_mean[1] = value
    with pytest.raises(FailedTrainingError, match="a weight of BatchNorm1d is not a finite number"):
        check_weights(fine, spoilt)
