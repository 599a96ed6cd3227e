import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
import torch
from ruamel.yaml import YAML
from stages.comparison.verdict import compare, draw_means

from stages.comparison.card import render_card
from stages.comparison.evidence import Finding
from stages.comparison.fidelity import set_measures
from stages.comparison.report import ReportContent, render_report
from stages.comparison.robustness import NAMES
from stages.comparison.scores import score
from stages.comparison.wording import CHECKS, FIDELITY_MEASURES

NASTY = "<script>alert('x')</script>|`b`"
CLASSES = [NASTY, "one", "two"]
CHOICE = {
    "settings": [{"synthetic_share": 0.5}, {"synthetic_share": 0.75, "filter": {"by": "confidence", "keep": 0.8}}],
    "chosen": 1,
    "validation": [0.7, 0.8],
}
PICTURES = ("comparison", "settings", "samples_gan", "pairs_gan", "findings", "confusion_gan")


@pytest.fixture(scope="module")
def compared(make_evidence, make_params):
    """Number of replicates -> the numbers of a comparison, without what may be left out."""

    @cache
    def run(replicates):
        predictions, params = make_evidence(replicates=replicates).outcomes.predictions, make_params()
        draws = draw_means(predictions, params)
        return compare(predictions, score(predictions), draws, dict.fromkeys(predictions.arms, 100), params)

    return run


@pytest.fixture
def make_content(compared, make_evidence, make_generator, make_params):
    """Of one generator, with an arm that had a choice."""

    def make(replicates=10, **changes):
        evidence = make_evidence(
            replicates=replicates,
            classes=CLASSES,
            params=make_params(**changes),
            generators={"gan": make_generator("gan", CLASSES)},
            parameters="evaluate: <b>",
        )
        facts = evidence.outcomes.facts | {"gan": evidence.outcomes.facts["gan"] | CHOICE}
        evidence = replace(evidence, outcomes=replace(evidence.outcomes, facts=facts))
        return ReportContent(evidence, compared(replicates), {name: name.encode() for name in PICTURES}, True)

    return make


def _of(content, **changes):
    """The content with other parts of its evidence."""
    return replace(content, evidence=replace(content.evidence, **changes))


def _with_privacy(content, metrics):
    return _of(content, generators={"gan": replace(content.evidence.generators["gan"], privacy=metrics)})


def _without(content, *pictures):
    left = {name: png for name, png in content.pictures.items() if name not in pictures}
    return replace(content, pictures=left)


class _Page(HTMLParser):
    """Collects what a page would load, its images' alternatives, its tags and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.alternatives: list[str | None] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.sources += [found[name] for name in ("src", "href", "srcset", "data") if name in found]
        if tag == "img":
            self.alternatives.append(found.get("alt"))

    def handle_data(self, data):
        self.text += f"{data} "


def test_the_page_says_the_verdict_and_loads_nothing(make_content):
    content = make_content()
    html = render_report(content)
    page = _Page(html)
    assert content.numbers["verdict"]["sentence"] in page.text
    assert len(page.sources) == 6
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://|url\(|@import", html)
    assert all(page.alternatives), "every image has a text alternative"
    assert render_report(content) == html


def test_names_are_escaped(make_content):
    html = render_report(make_content())
    page = _Page(html)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert NASTY in page.text


def test_the_exploratory_is_marked_and_the_contrast_carries_holm(make_content):
    text = " ".join(_Page(render_report(make_content())).text.split())
    named, exploratory = text.split("Everything else compared")
    assert "p, Holm" in named
    assert "exploratory" in exploratory[:40]
    assert "real against classic" in exploratory
    assert "real against classic" not in named


def test_privacy_figures_and_choices_are_told(make_content):
    text = " ".join(_Page(render_report(make_content())).text.split())
    assert "21 of 300 generated images were dropped (7.0 %)" in text
    assert "4.98% on average over such draws, and so at most the stated 5.00%" in text
    assert "4.0 % of them would be dropped (95 % interval 2.0 % to 8.0 %)" in text
    assert "slightly blurred it is 3.0 % (1.0 % to 7.0 %)" in text
    assert "one 100 7 7.0 % 5.5 % 5.5 %" in text
    assert "of each kind were found, except of these: mixed with a fifth of another image (62.5 %)" in text
    assert "the image itself 640 100.0 % 1.000" in text
    assert "than real ones? 0.70 0.65 to 0.75 members are nearer 0.49 0.44 to 0.54 a guess 1.2 % 0.5 %" in text
    assert "data copying, C T \N{MINUS SIGN}4.2 data copying 0.5 as near as fresh about 0" in text
    assert "authentic 60.0 % 90.0 % 80.0 %" in text
    assert "memorised" not in text
    assert "synthetic share 0.75, filter by confidence keep 0.8 chosen 80.0" in text


def test_a_generator_that_memorised_is_told_so_plainly(make_content, make_card):
    memorised = _privacy(make_content()) | {"dropped_share": 0.9}
    text = _text(_with_privacy(make_content(), memorised))
    assert "The generator has memorised: most of its images" in text
    assert "The generator has memorised" in make_card(privacy=memorised)


def test_a_rate_above_the_promise_warns(make_content):
    rate = {"rate": 0.1, "low": 0.06, "high": 0.15}
    text = _text(_with_privacy(make_content(), _privacy(make_content()) | {"false_positive_rate": rate}))
    assert "more than the 5.0 % promised, so do not rely on the promise" in text


def test_the_page_and_the_card_do_without_what_was_not_measured(make_content, make_card):
    content = make_content()
    optional = ("false_positive_rate", "false_positive_rate_blurred", "planted", "attacks", "set_level")
    bare = {name: value for name, value in _privacy(content).items() if name not in optional} | {"calibration": 0}
    text = _text(_with_privacy(content, bare))
    assert "could not be checked here" in text
    assert "No attack was tried here" in text
    assert "Does the filter find copies?" not in text
    assert "C T" not in text
    card = make_card(privacy=bare)
    assert "full conformal" in card
    assert "AUC" not in card


def test_attacks_without_a_fixed_rate_have_no_such_columns(make_content):
    content = make_content()
    found = {"distance": {"auc": 0.5, "low": 0.4, "high": 0.6}}
    privacy = _privacy(content) | {"attacks": {"before": found, "after": found}}
    assert "named, kept" not in render_report(_with_privacy(content, privacy))
    assert "named, kept" in render_report(content)


@pytest.mark.parametrize(("classes", "folded"), [(12, False), (13, True)])
def test_long_tables_are_folded(make_content, make_privacy, classes, folded):
    names = [f"class {k}" for k in range(classes)]
    content = _of(_with_privacy(make_content(), make_privacy(names)), classes=names)
    page = _Page(render_report(content))
    assert (f"All {classes} classes" in page.text) == folded
    assert all(name in page.text for name in names)


def _privacy(content):
    return content.evidence.generators["gan"].privacy


def _text(content):
    return " ".join(_Page(render_report(content)).text.split())


def _spread(mean):
    return {"mean": mean, "std": 0.01}


def _of_class(sensitivity):
    return {
        "test_images": 40,
        "sensitivity": sensitivity,
        "specificity": 0.98,
        "auroc": 0.991,
        "average_precision": 0.9,
    }


@pytest.fixture
def make_measured(make_content):
    """A report with every part that may be left out."""

    def make(**changes):
        content = make_content()
        numbers = dict(content.numbers)
        further = {"auroc": _spread(0.912), "log_loss": _spread(1.234)}
        numbers["arms"] = {arm: scores | further for arm, scores in numbers["arms"].items()}
        fidelity = {"precision": _spread(0.83), "kid": _spread(-0.0001), "frechet_distance": _spread(3.25)}
        numbers |= {
            "learning_curve": {"10": _spread(0.8), "5": _spread(0.6)},
            "worth": {
                "gan": {"sentence": "5 labels per class with gan reach what 9 without reach", "labels_per_class": 5}
            },
            "models": {"network": {"gan": _spread(0.9), "real": _spread(0.5)}, "linear_svm": {"gan": _spread(0.7)}},
            "per_class": {
                "classic": dict.fromkeys(CLASSES, _of_class(0.61)),
                "gan": dict.fromkeys(CLASSES[:2], _of_class(0.97)) | {"two": {"test_images": 0, "specificity": 0.88}},
            },
            "fidelity": {
                "gan": {
                    "images": 1200,
                    "measures": fidelity,
                    "floor": {"precision": _spread(0.91), "kid": _spread(0.0), "frechet_distance": _spread(1.5)},
                    "classes": {
                        NASTY: {
                            "real_share": 0.25,
                            "synthetic_share": 0.5,
                            "images": 40,
                            "measures": {"precision": 0.72},
                            "floor": {"precision": 0.93},
                        },
                        "one": {"real_share": 0.1, "synthetic_share": 0.2, "images": 3, "measures": {}, "floor": {}},
                    },
                },
            },
            "robustness": {
                "gan": {"gaussian_noise_2": _spread(0.71), "pgd_8": _spread(0.12)},
                "real": {"gaussian_noise_2": _spread(0.33)},
            },
        }
        pictures = content.pictures | {"learning_curve": b"curve", "models": b"models"}
        return replace(content, numbers=numbers | changes, pictures=pictures)

    return make


HEADINGS = (
    "worth in labels",
    "Model by model",
    "How good are they?",
    "Under disturbance",
    "Further measures",
    "Sensitivity",
)


def test_what_was_measured_is_told(make_measured):
    content = make_measured()
    text = _text(content)
    assert all(heading in text for heading in HEADINGS)
    assert "5 labels per class with gan reach what 9 without reach. " in text
    assert "5 without synthetic images 60.0 ± 1.0 10 without synthetic images 80.0 ± 1.0 5 gan" in text
    assert "neural network linear SVM" in text
    assert "gan 90.0 ± 1.0 70.0 ± 1.0 real 50.0 ± 1.0 none" in text
    assert "gan 0.912 ± 0.010 1.234 ± 0.010" in text
    assert f"nothing {100 * content.numbers['arms']['gan']['accuracy']['mean']:.1f} ± " in text
    assert "noise, medium 71.0 ± 1.0" in text
    assert "attack in many steps (PGD), 8 grey levels 12.0 ± 1.0" in text
    assert text.index("noise, medium 71.0") < text.index("All other arms") < text.index("noise, medium 33.0")


def test_classes_stand_side_by_side_and_what_is_undefined_is_none(make_measured):
    text = _text(make_measured())
    assert "sensitivity gan sensitivity classic specificity gan specificity classic" in text
    assert "test images 97.0 61.0 98.0 98.0" in text
    assert "test images none 61.0 88.0 98.0" in text
    assert "one 97.0 98.0 0.991 0.900" in text
    assert "two none 88.0 none none" in text


def test_of_several_arms_the_best_is_shown_beside_the_first_rival(make_measured):
    content = make_measured()
    contrast = {"arms": ["real", "gan"], "rivals": ["classic"], "measure": "accuracy"}
    params = content.evidence.params.model_validate(content.evidence.params.model_dump() | {"contrast": contrast})
    both = content.numbers["per_class"] | {"real": dict.fromkeys(CLASSES, _of_class(0.2))}
    named = {"real": {"classic": _named(content)}, "gan": {"classic": _named(content)}}
    numbers = content.numbers | {"per_class": both, "differences": content.numbers["differences"] | named}
    text = _text(_of(replace(content, numbers=numbers), params=params))
    assert "sensitivity gan sensitivity classic" in text
    assert "the one that scored best here" in text


def _named(content):
    return content.numbers["differences"]["gan"]["classic"]


def test_fidelity_stands_beside_what_real_images_get(make_measured):
    text = _text(make_measured())
    assert "1 200 synthetic images against as many real ones" in text
    assert "many look wrong 83.0 % ± 1.0 % 91.0 % ± 1.0 %" in text
    assert "about 0 is best 0.000 ± 0.010 0.000 ± 0.010" in text, "no negative zero"
    assert "lower is better 3.25 ± 0.01 1.50 ± 0.01" in text
    assert "25.0 % 50.0 % 40 72.0 % 93.0 %" in text
    assert "one 10.0 % 20.0 % 3 none none" in text


def test_every_measure_of_fidelity_and_every_disturbance_has_words(make_measured):
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    assert set(set_measures(features[:20], features[20:], 0)) == set(FIDELITY_MEASURES)
    text = _text(make_measured(robustness={"gan": {f"{name}_2": _spread(0.5) for name in NAMES}}))
    assert not any(f"{name}_2" in text or f"{name.replace('_', ' ')}, " in text for name in NAMES if "_" in name)


def test_what_was_not_measured_is_left_out(make_content, make_measured):
    text = _text(make_content())
    assert not any(heading in text for heading in HEADINGS)
    assert "Single classes were not measured" in text
    parts = ("learning_curve", "worth", "models", "per_class", "fidelity", "robustness")
    empty = _without(make_measured(**{part: {} for part in parts}), "learning_curve", "models")
    assert not any(heading in _text(empty) for heading in HEADINGS if heading != "Further measures")


def test_one_replicate_has_no_deviations(make_measured):
    content, alone = make_measured(), make_measured()
    numbers = json.loads(
        json.dumps(alone.numbers), object_hook=lambda part: {k: v for k, v in part.items() if k != "std"}
    )
    assert "±" in _text(content)
    assert " ± " not in _text(replace(alone, numbers=numbers | {"replicates": 1}))


def test_pictures_are_told_to_those_who_cannot_see_them(make_measured):
    page = _Page(render_report(make_measured()))
    assert len(page.alternatives) == 8
    assert all(page.alternatives)
    told = " ".join(page.alternatives)
    assert "Without synthetic images: 60.0 % with 5, 80.0 % with 10" in told.replace("\N{NO-BREAK SPACE}", " ")
    assert "linear SVM: gan 70.0 %" in told.replace("\N{NO-BREAK SPACE}", " ")
    assert "chosen: synthetic share 0.75" in told
    assert "script" not in page.tags


def _undecided(content, power):
    arms = {"gan": {"outcome": "undecided", "sentence": "Open."}}
    verdict = {"outcome": "undecided", "sentence": "Not decided.", "arms": arms}
    return replace(content, numbers=content.numbers | {"verdict": verdict, "power": {"gan": {"classic": power}}})


def test_what_would_decide_an_open_question_is_told_and_nothing_where_it_is_decided(make_content):
    content = make_content()
    assert content.numbers["verdict"]["outcome"] == "helps"
    assert "What would decide it" not in _text(content)
    power = {"needed": 1000, "smallest_gain": 0.0234, "power_for_margin": 0.31}
    text = _text(_undecided(content, power))
    assert "a true gain of 1 percentage point, the least that matters" in text
    assert "gan against classic about 1 000 31 % +2.3" in text
    assert "gan against classic over 1 000 more test images instead 5 % none" in _text(
        _undecided(content, {"power_for_margin": 0.05})
    )


def _prepared(checks):
    return {"read": 1797, "images": 546, "checks": checks}


def _data_section(content):
    html = render_report(content)
    section = html.split("<h2>The data, before anything was trained</h2>")[1].split("</section>")[0]
    page = _Page(section)
    return page, " ".join(page.text.split())


def test_what_the_checks_found_is_told_in_words_and_numbers(make_content):
    page, text = _data_section(make_content())
    assert "All 1 797 real images were searched" in text
    assert "1 251 images were left out for it" in text
    assert "also in the test or validation set 1 251 1 250" in text
    assert text.index("breaks off") < text.index("copy of another image"), (
        "in the order of the words, not of the numbers"
    )
    assert CHECKS["upscaled"] not in text, "what was not found is no row"
    assert "1 also in the test or validation set the same pixels train/cat/7.png test/cat/1.png dropped" in text
    assert "train/dog/2.png train/cat/3.png kept without its label" in text
    assert len(page.alternatives) == 1
    assert "2: one colour throughout, kept" in page.alternatives[0]


@pytest.mark.parametrize("found", [{}, {"leak": {"images": 0, "dropped": 0}}])
def test_nothing_found_is_said_plainly(make_content, found):
    page, text = _data_section(_of(make_content(), prepared=_prepared(found), findings=[]))
    assert text.endswith("nothing was found.")
    assert page.tags == ["p"]


def test_file_names_and_unknown_checks_are_escaped_and_long_names_lose_their_middle(make_content):
    long = f"train/{NASTY}/{'x' * 80}/scan.png"
    finding = Finding(NASTY, long, f'"{NASTY}', "kept", NASTY, None, None)
    content = _of(make_content(), prepared=_prepared({NASTY: {"images": 1, "dropped": 0}}), findings=[finding])
    page, text = _data_section(content)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert text.count(NASTY) >= 3
    assert f'"{NASTY}' in text
    assert long not in text
    shortened = next(word for word in text.split() if word.startswith("train/<script>"))
    assert (len(shortened), shortened[-9:]) == (48, "/scan.png")


def test_where_real_images_are_withheld_their_names_are_too(make_content):
    content = _without(replace(make_content(publish_real_images=False), shows_real=False), "findings")
    page, text = _data_section(content)
    assert "also in the test or validation set 1 251 1 250" in text
    assert "withheld" in text
    assert "img" not in page.tags
    assert ".png" not in text


def test_one_replicate_claims_nothing(make_content):
    text = " ".join(_Page(render_report(make_content(replicates=1))).text.split())
    assert "There is one replicate" in text
    assert "Holm" not in text


def test_withheld_and_missing_images_are_explained(make_content):
    content = _without(replace(make_content(publish_real_images=False), shows_real=False), "pairs_gan", "findings")
    withheld = " ".join(_Page(render_report(content)).text.split())
    assert "Pairs would show real images, which are withheld" in withheld
    assert "data/evaluate/report_private.html" in withheld
    assert "Private." not in withheld
    nothing = _Page(render_report(_without(make_content(), "samples_gan", "pairs_gan", "findings")))
    assert len(nothing.sources) == 3


def test_pairs_are_described_by_their_captions_and_a_private_page_says_that_it_is(make_content):
    page = _Page(render_report(make_content(publish_real_images=False)))
    assert any("p 0.0123 of gan, dropped; p 0.0678 of gan, kept" in text for text in page.alternatives)
    assert "Do not pass it on" in page.text
    assert "Do not pass it on" not in _Page(render_report(make_content())).text


@pytest.fixture
def make_card(make_content):
    def make(quality=None, privacy=None, dataset='digits: "new"\nline', **changes):
        content = make_content()
        gan = content.evidence.generators["gan"]
        gan = replace(gan, quality=quality or {}, privacy=privacy or gan.privacy)
        evidence = replace(content.evidence, **({"dataset": dataset, "generators": {"gan": gan}} | changes))
        return render_card(evidence, content.numbers)

    return make


def test_the_card_is_marked_synthetic_and_its_head_is_yaml(make_content, make_card):
    content, card = make_content(), make_card()
    _, head, body = card.split("---\n", 2)
    front = YAML(typ="safe").load(head)
    assert {"synthetic", "gan"} <= set(front["tags"])
    assert front["license"] == "unknown"
    assert front["size_categories"] == ["n<1K"]
    assert front["pretty_name"] == 'Synthetic digits: "new"\nline'
    assert front["configs"] == [{"config_name": "gan", "data_files": "synthetic/gan.parquet", "default": True}]
    assert "Every image here is synthetic" in body
    assert content.numbers["verdict"]["sentence"] in body
    assert "| one | 9 |" in body
    assert "| steps | 600 |\n| augment policies | cutout, flip |\n| augment limit | 0.8 |" in body
    assert "<script>" not in body
    assert all(row.count("|") in (3, 4, 5) for row in body.splitlines() if row.startswith("|"))
    assert json.dumps(_privacy(content)["dropped"]) in body


def test_the_card_has_a_section_for_every_generator(make_card, make_generator):
    both = {name: make_generator(name, CLASSES) for name in ("gan", "gaussian")}
    card = make_card(generators=both)
    front = YAML(typ="safe").load(card.split("---\n")[1])
    assert [each["config_name"] for each in front["configs"]] == ["gan", "gaussian"]
    assert [each.get("default") for each in front["configs"]] == [True, None]
    assert "## gan: one GAN for all classes" in card
    assert "## gaussian: the Gaussian of each class, without a network" in card
    alone = make_card(generators={"gaussian": both["gaussian"]})
    assert "gan" not in YAML(typ="safe").load(alone.split("---\n")[1])["tags"]
    assert "GAN" not in alone.replace("seen by no GAN", "").split("## gaussian")[1], "a Gaussian is none"


def test_the_card_says_whose_guesses_the_probabilities_are(make_card, make_generator):
    gan = make_generator("gan", CLASSES)
    soft = replace(gan, section=gan.section | {"labels": "teacher"})
    assert "as a teacher gives them" in make_card(generators={"gan": soft})
    assert "probabilities" not in make_card().split("## Content")[1].split("## Does it help?")[0]


def test_a_source_is_named_only_where_real_images_may_be(make_card, make_params):
    assert "drawn from, if any" in make_card()
    assert "withheld here" in make_card(params=make_params(publish_real_images=False))


def _replicates(*measures):
    return {str(number): each for number, each in enumerate(measures)}


KEPT = {"kept_step": 2250, "usefulness": 0.951, "kid": 0.0126, "recall": 0.8, "nearest_real_ratio": 0.9, "confused": 0}
POOL = {"pool_share": 0.92, "pseudo_label_trust": 0.81}
LOW = {"kept_step": 1500, "usefulness": 0.9, "kid": -0.0126, "nearest_real_ratio": 0.8, "pseudo_label_accuracy": 0.88}
HIGH = {"kept_step": 3000, "usefulness": 1.0, "kid": 0.0378, "nearest_real_ratio": 1.0, "pseudo_label_accuracy": 1.0}


def _words(card):
    return " ".join(card.split())


def test_the_card_says_how_far_guessed_labels_were_trusted_and_what_was_kept(make_card):
    card = make_card(quality=_replicates(KEPT | POOL | LOW, KEPT | POOL | HIGH))
    text = _words(card)
    assert "92.0 % were unlabelled" in text
    assert "right on 94.0 % of the 30 validation images (88.0 % to 100.0 % over the replicates)" in text
    assert "counted 81.0 % of a given one" in text
    assert "| 2 250 (1 500 to 3 000) |" in text
    assert "| 95.0 % (90.0 % to 100.0 %) |" in text
    assert "| 0.013 (-0.013 to 0.038) |" in text
    assert "| 0.90 (0.80 to 1.00) |" in text
    assert "\n\n| what was kept |" in card, "a table needs an empty line before it"
    assert "(KID, 0 is best)" in text


def test_the_card_claims_no_check_where_there_was_no_validation(make_card):
    text = _words(make_card(quality=_replicates(POOL | {"kept_step": 100, "confused": 0.1}), validation=0))
    assert "no validation images to check the guesses on" in text
    assert "the last one of each training was kept" in text
    assert "The guesses were right" not in text
    assert "KID" not in text


def test_the_card_is_silent_about_a_pool_or_a_training_that_was_not_there(make_card):
    without_pool = _words(make_card(quality=_replicates(KEPT | {"pool_share": 0.0})))
    assert "unlabelled" not in without_pool
    assert "(KID, 0 is best)" in without_pool
    nothing = make_card()
    assert "napshot" not in nothing
    assert "what was kept" not in nothing


def test_what_a_network_adds_is_read_off_the_interval_and_shown_only_where_there_is_a_control(
    make_content, make_generator
):
    content = make_content()
    assert "so the network" not in _text(content)
    generators = {name: make_generator(name, CLASSES) for name in ("gan", "gaussian")}
    for low, high, words in (
        (0.01, 0.03, "adds something"),
        (-0.03, -0.01, "makes it worse"),
        (-0.01, 0.03, "may add"),
    ):
        entry = {"accuracy": {"mean": 0.02, "low": low, "high": high}}
        numbers = content.numbers | {"controls": {"gan": {"gaussian": entry}}}
        text = _text(_of(replace(content, numbers=numbers), generators=generators))
        assert "in the first it is a GAN, in the second the Gaussian it starts from. gaussian is" in text
        assert "gaussian is the Gaussian of each class, without a network" in text
        assert f"gan against gaussian +2.0 {100 * low:+.1f}".replace("-", "\N{MINUS SIGN}") in text
        assert words in text
    single = make_content(replicates=1)
    numbers = single.numbers | {"controls": {"gan": {"gaussian": {"accuracy": {"mean": 0.02}}}}}
    text = _text(replace(single, numbers=numbers))
    assert "gan against gaussian +2.0" in text
    assert "so the network" not in text, "one replicate has no interval to read"


def test_every_generator_has_its_own_part_of_the_report(make_content, make_generator):
    generators = {name: make_generator(name, CLASSES) for name in ("gan", "gaussian")}
    generators["gaussian"] = replace(
        generators["gaussian"], privacy=generators["gaussian"].privacy | {"dropped": 60, "dropped_share": 0.2}
    )
    text = _text(_of(make_content(), generators=generators))
    images, privacy = text.split("The images ")[1].split("Does anything private leak?")
    for part in (images, privacy):
        assert part.index("gan: one GAN for all classes") < part.index("gaussian: the Gaussian of each class")
    assert "21 of 300 generated images were dropped (7.0 %)" in privacy
    assert "60 of 300 generated images were dropped (20.0 %)" in privacy
    assert "images of gaussian dropped as too close 20.0 %" in text
