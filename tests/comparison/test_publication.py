import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from stages.comparison.figures import nearest_pairs
from stages.comparison.numbers import Outcomes
from stages.comparison.publication import Evidence, publish
from stages.comparison.scores import align
from stages.sources.findings import Finding

CLASSES = ["cat", "dog", "owl"]
CAPTIONS = ["p 0.0123, dropped", "p 0.0678, kept"]
FACTS = {
    "settings": [{}],
    "chosen": 0,
    "validation": [0.8],
    "validation_scores": [0.8] * 10,
    "labels_used": 90,
    "labels_of_train": 50,
    "trained_on_labels": 50,
    "synthetic_images": 0,
    "steps": 600,
}


@pytest.fixture(scope="module")
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
            finding_pictures=[tuple(images[:2]), (images[2], None), (None, None), tuple(images[3:5])],
            params=make_params(publish_real_images=show_real),
            outcomes=Outcomes(align(tables, truth, 3), {}, dict.fromkeys(tables, FACTS), [], None),
            privacy=make_privacy(CLASSES),
            synthetic=(images, labels),
            real=(images[:6], labels[:6]),
            pairs=(images[:2], images[2:4], CAPTIONS),
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


@pytest.fixture(scope="module")
def shown(make_evidence):
    return publish(make_evidence(show_real=True))


@pytest.fixture(scope="module")
def withheld(make_evidence):
    return publish(make_evidence(show_real=False))


def test_everything_published_tells_the_same_numbers(shown):
    accuracy = shown.numbers["arms"]["gan"]["accuracy"]["mean"]
    own = shown.scores[shown.scores["arm"] == "gan"]
    assert own["accuracy"].mean() == pytest.approx(accuracy)
    assert own["validation"].tolist() == [0.8] * 10
    assert f"{100 * accuracy:.1f}" in shown.report
    assert shown.numbers["labels_used"] == {"classic": 90, "gan": 90, "real": 90}
    assert "| owl | 9 |" in shown.card
    assert "75.0\N{NO-BREAK SPACE}% were unlabelled" in shown.card
    assert "| 50.0\N{NO-BREAK SPACE}% (25.0\N{NO-BREAK SPACE}% to 75.0\N{NO-BREAK SPACE}%) |" in shown.card


def test_every_picture_is_a_png_and_only_the_allowed_ones_show_real_images(shown, withheld):
    assert set(shown.pictures) - set(withheld.pictures) == {"pairs", "findings"}
    assert shown.pictures["samples"] != withheld.pictures["samples"]
    assert all(picture.startswith(b"\x89PNG") for picture in shown.pictures.values())


def _published(publication):
    """All that is given away, as bytes."""
    table = publication.scores.to_csv().encode()
    texts = (json.dumps(publication.numbers), publication.report, publication.card)
    return [table, *(text.encode() for text in texts), *publication.pictures.values()]


def test_where_real_images_are_withheld_nothing_published_depends_on_them(make_evidence, shown, withheld):
    evidence = make_evidence(show_real=False)
    other = [Finding(each.kind, f"other/{each.id}", "other", each.action, "other") for each in evidence.findings]
    inverted = [tuple(image if image is None else 255 - image for image in pair) for pair in evidence.finding_pictures]
    generated, nearest, _ = evidence.pairs
    changed = replace(
        evidence,
        real=(255 - evidence.real[0], evidence.real[1]),
        pairs=(255 - generated, 255 - nearest, ["p 0.9, kept", "p 0.8, kept"]),
        findings=other,
        finding_pictures=inverted,
    )
    again = publish(changed)
    assert _published(again) == _published(withheld)
    assert again.private_report != withheld.private_report
    assert _published(shown) != _published(withheld)


def test_where_real_images_are_withheld_their_pixels_names_and_p_values_are_in_the_private_report_alone(
    make_evidence, withheld
):
    evidence = make_evidence(show_real=False)
    pairs = nearest_pairs(*evidence.pairs)
    private = [base64.b64encode(pairs).decode(), *CAPTIONS, *(each.id for each in evidence.findings)]
    given_away = b"".join(_published(withheld))
    for each in private:
        assert each in withheld.private_report
        assert each.encode() not in given_away
    assert pairs not in withheld.pictures.values()


def test_where_real_images_may_be_shown_both_reports_are_the_same(shown):
    assert shown.private_report == shown.report
    assert CAPTIONS[0] in shown.report


def test_publishing_twice_gives_the_same_bytes(make_evidence, shown):
    again = publish(make_evidence(show_real=True))
    assert (shown.report, shown.card, shown.pictures) == (again.report, again.card, again.pictures)


def test_what_the_checks_found_is_told_and_examples_only_where_real_images_may_be_shown(shown, withheld, findings):
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
