"""Patches of photographs, of which every other one has a lesion in its region and is else as it was."""

import numpy as np
from sklearn.datasets import load_sample_image

from stages.sources.kinds import planted
from stages.sources.params import PlantedParams

PARAMS = PlantedParams(
    kind="planted", path="any", patch=40, seed=3, least_radius=0.08, greatest_radius=0.15, contrast=0.3
)


def test_half_of_the_patches_have_a_lesion_and_none_is_there_twice() -> None:
    listing = planted.find(PARAMS)
    assert len(listing) == 2 * (427 // 40) * (640 // 40)
    assert np.bincount(listing.labels).tolist() == [len(listing) / 2] * 2
    assert len({each[:3] for each in listing.locators}) == len(set(listing.ids)) == len(listing)


def test_a_lesion_adds_light_in_its_region_alone() -> None:
    photographs = [load_sample_image(name).astype(int) for name in ("china.jpg", "flower.jpg")]
    listing = planted.find(PARAMS)
    locators = listing.locators[:40]
    for locator, image, mask in zip(
        locators, planted.read(PARAMS, locators), planted.masks(PARAMS, locators), strict=True
    ):
        photograph, row, column, label = locator
        before = photographs[photograph][row * 40 : row * 40 + 40, column * 40 : column * 40 + 40]
        added = np.asarray(image).astype(int) - before
        assert (mask is not None) == bool(label)
        if mask is None:
            assert not added.any()
            continue
        inside = np.asarray(mask) > 0
        assert 0 < inside.mean() < 0.4
        assert not added[~inside].any()
        assert ((added == round(0.3 * 255)) | (np.asarray(image) == 255))[inside].mean() > 0.2


def test_another_seed_plants_others() -> None:
    other = PARAMS.model_copy(update={"seed": 4})
    assert planted.find(PARAMS).ids.tolist() != planted.find(other).ids.tolist()
