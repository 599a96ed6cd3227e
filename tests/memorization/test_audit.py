import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from stages.memorization.audit import Detection, Judgement, judge, summarise
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.errors import UserError

PARAMS = FilterMemorizedParams(alpha=0.05, neighbours=5, shift_pixels=1, planted_copies=20, seed=0)


def random_images(count: int, seed: int, size: tuple[int, int, int] = (1, 8, 8)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """The digits outside the default test set, in random order."""
    bunch = load_digits()
    rest, _ = train_test_split(np.arange(1797), test_size=0.5, stratify=bunch.target, random_state=0)
    images = np.rint(bunch.images[np.random.default_rng(0).permutation(rest)] * 255 / 16).astype(np.uint8)
    return torch.from_numpy(images)[:, None]


def test_copies_are_dropped_with_their_source_named_and_fresh_images_kept(digits: torch.Tensor) -> None:
    seen, calibration, fresh = digits[:600], digits[600:800], digits[800:]
    moved = torch.roll(seen[40:60], (1, -1), (2, 3))
    result = judge(torch.cat([seen[:40], moved, fresh]), seen, calibration, False, PARAMS, replicate=0)
    assert result.dropped[:60].all()
    assert result.nearest[:60].tolist() == list(range(60))
    assert (result.distance[:60] < 1e-12).all()
    assert result.dropped[60:].mean() < 0.15
    np.testing.assert_array_equal(result.dropped, result.p <= PARAMS.alpha)
    assert result.calibration == 200


def test_planted_copies_are_found(digits: torch.Tensor) -> None:
    result = judge(digits[800:], digits[:600], digits[600:800], True, PARAMS, replicate=0)
    assert all(detection.copies == 20 for detection in result.planted.values())
    for kind in ("exact", "shift", "flip", "contrast"):
        assert result.planted[kind].detected == 20
    assert all(detection.detected >= 16 for detection in result.planted.values())


def test_at_most_alpha_of_fresh_real_images_are_dropped_over_splits(digits: torch.Tensor) -> None:
    rng, dropped, trials = np.random.default_rng(1), 0, 0
    params = PARAMS.model_copy(update={"planted_copies": 2, "alpha": 0.1})
    for split in range(20):
        images = digits[torch.from_numpy(rng.permutation(len(digits)))]
        dropped += int(judge(images[500:550], images[:300], images[300:500], False, params, split).dropped.sum())
        trials += 50
    assert binomtest(dropped, trials, 0.1, alternative="greater").pvalue > 0.001
    assert dropped > 0


def test_the_same_seed_and_replicate_give_the_same_judgement_and_others_plant_other_copies() -> None:
    sets = random_images(30, 0), random_images(50, 1), random_images(40, 2)
    hard = PARAMS.model_copy(update={"alpha": 0.3})
    first, again = (judge(*sets, False, hard, replicate=3) for _ in range(2))
    np.testing.assert_array_equal(first.p, again.p)
    assert first.planted == again.planted
    assert first.false_positives == again.false_positives
    crossed = {judge(*sets, False, hard, replicate).false_positives for replicate in range(8)}
    assert len(crossed) > 1


def test_repeated_seen_images_change_nothing_but_their_numbers() -> None:
    generated, seen, calibration = random_images(30, 3), random_images(50, 4), random_images(40, 5)
    once = judge(generated, seen, calibration, False, PARAMS, 0)
    twice = judge(generated, seen.repeat_interleave(2, dim=0), calibration, False, PARAMS, 0)
    np.testing.assert_array_equal(once.score, twice.score)
    np.testing.assert_array_equal(once.nearest * 2, twice.nearest)


def test_one_images_judgement_does_not_depend_on_the_others() -> None:
    generated, seen, calibration = random_images(30, 6), random_images(50, 7), random_images(40, 8)
    together = judge(generated, seen, calibration, False, PARAMS, 0)
    alone = judge(generated[4:5], seen, calibration, False, PARAMS, 0)
    assert alone.p[0] == together.p[4]
    assert alone.nearest[0] == together.nearest[4]


def test_a_gan_that_returns_only_what_it_saw_is_stopped_with_advice() -> None:
    seen = random_images(60, 9)
    with pytest.raises(UserError, match=r"all 60 generated images of replicate 4 .* memorised .*train_gan\.steps"):
        judge(seen, seen, random_images(40, 10), False, PARAMS, replicate=4)


def test_even_images_throughout_do_not_break_the_scores() -> None:
    """With no contrast anywhere every image equals every other, and nothing can be told from a copy or dropped."""
    even = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1).expand(60, 1, 8, 8)
    result = judge(even[:10], even[10:30], even[30:], False, PARAMS, 0)
    assert (result.score == 0).all()
    assert (result.p == 1).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"generated": torch.full((9, 1, 8, 8), torch.nan)}, "generated images hold NaN"),
        ({"seen": torch.zeros(9, 1, 8, 8)}, r"seen images are of type torch\.float32; allowed .*uint8"),
        ({"calibration": random_images(40, 0, (3, 8, 8))}, r"differ in size.*seen 1 x 8 x 8, calibration 3 x 8 x 8"),
        ({"generated": random_images(9, 0, (1, 8, 9))}, r"generated 1 x 8 x 9, seen 1 x 8 x 8"),
        ({"generated": random_images(0, 0)}, r"generated images have shape \(0, 1, 8, 8\)"),
        ({"seen": random_images(9, 0)[:, 0]}, r"seen images have shape \(9, 8, 8\)"),
        ({"calibration": random_images(18, 0)}, "needs at least 19 calibration images, but there are 18"),
        ({"seen": random_images(5, 0).repeat(9, 1, 1, 1)}, r"saw 5 different images.*needs at least 6"),
    ],
)
def test_bad_input_gets_clear_words(changed: dict[str, torch.Tensor], words: str) -> None:
    sets = {"generated": random_images(9, 1), "seen": random_images(30, 2), "calibration": random_images(40, 3)}
    with pytest.raises(UserError, match=words):
        judge(**(sets | changed), flip_ok=False, params=PARAMS, replicate=0)


def judgement(dropped: list[bool], false_positives: int, detected: int) -> Judgement:
    values = np.zeros(len(dropped))
    return Judgement(
        p=values,
        score=values,
        distance=values,
        nearest=values.astype(np.int64),
        dropped=np.array(dropped),
        calibration=100,
        false_positives=false_positives,
        planted={"exact": Detection(copies=10, detected=detected)},
    )


def test_the_summary_adds_up_over_replicates() -> None:
    judgements = [judgement([True, False, False], 4, 10), judgement([True, True], 6, 7)]
    labels = [np.array([0, 0, 1]), np.array([1, 0])]
    summary = summarise(judgements, labels, ["cat", "dog", "eel"], calibration_images=120, alpha=0.05)
    interval = binomtest(6, 120).proportion_ci(0.95, method="exact")
    assert json.loads(json.dumps(summary)) == {
        "alpha": 0.05,
        "generated": 5,
        "dropped": 3,
        "dropped_share": 0.6,
        "classes": {
            "cat": {"generated": 3, "dropped": 2, "dropped_share": pytest.approx(2 / 3)},
            "dog": {"generated": 2, "dropped": 1, "dropped_share": 0.5},
            "eel": {"generated": 0, "dropped": 0, "dropped_share": 0.0},
        },
        "false_positive_rate": {
            "rate": 0.05,
            "low": pytest.approx(interval.low),
            "high": pytest.approx(interval.high),
        },
        "planted": {"exact": {"detected": 0.85, "copies": 20}},
    }


def test_labels_that_do_not_match_the_images_are_refused() -> None:
    with pytest.raises(UserError, match="2 labels for 3 judged images"):
        summarise(
            [judgement([True, False, False], 0, 0)],
            [np.array([0, 1])],
            ["cat", "dog"],
            calibration_images=100,
            alpha=0.05,
        )
