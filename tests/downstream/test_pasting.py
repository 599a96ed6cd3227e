"""Cut and paste: regions of both images come from the one that gives the label, and the seam does not show."""

import pytest
import torch

from stages.downstream.arm_data import check_data, labelled_images
from stages.downstream.params import ArmParams
from stages.downstream.pasting import DRAWS, blended, pasted
from stages.plumbing.errors import UserError
from tests.downstream.toy import changed


def flat(level: int, side: int = 12) -> torch.Tensor:
    return torch.full((1, 1, side, side), level, dtype=torch.uint8)


def box(top: int, left: int, side: int = 4) -> torch.Tensor:
    mask = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    mask[..., top : top + side, left : left + side] = True
    return mask


def test_what_is_pasted_keeps_its_contrast_and_takes_the_light_of_where_it_is_put() -> None:
    piece = flat(100)
    piece[..., 5:7, 5:7] = 150
    result = blended(piece, flat(40), box(4, 4))
    assert torch.equal(result[..., 5:7, 5:7], flat(90)[..., 5:7, 5:7])
    assert torch.equal(result[~box(5, 5, 2)], flat(40)[~box(5, 5, 2)])


def test_light_that_differs_from_side_to_side_is_followed_without_a_seam() -> None:
    slope = torch.arange(0, 240, 20).expand(1, 1, 12, 12).to(torch.uint8)
    assert (blended(flat(77), slope, box(3, 3, 6)).int() - slope.int()).abs().max() <= 1


def test_regions_of_both_are_replaced_and_labels_are_those_of_what_is_pasted() -> None:
    """A healthy image is bright noise without a region; a lesion is a dark box."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(180, 220, (6, 1, 12, 12), generator=random).to(torch.uint8)
    labels, masks = torch.tensor([0, 0, 0, 1, 1, 1]), torch.zeros(6, 1, 12, 12, dtype=torch.bool)
    for row, place in ((3, 2), (4, 4), (5, 6)):
        masks[row] = box(place, place)
        images[row, :, place + 1 : place + 3, place + 1 : place + 3] = 20
    made, given = pasted(images, labels, masks, seed=1)
    assert len(made) == len(given) == 6 * DRAWS
    assert torch.equal(given, labels.repeat(DRAWS))
    assert ((made < 100).flatten(1).any(dim=1) == given.bool()).all(), "no lesion of the other image is left"
    assert not any(torch.equal(one, images[row % 6]) for row, one in enumerate(made))
    assert torch.equal(pasted(images, labels, masks, seed=1)[0], made)
    assert not torch.equal(pasted(images, labels, masks, seed=2)[0], made)


def test_an_arm_that_pastes_needs_regions_and_takes_those_of_its_own_labels(make_data, arm) -> None:
    pasting, data = ArmParams.model_validate(arm(settings=[{"pasted_share": 0.5}])), make_data()
    masks = torch.zeros(21, 1, 8, 8, dtype=torch.bool)
    for none in (data, changed(data, masks=masks)):
        with pytest.raises(UserError, match=r"prepare\.masks"):
            check_data(pasting, none)
    masks[torch.arange(21), 0, 0, torch.arange(21) % 8] = True
    known = changed(data, masks=masks)
    check_data(pasting, known)
    for final, count in ((False, 12), (True, 21)):
        found = labelled_images(pasting, known, final, seed=0)
        assert found.masks is not None
        assert torch.equal(found.masks, masks[:count])
    few = ArmParams.model_validate(arm(settings=[{"pasted_share": 0.5}], labels={"per_class": 2}))
    chosen = labelled_images(few, known, True, seed=0)
    assert chosen.masks is not None
    for image, mask in zip(chosen.images, chosen.masks, strict=True):
        (row,) = (number for number in range(12) if torch.equal(image, known.seen.images[number]))
        assert torch.equal(mask, masks[row])
