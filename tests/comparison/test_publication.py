from dataclasses import replace

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
def make_evidence(make_tables, make_params, make_privacy, checks, findings):
    def make(show_real: bool) -> Evidence:
        tables, truth = make_tables({"classic": 0.6, "gan": 0.9, "real": 0.5}, replicates=10)
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (27, 1, 8, 8), dtype=np.uint8)
        labels = np.repeat([0, 1, 2], 9)
        return Evidence(
            dataset="pets",
            classes=CLASSES,
            real_images=1797,
            left_out=1251,
            checks=checks,
            findings=findings,
            finding_pictures=[tuple(images[:2]), (images[2], None), (None, None), tuple(images[3:5])]
            if show_real
            else None,
            params=make_params(),
            predictions=align(tables, truth, 3),
            facts=dict.fromkeys(tables, FACTS),
            privacy=make_privacy(CLASSES),
            synthetic=(images, labels),
            real=(images[:6], labels[:6]) if show_real else None,
            pairs=(images[:2], images[2:4], ["p 0.01, dropped", "p 0.06, kept"]) if show_real else None,
            made_from="One GAN.",
            generator={"steps": 600},
            gans={
                str(replicate): {"pool_share": 0.75, "pseudo_label_trust": 0.5, "kept_step": 100, "confused": share}
                for replicate, share in enumerate((0.25, 0.75))
            },
            validation_labels=30,
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
    assert "75.0\N{NO-BREAK SPACE}% were unlabelled" in published.card
    assert "| 50.0\N{NO-BREAK SPACE}% (25.0\N{NO-BREAK SPACE}% to 75.0\N{NO-BREAK SPACE}%) |" in published.card


def test_every_picture_is_a_png_and_only_the_allowed_ones_show_real_images(make_evidence):
    shown, withheld = publish(make_evidence(show_real=True)), publish(make_evidence(show_real=False))
    assert set(shown.pictures) - set(withheld.pictures) == {"pairs", "findings"}
    assert shown.pictures["samples"] != withheld.pictures["samples"]
    assert all(picture.startswith(b"\x89PNG") for picture in shown.pictures.values())


def test_publishing_twice_gives_the_same_bytes(make_evidence):
    first, again = publish(make_evidence(show_real=True)), publish(make_evidence(show_real=True))
    assert (first.report, first.card, first.pictures) == (again.report, again.card, again.pictures)


def test_what_the_checks_found_is_told_and_examples_only_where_real_images_may_be_shown(make_evidence, findings):
    shown, withheld = publish(make_evidence(show_real=True)), publish(make_evidence(show_real=False))
    names = [name for each in findings for name in (each.id, each.other, each.detail) if name]
    assert all(name in shown.report for name in names)
    assert not any(name in page for name in names for page in (withheld.report, withheld.card))
    for page in (shown.report, withheld.report):
        assert "also in the test or validation set" in page
    assert "held 1\N{NO-BREAK SPACE}797 images, of which 1\N{NO-BREAK SPACE}251 were left out" in withheld.card


def test_findings_without_any_picture_make_no_figure(make_evidence, findings):
    evidence = replace(make_evidence(show_real=True), findings=findings[2:3], finding_pictures=[(None, None)])
    published = publish(evidence)
    assert "findings" not in published.pictures
    assert findings[2].id in published.report
