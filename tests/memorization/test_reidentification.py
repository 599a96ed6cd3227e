"""Persons are named by what a region shows of them, never by the photograph that an image was made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.memorization.reidentification import (
    LEAST_PERSONS,
    Photographs,
    Probes,
    gallery,
    photographs,
    reidentify,
    shortfall,
)
from stages.plumbing.errors import UserError

PERSONS, EACH, SIDE = 24, 3, 12
BOX = (slice(2, 10), slice(3, 11))
GROUPS = [f"p{row // EACH}" for row in range(PERSONS * EACH)]
NAMES = [f"{row}.png" for row in range(PERSONS * EACH)]
RANDOM = torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=RANDOM).to(torch.uint8)


@pytest.fixture(scope="module")
def own() -> Photographs:
    """Each person's face is always the same, what is around it never."""
    images, faces = noise(PERSONS * EACH, 1, SIDE, SIDE), noise(PERSONS, 1, 8, 8)
    images[:, :, *BOX] = faces.repeat_interleave(EACH, dim=0)
    regions = torch.zeros(PERSONS * EACH, 1, SIDE, SIDE, dtype=torch.bool)
    regions[:, :, *BOX] = True
    return photographs(images, regions, GROUPS, NAMES)


def probes(own: Photographs, region: Tensor | None = None) -> Probes:
    """Of every photograph, with something else in its region."""
    images = own.images.clone()
    if region is not None:
        images[:, :, *BOX] = region
    return Probes(images, own.regions, np.arange(len(images)))


def test_a_face_that_stays_is_found_and_one_that_is_replaced_or_blacked_out_is_not(own: Photographs) -> None:
    made = probes(own, noise(PERSONS * EACH, 1, 8, 8))
    found = reidentify(own, made, embed=lambda images: images.flatten(1).float())
    assert (found["persons"], found["images"], found["photographs"]) == (PERSONS, PERSONS * EACH, PERSONS * EACH)
    for view in ("region", "classifier", "alike", "backbone"):
        rates, chance = found["views"][view], found["views"][view]["chance"]
        assert chance == pytest.approx((EACH - 1) / (PERSONS * EACH - 1))
        assert rates["before"]["rate"] == 1
        assert rates["black"]["rate"] == pytest.approx(chance, abs=0.02), "a tie is a guess"
        assert rates["after"]["low"] < chance
        assert rates["after"]["high"] < 0.25


def test_what_is_around_a_region_is_told_apart_and_is_the_same_whatever_was_done_to_it(own: Photographs) -> None:
    homes = noise(PERSONS, 1, SIDE, SIDE).repeat_interleave(EACH, dim=0)
    at_home = replace(own, images=torch.where(own.regions, noise(*own.images.shape), homes))
    rest = reidentify(at_home, probes(at_home, noise(PERSONS * EACH, 1, 8, 8)))["views"]["rest"]
    assert all(rest[way]["rate"] == 1 for way in ("before", "after", "blur", "pixels", "black"))


def test_neither_the_source_nor_what_equals_it_nor_another_version_of_it_is_ever_found(own: Photographs) -> None:
    """Images of pure noise are like nothing but themselves; a person's second one equals the first, or is named so."""
    images = noise(*own.images.shape)
    images[1::EACH] = images[0::EACH]
    images[0 :: 2 * EACH] //= 2
    names = [f"twice-{row // EACH}" if row % EACH < 2 else name for row, name in enumerate(NAMES)]
    strangers = photographs(images, own.regions, GROUPS, names)
    assert len(np.unique(strangers.pictures)) == PERSONS * 2
    views = reidentify(strangers, probes(strangers))["views"]
    assert all(each[way]["rate"] < 0.15 for each in views.values() for way in ("before", "after"))


def test_who_cannot_be_looked_for_is_said(own: Photographs) -> None:
    everybody = probes(own)
    nobody = replace(everybody, regions=torch.zeros_like(own.regions))
    ungrouped = photographs(own.images, own.regions, [None] * len(NAMES), NAMES)
    few = replace(everybody, images=everybody.images[:EACH], regions=own.regions[:EACH], sources=np.arange(EACH))
    assert shortfall(own, everybody) is None
    assert "no region" in (shortfall(own, nobody) or "")
    assert "prepare.groups" in (shortfall(ungrouped, everybody) or "")
    assert f"{LEAST_PERSONS} are needed" in (shortfall(own, few) or "")
    with pytest.raises(UserError, match="nobody can be looked for"):
        reidentify(ungrouped, everybody)


def test_a_large_gallery_keeps_whole_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.memorization.reidentification.MOST_PHOTOGRAPHS", 22 * EACH)
    rows = gallery(GROUPS)
    assert len(rows) == 22 * EACH
    assert (np.bincount(rows // EACH, minlength=PERSONS) % EACH == 0).all()
