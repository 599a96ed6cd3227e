from dataclasses import fields

import numpy as np
from PIL import Image

from stages.sources import facts
from stages.sources.facts import Facts
from stages.sources.ingest import ingest
from stages.sources.params import ImageParams


def test_facts_of_parts_are_joined_in_order() -> None:
    form = ImageParams(size=8, channels="grey", fit="pad", flip_ok=False)
    pictures = [Image.new("L", (8 + side, 9), side) for side in range(7)]
    whole = ingest("abcdefg", pictures, form).facts
    parts = [ingest("abcdefg"[low:high], pictures[low:high], form).facts for low, high in ((0, 3), (3, 3), (3, 7))]
    joined = facts.join(parts)
    for each in fields(Facts):
        np.testing.assert_array_equal(getattr(joined, each.name), getattr(whole, each.name))
        assert getattr(joined, each.name).dtype == getattr(whole, each.name).dtype
