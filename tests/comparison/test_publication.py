import base64
import json
from dataclasses import replace

import pytest

from stages.comparison.figures import nearest_pairs
from stages.comparison.publication import publish


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
    assert shown.numbers["labels_used"] == dict.fromkeys(("classic", "gan", "real", "gaussian"), 90)
    assert "| owl | 9 | 9 |" in shown.card
    assert "| 0.500 (0.250 to 0.750) |" in shown.card
    difference = shown.numbers["controls"]["gan"]["gaussian"]["accuracy"]["mean"]
    assert f"{100 * difference:+.1f}" in shown.report.split("exploratory</span>")[1][:40]


def test_every_picture_is_a_png_and_only_the_allowed_ones_show_real_images(shown, withheld):
    assert set(shown.pictures) - set(withheld.pictures) == {"pairs_gan", "pairs_gaussian", "findings"}
    for name in ("samples_gan", "samples_gaussian"):
        assert shown.pictures[name] != withheld.pictures[name]
    assert all(picture.startswith(b"\x89PNG") for picture in shown.pictures.values())


def _published(publication):
    """All that is given away, as bytes."""
    table = publication.scores.to_csv().encode()
    texts = (json.dumps(publication.numbers), publication.report, publication.card)
    return [table, *(text.encode() for text in texts), *publication.pictures.values()]


def test_where_real_images_are_withheld_nothing_published_depends_on_them(make_evidence, shown, withheld):
    evidence = make_evidence(show_real=False)
    other = [
        replace(each, id=f"other/{each.id}", other="other", detail="other", picture=None) for each in evidence.findings
    ]
    generators = {
        name: replace(each, pairs=(255 - each.pairs[0], 255 - each.pairs[1], ["p 0.9, kept", "p 0.8, kept"]))
        for name, each in evidence.generators.items()
    }
    real = (255 - evidence.real[0], evidence.real[1])
    changed = replace(evidence, real=real, generators=generators, findings=other)
    again = publish(changed)
    assert _published(again) == _published(withheld)
    assert again.private_report != withheld.private_report
    assert _published(shown) != _published(withheld)


def test_where_real_images_are_withheld_their_pixels_names_and_p_values_are_in_the_private_report_alone(
    make_evidence, withheld
):
    evidence = make_evidence(show_real=False)
    pairs = [nearest_pairs(*each.pairs) for each in evidence.generators.values()]
    captions = [caption for each in evidence.generators.values() for caption in each.pairs[2]]
    private = [*(base64.b64encode(each).decode() for each in pairs), *captions, *(f.id for f in evidence.findings)]
    given_away = b"".join(_published(withheld))
    for each in private:
        assert each in withheld.private_report
        assert each.encode() not in given_away
    assert not set(pairs) & set(withheld.pictures.values())


@pytest.mark.parametrize("show_real", [True, False])
def test_a_set_that_resembles_its_sources_is_withheld_and_so_are_its_pictures_unless_real_images_are_shown(
    make_evidence, make_generator, show_real
):
    own = {"images": 2000, "resembling": 400, "share": 0.2, "low": 0.18, "high": 0.22, "publishable": 0}
    near = make_generator("gan", ["cat", "dog", "owl"], own_source=own)
    evidence = make_evidence(show_real)
    evidence = replace(evidence, generators=evidence.generators | {"gan": near})
    assert evidence.published == ["gaussian"]
    published = publish(evidence)
    assert ("samples_gan" in published.pictures) == show_real
    head = published.card.split("---\n")[1]
    assert "synthetic/gaussian.parquet" in head
    assert "synthetic/gan.parquet" not in published.card
    for page in (published.report, published.card):
        assert "400 of 2\N{NO-BREAK SPACE}000 resemble it" in page
        assert "therefore withheld" in page


def test_where_real_images_may_be_shown_both_reports_are_the_same(shown):
    assert shown.private_report == shown.report
    assert "p 0.0123 of gaussian, dropped" in shown.report


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
    evidence = replace(make_evidence(show_real=True), findings=findings[2:3])
    published = publish(evidence)
    assert "findings" not in published.pictures
    assert findings[2].id in published.report
