"""Each image made elsewhere is handed out once, by class and number, with its name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.generators.drawing import draw
from stages.generators.interface import Generator
from stages.generators.kinds import external
from stages.generators.kinds.external import Album, Kind
from stages.generators.quality import draw_classes
from stages.generators.requests import requests
from stages.imaging.files import labelled_images
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import TrustedImages
from tests.generators.toy import FORM, images_elsewhere, some_draws, toy_params
from tests.labelling.toy import toy_data

DATA = replace(toy_data(pool=0), form=FORM)
REAL = TrustedImages(DATA.images, DATA.labels, torch.ones(len(DATA.labels)))


def studied(**changes: str) -> Generator:
    plan, begin = Kind.study(DATA, REAL, toy_params("external", **changes), 0)
    made = Kind(json.loads(json.dumps(plan))).eval()
    made.initialise(begin)
    return made


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any))
def test_an_album_hands_out_each_image_once_by_class_and_number(counts: list[int]) -> None:
    album, total = Album(counts, (1, 1, 1)), sum(counts)
    album.images.copy_(torch.arange(total).view(-1, 1, 1, 1))
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    index = torch.cat([torch.arange(count) for count in counts])
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    draws = replace(some_draws(labels[order], torch.zeros(total, 0)), index=index[order])
    assert torch.equal(to_bytes(album(draws)).flatten().long(), order)


def test_every_image_comes_out_as_it_came_in_under_its_own_name() -> None:
    names, pixels, labels = images_elsewhere()
    made, found = studied(), dict[str, tuple[int, bytes]]()
    assert made.plan["counts"] == [3, 2, 1]
    for asked in requests([range(count) for count in made.plan["counts"]], 0, 0):
        images = draw(made.network, 0, asked, torch.empty(0))[: asked.wanted].numpy()
        label = int(asked.labels[0])
        for name, image in zip(made.names(label, asked.index[: asked.wanted].tolist()), images, strict=True):
            assert name not in found
            found[name] = (label, image.tobytes())
    given_images = zip(labels.tolist(), pixels, strict=True)
    assert found == {
        str(name): (label, image.tobytes()) for name, (label, image) in zip(names, given_images, strict=True)
    }


def test_it_is_judged_by_no_more_images_than_there_are() -> None:
    made = studied()
    images, labels = draw_classes(made.network, made, DATA, per_class=20, seed=0)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert len(images.unique(dim=0)) == 6


def test_it_has_nothing_to_learn_and_no_latents() -> None:
    made = studied()
    assert (list(made.parameters()), made.latent_dim, made.starts_from) == ([], 0, "noise")


def test_images_are_read_in_the_form_of_the_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As files of another size in folders named after the classes."""
    monkeypatch.setattr(external, "labelled_images", labelled_images)
    for label, name in enumerate(FORM.class_names):
        for number in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            grey = np.full((16, 16), 50 * label + number, dtype=np.uint8)
            Image.fromarray(grey).save(tmp_path / name / f"{number}.png")
    made = studied(path=str(tmp_path))
    assert made.plan == {
        "counts": [2, 2, 2],
        "shape": [1, 8, 8],
        "names": [f"{name}/{number}.png" for name in FORM.class_names for number in range(2)],
    }
    labels, index = torch.tensor([2, 0, 1]), torch.tensor([1, 0, 1])
    images = made.network(replace(some_draws(labels, torch.zeros(3, 0)), index=index))
    expected = to_network_range(torch.tensor([101, 0, 51])).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    assert torch.equal(images, expected)
