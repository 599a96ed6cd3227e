"""An arm whose images' own regions are obscured learns from nothing else."""

import pytest
import torch

from stages.downstream.arm_data import Labelled, check_data, labelled_images
from stages.downstream.batches import Advice, batch_parts
from stages.downstream.params import ArmParams
from stages.imaging.obscuring import obscured
from stages.plumbing.errors import UserError
from tests.downstream.toy import changed


@pytest.mark.parametrize("way", ["blur", "pixels", "black"])
def test_real_images_are_obscured_in_their_own_regions_and_keep_their_labels(way, make_data, arm) -> None:
    params, data = ArmParams.model_validate(arm(settings=[{"obscured": way}])), make_data()
    with pytest.raises(UserError, match=r"prepare\.masks"):
        check_data(params, data)
    masks = torch.zeros(21, 1, 8, 8, dtype=torch.bool)
    masks[::2, :, 1:6, 2:7] = True
    known = changed(data, masks=masks)
    check_data(params, known)
    real: Labelled = labelled_images(params, known, final=True, seed=0)
    (part,) = batch_parts(params.settings[0], known, real, 10, _no_advice(), seed=0)
    assert torch.equal(part.images, obscured(real.images, masks, way))
    assert not torch.equal(part.images, real.images)
    assert (part.source, part.places) == ("real", 10)
    assert torch.equal(part.labels, real.labels)


def _no_advice() -> Advice:
    def nobody(*_: object):
        raise AssertionError("nothing is guessed here")

    return Advice(nobody, nobody)
