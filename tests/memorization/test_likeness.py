import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from stages.imaging.backbones import Backbone, build_backbone
from stages.imaging.distance import alignments
from stages.imaging.disturbances import gaussian_blur
from stages.imaging.neighbours import nearest
from stages.imaging.networks import in_batches
from stages.imaging.params import BackboneParams
from stages.memorization import likeness
from stages.memorization.likeness import BLUR, Groups, Likeness, one_of_each
from stages.memorization.params import FilterMemorizedParams
from stages.memorization.planted import noise
from stages.plumbing.errors import UserError
from tests.memorization.toy import PARAMS, random_images

BLURRED = PARAMS.model_copy(update={"blurred_view": True})
FEATURES = PARAMS.model_copy(update={"backbone": BackboneParams(name="test_efficientnet", size=32, weights="some")})


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A network with random weights: its features are functions of the image, which is enough here."""
    small = build_backbone("test_efficientnet", 32)
    monkeypatch.setattr(likeness, "open_backbone", lambda *_: small)
    return small


def smooth_images(count: int, seed: int) -> torch.Tensor:
    """Random fields of low frequency and contrast, 28 x 28: neighbouring pixels are alike, as in X-rays."""
    coarse = torch.from_numpy(np.random.default_rng(seed).normal(128, 22, (count, 1, 4, 4)))
    fields = interpolate(coarse, size=(28, 28), mode="bicubic", align_corners=False)
    return fields.round().clamp(0, 255).to(torch.uint8)


def noisy(images: torch.Tensor, seed: int) -> torch.Tensor:
    return noise(images, np.random.default_rng(seed))


def scores(
    images: torch.Tensor, seen: torch.Tensor, groups: Groups | None, params: FilterMemorizedParams = PARAMS
) -> NDArray:
    return Likeness(seen, groups, False, params).of(images).score


def test_in_the_sharp_view_it_is_the_searchs_score_distance_and_index() -> None:
    seen, images = random_images(40, 0), random_images(15, 1)
    found = Likeness(seen, None, True, PARAMS).of(images)
    expected = nearest(images, seen, 5, alignments(1, True, 8, 8))
    np.testing.assert_array_equal(found.score, expected.scores())
    np.testing.assert_array_equal(found.distance, expected.distances[:, 0])
    np.testing.assert_array_equal(found.nearest, expected.indices[:, 0])


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_repeated_seen_images_change_nothing_but_their_numbers(params: FilterMemorizedParams) -> None:
    images, seen = random_images(30, 2), random_images(50, 3)
    once, twice = (Likeness(each, None, False, params).of(images) for each in (seen, seen.repeat_interleave(2, dim=0)))
    np.testing.assert_array_equal(once.score, twice.score)
    np.testing.assert_array_equal(once.distance, twice.distance)
    np.testing.assert_array_equal(once.nearest * 2, twice.nearest)


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_nearest_names_the_copied_image_in_seen_past_repeated_ones(params: FilterMemorizedParams) -> None:
    different = random_images(20, 4)
    seen = torch.cat([different[:3], different[:3], different[3:]])
    found = Likeness(seen, None, False, params).of(seen)
    assert found.nearest.tolist() == [0, 1, 2, 0, 1, 2, *range(6, 23)]
    assert (found.distance == 0).all()
    assert (found.score == 0).all()


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_an_images_likeness_does_not_depend_on_the_others(params: FilterMemorizedParams) -> None:
    seen, images = random_images(50, 5), random_images(30, 6)
    likeness = Likeness(seen, None, False, params)
    together, alone = likeness.of(images), likeness.of(images[4:5])
    for name in ("score", "distance", "nearest"):
        assert getattr(alone, name)[0] == getattr(together, name)[4]


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_frames_of_one_patient_do_not_hide_a_copy_of_one_of_them(params: FilterMemorizedParams) -> None:
    """The copies are noisier than the frames differ, so that all frames are about as near to them."""
    others, frame = random_images(40, 7), random_images(1, 8) // 2
    patient = torch.cat([frame, *(frame + random_images(1, 30 + number) // 25 for number in range(5))])
    seen, copies = torch.cat([others, patient]), noisy(patient, 10)
    groups = [f"patient {number}" for number in range(40)] + ["patient of six frames"] * 6
    with_groups, without = scores(copies, seen, groups, params), scores(copies, seen, None, params)
    fresh = scores(random_images(50, 11), seen, groups, params)
    assert with_groups.max() < fresh.min()
    assert without.min() > fresh.min()


def test_only_the_nearest_images_group_is_passed_over() -> None:
    seen, images = random_images(40, 12), random_images(10, 13)
    groups = [str(row // 4) for row in range(40)]
    found = Likeness(seen, groups, False, PARAMS).of(images)
    ways = alignments(1, False, 8, 8)
    for row, nearest_image in enumerate(found.nearest.tolist()):
        own = [other for other in range(40) if other // 4 == nearest_image // 4 and other != nearest_image]
        rest = np.setdiff1d(np.arange(40), own)
        expected = nearest(images[row : row + 1], seen[torch.from_numpy(rest)], 5, ways)
        assert found.score[row] == expected.scores().item()
        assert found.distance[row] == expected.distances[0, 0]


def test_images_without_a_group_are_each_of_their_own() -> None:
    seen, images = random_images(30, 14), random_images(20, 15)
    plain = scores(images, seen, None)
    np.testing.assert_array_equal(scores(images, seen, [None] * 30), plain)
    np.testing.assert_array_equal(scores(images, seen, [f"speaker {row}" for row in range(30)]), plain)
    named_like_rows = [str((row + 1) % 30) if row % 2 else None for row in range(30)]
    np.testing.assert_array_equal(scores(images, seen, named_like_rows), plain)


def test_groups_follow_their_images_past_repeated_ones() -> None:
    """A repeated image early on moves the rows of all that follow."""
    seen, images = random_images(30, 16), random_images(20, 17)
    groups = [str(row // 3) for row in range(30)]
    repeated = torch.cat([seen[:1], seen])
    np.testing.assert_array_equal(scores(images, repeated, ["0", *groups]), scores(images, seen, groups))


def test_the_blurred_view_finds_noisy_copies_that_the_sharp_one_misses_and_no_score_rises() -> None:
    seen, calibration = smooth_images(200, 18), smooth_images(99, 19)
    copies = noisy(seen[:60], 20)
    sharp, both = Likeness(seen, None, False, PARAMS), Likeness(seen, None, False, BLURRED)
    found = {}
    for name, own in (("sharp", sharp), ("both", both)):
        threshold = np.sort(own.of(calibration).score)[4]
        found[name] = (own.of(copies).score < threshold).mean()
    assert found["sharp"] < 0.5
    assert found["both"] > 0.9
    for images in (copies, calibration):
        assert (both.of(images).score <= sharp.of(images).score).all()
    assert (both.of(copies).nearest == np.arange(60)).all()


def test_features_are_a_further_view_whose_distance_is_one_less_their_correlation(backbone: Backbone) -> None:
    seen, images = random_images(30, 31), random_images(8, 32)
    both, sharp = (Likeness(seen, None, False, params) for params in (FEATURES, PARAMS))
    features = in_batches(backbone, torch.cat([images, seen])).double()
    expected = (2 * (1 - torch.corrcoef(features)[:8, 8:])).sqrt()
    np.testing.assert_array_equal(both.all_distances(images)[0], sharp.all_distances(images)[0])
    np.testing.assert_allclose(both.all_distances(images)[1], expected, atol=1e-6)
    assert (both.of(images).score <= sharp.of(images).score).all()
    np.testing.assert_array_equal(both.of(images[3:]).score, both.of(images).score[3:])


@pytest.mark.usefixtures("backbone")
def test_mirrored_images_have_the_same_features_where_mirrored_ones_are_copies() -> None:
    seen, images = random_images(30, 31), random_images(8, 32)
    for flip_ok in (True, False):
        _, features = Likeness(seen, None, flip_ok, FEATURES).all_distances(torch.cat([images, images.flip(-1)]))
        assert np.array_equal(features[:8], features[8:]) == flip_ok


def test_distance_and_nearest_are_those_of_the_view_that_the_score_comes_from() -> None:
    seen = smooth_images(60, 21)
    images = torch.cat([noisy(seen[:20], 22), smooth_images(20, 23)])
    sharp, both = (Likeness(seen, None, False, params).of(images) for params in (PARAMS, BLURRED))
    unblurred = both.score == sharp.score
    assert 0 < unblurred.sum() < 40
    np.testing.assert_array_equal(both.distance[unblurred], sharp.distance[unblurred])
    np.testing.assert_array_equal(both.nearest[unblurred], sharp.nearest[unblurred])
    assert (both.distance[:20][~unblurred[:20]] < sharp.distance[:20][~unblurred[:20]]).all()


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_all_distances_are_those_of_single_pairs_in_each_view(params: FilterMemorizedParams) -> None:
    seen, images = random_images(8, 24).repeat(2, 1, 1, 1), random_images(3, 25)
    likeness = Likeness(seen, None, True, params.model_copy(update={"neighbours": 2}))
    assert likeness.kept.tolist() == list(range(8))
    ways = alignments(1, True, 8, 8)
    views = [lambda x: x, lambda x: gaussian_blur(x, BLUR * 8)][: 1 + params.blurred_view]
    expected = [
        [[nearest(view(x[None]), view(t[None]), 1, ways).distances.item() for t in seen[:8]] for x in images]
        for view in views
    ]
    np.testing.assert_allclose(likeness.all_distances(images), expected, rtol=1e-12)


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_among_seen_leaves_each_image_itself_out(params: FilterMemorizedParams) -> None:
    seen = random_images(30, 26)
    likeness = Likeness(seen, None, False, params)
    distances, found = likeness.all_distances(seen), likeness.among_seen(6)
    distances[:, range(30), range(30)] = np.inf
    np.testing.assert_array_equal(found.distances, np.sort(distances, axis=2)[..., :6])
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=2)[..., :6])


@pytest.mark.parametrize("params", [PARAMS, BLURRED])
def test_a_source_and_its_relatives_are_as_good_as_never_seen(params: FilterMemorizedParams) -> None:
    """Of seven images each, drawn from one of a pair of equal images that have different groups, or from another."""
    different = random_images(40, 27)
    seen, groups = torch.cat([different, different[:1]]), [str(row // 4) for row in range(40)] + ["9"]
    likeness, images = Likeness(seen, groups, False, params), random_images(7, 28)
    for source, left_out in ((0, {0, 1, 2, 3, 40}), (40, {0, *range(36, 41), 1, 2, 3}), (9, {8, 9, 10, 11})):
        rest = np.setdiff1d(np.arange(41), list(left_out))
        sources = np.full(7, source)
        found = likeness.of(images, sources)
        alone = Likeness(seen[torch.from_numpy(rest)], [groups[row] for row in rest], False, params).of(images)
        np.testing.assert_array_equal(found.score, alone.score)
        np.testing.assert_array_equal(found.nearest, rest[alone.nearest])
        related = likeness.are_relatives(np.arange(40), np.full(40, source))
        assert set(np.flatnonzero(related)) == left_out - {40}


def test_one_of_each_group_is_its_first_image_and_images_without_one_are_all_there() -> None:
    assert one_of_each(["b", None, "a", "b", None, "a", "c"], 7).tolist() == [0, 1, 2, 4, 6]
    assert one_of_each(None, 3).tolist() == [0, 1, 2]
    assert one_of_each([None] * 3, 3).tolist() == [0, 1, 2]
    assert one_of_each([], 0).tolist() == one_of_each(None, 0).tolist() == []


@pytest.mark.parametrize(
    ("seen", "groups", "words"),
    [
        (random_images(5, 0).repeat(9, 1, 1, 1), None, r"saw 5 different images.*needs at least 6"),
        (random_images(1, 0).repeat(60, 1, 1, 1), None, r"saw 1 different images.*neighbours = 5 needs at least 6"),
        (random_images(30, 0, (1, 2, 8)), None, r"shift_pixels is 1.*2 x 8"),
        (random_images(30, 0), ["one"] * 27 + [None] * 3, r"group"),
    ],
)
def test_too_few_or_too_small_images_get_clear_words(seen: torch.Tensor, groups: Groups | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Likeness(seen, groups, False, PARAMS)
