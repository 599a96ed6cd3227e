import numpy as np
import pytest

from stages.comparison.publication import Evidence, publish
from stages.comparison.scores import align

CLASSES = ["cat", "dog", "owl"]
FACTS = {
    "settings": [{}],
    "chosen": 0,
    "validation": [0.8],
    "validation_scores": [0.8] * 10,
    "labels_used": 90,
    "trained_on_labels": 50,
    "synthetic_images": 0,
    "steps": 600,
}


@pytest.fixture
def make_evidence(make_tables, make_params, make_privacy):
    def make(show_real: bool) -> Evidence:
        tables, truth = make_tables({"classic": 0.6, "gan": 0.9, "real": 0.5}, replicates=10)
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (27, 1, 8, 8), dtype=np.uint8)
        labels = np.repeat([0, 1, 2], 9)
        return Evidence(
            dataset="pets",
            classes=CLASSES,
            params=make_params(),
            predictions=align(tables, truth, 3),
            facts=dict.fromkeys(tables, FACTS),
            privacy=make_privacy(CLASSES),
            synthetic=(images, labels),
            real=(images[:6], labels[:6]) if show_real else None,
            pairs=(images[:2], images[2:4], ["p 0.01, dropped", "p 0.06, kept"]) if show_real else None,
            made_from="One GAN.",
            generator={"steps": 600},
            run={"fingerprint": "abc"},
            parameters="prepare: {}",
        )

    return make


def test_everything_published_tells_the_same_numbers(make_evidence):
    published = publish(make_evidence(show_real=True))
    accuracy = published.numbers["arms"]["gan"]["accuracy"]["mean"]
    own = published.scores[published.scores["arm"] == "gan"]
    assert own["accuracy"].mean() == pytest.approx(accuracy)
    assert own["validation"].tolist() == [0.8] * 10
    assert f"{100 * accuracy:.1f}" in published.report
    assert published.numbers["labels_used"] == {"classic": 90, "gan": 90, "real": 90}
    assert "| owl | 9 |" in published.card


def test_every_picture_is_a_png_and_only_the_allowed_ones_show_real_images(make_evidence):
    shown, withheld = publish(make_evidence(show_real=True)), publish(make_evidence(show_real=False))
    assert set(shown.pictures) - set(withheld.pictures) == {"pairs"}
    assert shown.pictures["samples"] != withheld.pictures["samples"]
    assert all(picture.startswith(b"\x89PNG") for picture in shown.pictures.values())


def test_publishing_twice_gives_the_same_bytes(make_evidence):
    first, again = publish(make_evidence(show_real=True)), publish(make_evidence(show_real=True))
    assert (first.report, first.card, first.pictures) == (again.report, again.card, again.pictures)
