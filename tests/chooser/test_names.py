"""Groups are suggested where all names tell them, and nowhere else."""

import re

import numpy as np
import pytest

from stages.chooser.names import names_of_groups
from stages.sources.listing import Listing


def listing(names: list[str]) -> Listing:
    classes = sorted({name.split("/")[0] for name in names})
    labels = np.array([classes.index(name.split("/")[0]) for name in names])
    return Listing(classes, np.array(names), labels, np.full(len(names), ""), None, names, {})


def tree(form: str) -> list[str]:
    return [form.format(kind=kind, g=g, i=i) for kind in ("cat", "dog") for g in range(6) for i in range(3)]


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("{kind}/patient{g:03d}_{i}.png", "patient000"),
        ("{kind}/site1_Subject-{g}_{i}.png", "Subject-0"),
        ("{kind}/slide{g}/{i}.png", "slide0"),
        ("{kind}/a{g}/x{i}y.png", "a0"),
        ("{kind}/img{g}_{i}.png", "img0"),
    ],
)
def test_names_that_tell_groups_are_seen(form: str, group: str) -> None:
    names = tree(form)
    found = names_of_groups(listing(names))
    assert found is not None
    assert (found.groups, found.example) == (6, group)
    assert all(re.search(found.pattern, each) for each in names)


@pytest.mark.parametrize(
    "form", ["{kind}/{g}{i}.png", "{kind}/img_{g}{i}.png", "{kind}/{kind}_{g}{i}.png", "{kind}/scan{g}{i}.png"]
)
def test_mere_numbers_are_no_groups(form: str) -> None:
    assert names_of_groups(listing(tree(form))) is None


def test_one_name_that_does_not_follow_is_enough_to_say_nothing() -> None:
    assert names_of_groups(listing([*tree("{kind}/patient{g:03d}_{i}.png"), "cat/other.png"])) is None
