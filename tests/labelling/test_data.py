from dataclasses import fields

import torch
from torch import Tensor

from tests.labelling.toy import toy_data


def test_all_tensors_move_and_nothing_else_changes() -> None:
    data = toy_data(4)
    moved = data.to("meta")
    for field in fields(data):
        before, after = getattr(data, field.name), getattr(moved, field.name)
        if isinstance(before, Tensor):
            assert (after.device.type, after.shape, after.dtype) == ("meta", before.shape, before.dtype)
        else:
            assert after == before
    assert all(torch.equal(data.images, same.images) for same in (data.to("cpu"), toy_data(4)))
