"""A generator's image is the same byte for byte whatever else is drawn, and what is noted of it says what it claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.generators.drawing import Drawn, TrainedGenerator, draw, picture, sources_of
from stages.generators.interface import LearningGenerator
from stages.generators.requests import BATCH, Requests, few_of_each_class, requests, shards
from stages.imaging.pixels import to_bytes, to_network_range
from stages.plumbing.errors import UserError
from tests.conftest import ROOT
from tests.generators.conftest import Make
from tests.generators.toy import JUDGING, LEARNING, some_draws
from tests.labelling.toy import toy_data, toy_images, toy_masks

SOURCES, SOURCE_LABELS = toy_images(4, seed=8)
DATA = replace(
    toy_data(0), images=SOURCES, labels=SOURCE_LABELS, from_source=len(SOURCES), masks=toy_masks(SOURCE_LABELS)
)
every_kind = pytest.mark.parametrize("name", LEARNING)


def trained(make: Make, name: str) -> TrainedGenerator:
    """As if it had been trained: weights that are zero at the start add something, and the discriminator judges."""
    generator, random = make(name), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return TrainedGenerator(name, generator.eval())


def asked_for(made: TrainedGenerator, wanted: list[range], seed: int = 4, replicate: int = 1) -> list[Requests]:
    labels = sources_of(made.generator, DATA)
    return list(requests(wanted, seed, replicate, labels))


def drawn(made: TrainedGenerator, wanted: list[range], truncation: float = 1.0, **of: int) -> dict[int, Drawn]:
    """Images of each class that has any, with all that is noted of them."""
    by_class: dict[int, list[Drawn]] = {}
    for asked in asked_for(made, wanted, **of):
        by_class.setdefault(int(asked.labels[0]), []).append(
            made.draw(asked, SOURCES, truncation, scores=True, masks=DATA.masks)
        )
    return {
        label: Drawn(
            np.concatenate([each.images for each in parts]),
            {name: np.concatenate([each.scores[name] for each in parts]) for name in parts[0].scores},
        )
        for label, parts in by_class.items()
    }


def starts_with(longer: Drawn, shorter: Drawn) -> bool:
    """Whether the first images, and what is noted of them, are the same to the last bit."""
    count = len(shorter.images)
    same = (np.array_equal(longer.scores[name][:count], value) for name, value in shorter.scores.items())
    return np.array_equal(longer.images[:count], shorter.images) and all(same)


@every_kind
def test_asking_for_more_changes_no_earlier_image_and_no_score(make: Make, name: str) -> None:
    made = trained(make, name)
    few = drawn(made, [range(3), range(5), range(BATCH + 7)])
    many = drawn(made, [range(BATCH + 9), range(40), range(3 * BATCH)])
    assert all(starts_with(many[label], each) for label, each in few.items())
    assert [len(each.images) for each in few.values()] == [3, 5, BATCH + 7]


@every_kind
def test_a_class_does_not_depend_on_the_others(make: Make, name: str) -> None:
    made = trained(make, name)
    alone, together = drawn(made, [range(0), range(20), range(0)]), drawn(made, [range(9), range(20), range(30)])
    assert alone.keys() == {1}
    assert starts_with(together[1], alone[1])


@pytest.mark.parametrize("batches", [1, 3])
def test_shards_together_are_the_whole(make: Make, batches: int) -> None:
    made, counts = trained(make, "projection"), [BATCH + 9, 0, 2 * BATCH]
    parts = [drawn(made, ranges) for ranges in shards(counts, batches)]
    whole = drawn(made, [range(count) for count in counts])
    for label, each in whole.items():
        images = [part[label].images for part in parts if label in part]
        assert np.array_equal(np.concatenate(images), each.images)


def test_the_network_sees_whole_batches_of_one_class(make: Make) -> None:
    made, seen = trained(make, "projection"), list[list[int]]()
    made.generator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].labels.tolist()))
    for asked in asked_for(made, [range(BATCH + 1), range(0), range(1)]):
        made.draw(asked, SOURCES, 1.0, scores=False, masks=DATA.masks)
    assert seen == [[0] * BATCH, [0] * BATCH, [2] * BATCH]


def test_an_image_comes_back_from_its_batchs_seed_its_class_and_its_index(make: Make) -> None:
    made = trained(make, "projection")
    (asked,) = asked_for(made, [range(0), range(0), range(6)])
    images = made.draw(asked, SOURCES, 0.7, scores=False, masks=DATA.masks).images
    latents = np.random.default_rng(asked.seed).standard_normal((BATCH, 6), dtype=np.float32)[5:6]
    with torch.no_grad():
        again = made.generator.network(some_draws(torch.tensor([2]), torch.from_numpy(latents) * 0.7))
    assert np.abs((again[0].clamp(-1, 1).numpy() + 1) * 127.5 - images[5]).max() < 0.51


@every_kind
@pytest.mark.parametrize(
    "other", [{"seed": 5}, {"replicate": 2}, {"truncation": 0.5}], ids=lambda other: next(iter(other))
)
def test_seed_replicate_and_truncation_matter(make: Make, name: str, other: dict[str, float]) -> None:
    made, wanted = trained(make, name), [range(10)] * 3
    one, another = drawn(made, wanted), drawn(made, wanted, **other)  # type: ignore[arg-type]
    assert all(not np.array_equal(one[label].images, another[label].images) for label in range(3))


def test_truncation_lowers_variety(make: Make) -> None:
    made = trained(make, "projection")
    low, full = (drawn(made, [range(200)], truncation=each)[0].images.std(axis=0).mean() for each in (0.2, 1.0))
    assert low < 0.5 * full


@pytest.mark.parametrize("name", JUDGING)
def test_scores_are_the_discriminators_of_the_image_as_it_is_kept_and_the_latents_length(make: Make, name: str) -> None:
    made = trained(make, name)
    for asked in asked_for(made, [range(5)] * 3):
        found = made.draw(asked, SOURCES, 0.5, scores=True, masks=DATA.masks)
        sources = None if asked.sources is None else to_network_range(SOURCES[torch.from_numpy(asked.sources[:5])])
        masks = None if asked.masks is None else DATA.masks[torch.from_numpy(asked.masks[:5])].float()
        draws = some_draws(torch.from_numpy(asked.labels[:5]), torch.zeros(5, 6), sources, masks)
        expected = made.generator.judge(to_network_range(torch.from_numpy(found.images)), draws)
        np.testing.assert_allclose(found.scores["realness"], expected.numpy(), rtol=1e-4, atol=1e-5)
        assert found.scores["realness"].std() > 0
        lengths = [
            float(np.square(row).sum() ** 0.5)
            for row in asked.latents(made.generator.latent_dim)[:5].astype(np.float64)
        ]
        assert found.scores["latent_norm"].tolist() == pytest.approx(lengths, rel=1e-6), "before truncation"


def test_no_score_is_computed_that_nobody_asked_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trained(make, "projection")
    (asked,) = asked_for(made, [range(2)])
    monkeypatch.setattr(LearningGenerator, "judge", lambda *_: pytest.fail("judged"))
    assert not made.draw(asked, SOURCES, 1.0, scores=False, masks=DATA.masks).scores


@every_kind
def test_the_picture_has_a_row_for_each_class(make: Make, name: str) -> None:
    made = trained(make, name)
    asked = few_of_each_class(3, 5, 0, sources_of(made.generator, DATA))
    grid = picture(made.generator.network, made.generator.latent_dim, asked, SOURCES, DATA.masks)
    assert grid.shape == (3 * 8, 5 * 8, 1)
    assert grid.dtype == np.uint8
    images = draw(made.generator.network, made.generator.latent_dim, asked, SOURCES, DATA.masks).numpy()
    for row in range(3):
        for column in range(5):
            cell = grid[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, 0]
            assert np.array_equal(cell, images[5 * row + column, 0])


def test_a_picture_keeps_its_colours() -> None:
    class Red(torch.nn.Module):
        def forward(self, draws: object) -> Tensor:
            image = torch.stack([torch.ones(8, 8), -torch.ones(8, 8), torch.zeros(8, 8)])
            return image.repeat(len(draws.labels), 1, 1, 1)  # type: ignore[attr-defined]

    grid = picture(Red(), 2, few_of_each_class(2, 3, 0), None)
    assert grid.shape == (16, 24, 3)
    assert np.array_equal(grid, np.broadcast_to(np.array([255, 0, 128], dtype=np.uint8), grid.shape))


def test_every_byte_survives_the_way_to_network_range_and_back() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert to_network_range(values).min() == -1
    assert to_network_range(values).max() == 1
    assert torch.equal(to_bytes(to_network_range(values)), values)


def test_what_lies_outside_the_range_becomes_the_nearest_byte() -> None:
    assert to_bytes(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]


@pytest.mark.parametrize("file", ["plan.json", "weights.safetensors", "history.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_generator_is_told_in_words(make: Make, tmp_path: Path, file: str, damage: str) -> None:
    trained(make, "projection").save(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    if damage == "cut short":
        (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=str(tmp_path.name)):
        TrainedGenerator.open(tmp_path, torch.device("cpu"))


def test_what_is_saved_is_the_same_twice_and_holds_no_place_of_this_machine(make: Make, tmp_path: Path) -> None:
    made = replace(trained(make, "projection"), history=[{"step": 1}], quality={"kid": 0.25})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.save(tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert one.keys() == {"plan.json", "weights.safetensors", "history.json"}
    assert str(ROOT).encode() not in b"".join(one.values())
