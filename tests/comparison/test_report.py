"""The page: three answers on top, everything escaped, and nothing real without leave."""

import html
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
import torch

from stages.comparison.evidence import Finding
from stages.comparison.fidelity import set_measures
from stages.comparison.numbers import all_numbers
from stages.comparison.report import ReportContent, render_report
from stages.comparison.robustness import NAMES
from stages.comparison.scores import MEASURES
from stages.comparison.wording import CHECKS, FIDELITY_MEASURES, QUESTIONS, two_sample_words

NASTY = "<script>alert('x')</script>|`b`"
CLASSES = [NASTY, "one", "two"]
CHOICE = {
    "settings": [{"synthetic_share": 0.5}, {"synthetic_share": 0.75, "filter": {"by": "confidence", "keep": 0.8}}],
    "chosen": 1,
    "validation": [0.7, 0.8],
}
PICTURES = ("arms", "comparison", "settings", "samples_gan", "pairs_gan", "findings", "confusion_gan")
OPTIONAL = ("controls", "per_class")


@pytest.fixture(scope="module")
def compared(make_evidence, make_generator):
    """Number of replicates -> the numbers of a comparison, without what may be left out."""

    @cache
    def run(replicates):
        generators = {"gan": make_generator("gan", CLASSES)}
        numbers, _ = all_numbers(make_evidence(replicates=replicates, classes=CLASSES, generators=generators))
        arms = {arm: {name: scores[name] for name in MEASURES} for arm, scores in numbers["arms"].items()}
        return {name: part for name, part in numbers.items() if name not in OPTIONAL} | {"arms": arms}

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


def _top(page_html):
    """The page down to the first section's heading: what one screen shows."""
    return page_html.split("<h2>")[0]


def _words(page_html):
    return " ".join(_Page(page_html).text.split())


def test_the_top_answers_three_questions_in_the_numbers_of_evaluate_json_and_the_page_loads_nothing(make_content):
    content = make_content()
    page_html = render_report(content)
    page, top, answers = _Page(page_html), _words(_top(page_html)), content.numbers["answers"]
    for name, question in QUESTIONS.items():
        assert question in top
        assert answers[name]["answer"] in top
        assert answers[name]["number"].rstrip(".").lower() in top.lower(), name
    assert len(page.sources) == 6
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://|url\(|@import", page_html)
    assert all(page.alternatives), "every image has a text alternative"
    assert render_report(content) == page_html


def test_the_sections_follow_the_questions_and_details_come_last(make_content):
    headings = re.findall(r"<h2>(.*?)</h2>", render_report(make_content()))
    assert headings[:3] == [f"{place}. {question}" for place, question in enumerate(QUESTIONS.values(), 1)]
    assert headings[-1] == "Details"


def test_warnings_and_dead_questions_stand_on_top_with_the_words_that_matter_in_bold(make_content):
    content = make_content()
    dead = content.numbers["answers"]["augment"] | {
        "outcome": "no_answer",
        "answer": "No answer: nothing was learned",
        "sentence": f"Nothing can be concluded: {NASTY} is guessing.",
    }
    numbers = content.numbers | {
        "answers": content.numbers["answers"] | {"augment": dead},
        "warnings": ["Beware: of X."],
    }
    page_html = render_report(replace(content, numbers=numbers))
    top = _top(page_html)
    assert "<strong>Nothing can be concluded:</strong>" in top
    assert "<strong>Beware:</strong> of X." in top
    assert html.escape(NASTY, quote=False)[:20] in top
    assert dead["number"] not in _words(top), "a number without an answer misleads"
    assert _words(page_html).count("Nothing can be concluded") == 1
    assert 'role="alert"' not in render_report(content)


def test_no_sentence_is_said_twice(make_content, make_generator):
    generators = {name: replace(make_generator(name, CLASSES), candidates=4) for name in ("gan", "gaussian")}
    evidence = replace(make_content().evidence, generators=generators)
    numbers, _ = all_numbers(evidence)
    page = _Page(render_report(replace(make_content(), evidence=evidence, numbers=numbers)))
    said = [each for each in re.split(r"(?<=[a-z)]\.)\s+", " ".join(page.text.split())) if len(each) > 40]
    assert len(said) > 30
    assert [each for each in said if said.count(each) > 1] == []


def test_it_is_told_once_that_a_teacher_chose_the_images(make_content, make_generator):
    told = "one was kept of whose class a teacher was surest"
    content = make_content()
    assert told not in render_report(content)
    chosen = {"gan": replace(make_generator("gan", CLASSES), candidates=4)}
    assert render_report(_of(content, generators=chosen)).count(told) == 1


def test_arms_have_words_beside_their_keys(make_content):
    content = make_content()
    words = content.evidence.outcomes.words | {"gan": NASTY}
    named = _of(content, outcomes=replace(content.evidence.outcomes, words=words))
    page_html = render_report(named)
    assert f'{html.escape(NASTY).replace("&#x27;", "&#39;")} <code class="key">gan</code>' in page_html
    assert "script" not in _Page(page_html).tags


def test_names_are_escaped(make_content):
    html = render_report(make_content())
    page = _Page(html)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert NASTY in page.text


def test_the_exploratory_is_marked_and_the_contrasts_carry_holm(make_content):
    named, exploratory = _text(make_content()).split("Everything else compared")
    assert "p, Holm" in named
    assert "exploratory" in exploratory[:40]
    assert "real images real against classic images" in exploratory
    assert "against classic images" not in named


def test_privacy_figures_and_choices_are_told(make_content):
    text = _text(make_content())
    assert "21 of 300 GAN images (7.0 %)" in text
    assert "4.98% on average over such draws, and so at most the stated 5.00%" in text
    assert "GAN images 5.0 % 4.0 % 2.0 % to 8.0 % 3.0 % 1.0 % to 7.0 % holds" in text
    assert "one 7 of 100 5.5 % 5.5 %" in text
    assert "mixed with a fifth of another image 62.5 % 0.875" in text
    assert "the image itself 100.0 % 1.000" in text
    assert "than real ones? 0.70 0.65 to 0.75 members are nearer 0.49 0.44 to 0.54 a guess 1.2 %" in text
    assert "GAN images \N{MINUS SIGN}4.2 0.5 as near as fresh 60.0 % 90.0 % 80.0 %" in text
    assert "Is the nearest image of a replicate nearer" in text
    assert "memorised" not in text
    assert "synthetic share 0.75, filter by confidence keep 0.8 chosen 80.0" in text


def test_a_generator_that_memorised_is_told_so_plainly(make_content):
    memorised = _privacy(make_content()) | {"dropped_share": 0.9}
    text = _text(_with_privacy(make_content(), memorised))
    assert "The generator has memorised: most of its images" in text


def test_a_rate_above_the_promise_warns(make_content):
    rate = {"rate": 0.1, "low": 0.06, "high": 0.15}
    text = _text(_with_privacy(make_content(), _privacy(make_content()) | {"false_positive_rate": rate}))
    assert "is broken: do not rely on it" in text


def test_the_page_does_without_what_was_not_measured(make_content):
    content = make_content()
    optional = ("false_positive_rate", "false_positive_rate_blurred", "planted", "attacks", "set_level")
    bare = {name: value for name, value in _privacy(content).items() if name not in optional} | {"calibration": 0}
    text = _text(_with_privacy(content, bare))
    assert "could not be checked here" in text
    assert "No attack was tried here" in text
    assert "Does the filter find copies?" not in text
    assert "C T" not in text


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
        fidelity = {
            "two_sample_auc": _spread(0.95),
            "precision": _spread(0.83),
            "kid": _spread(-0.0001),
            "frechet_distance": _spread(3.25),
        }
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
                    "floor": {
                        "two_sample_auc": _spread(0.5),
                        "precision": _spread(0.91),
                        "kid": _spread(0.0),
                        "frechet_distance": _spread(1.5),
                    },
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
    "Worth in labels",
    "Other classifiers",
    "Two-sample test",
    "Under disturbance",
    "How good the stated probabilities are",
    "Sensitivity",
)


def test_what_was_measured_is_told(make_measured):
    content = make_measured()
    text = _text(content)
    assert all(heading in text for heading in HEADINGS)
    assert "5 labels per class with gan reach what 9 without reach. " in text
    assert "5 without synthetic images 60.0 ± 1.0 10 without synthetic images 80.0 ± 1.0 5 gan images gan" in text
    assert "neural network linear SVM" in text
    assert "gan images gan 90.0 ± 1.0 70.0 ± 1.0 real images real 50.0 ± 1.0 none" in text
    assert "gan images gan 0.912 ± 0.010 1.234 ± 0.010" in text
    assert f"nothing {100 * content.numbers['arms']['gan']['accuracy']['mean']:.1f} ± " in text
    assert "noise, medium 71.0 ± 1.0 33.0 ± 1.0" in text
    assert "attack in many steps (PGD), 8 grey levels 12.0 ± 1.0 none" in text


def test_classes_stand_side_by_side_and_what_is_undefined_is_none(make_measured):
    text = _text(make_measured())
    assert "sensitivity gan images sensitivity classic images specificity gan images specificity classic images" in text
    assert "test images 97.0 61.0 98.0 98.0" in text
    assert "test images none 61.0 88.0 98.0" in text
    assert "one 97.0 98.0 0.991 0.900" in text
    assert "two none 88.0 none none" in text


def test_fidelity_leads_with_the_two_sample_test_and_its_floor(make_measured):
    text = _text(make_measured())
    assert "others trained on photographs" not in text
    measured = make_measured()
    seen = {"gan": measured.numbers["fidelity"]["gan"] | {"measures": {"kid": _spread(0.456)}}}
    assert "others trained on photographs" in _text(make_measured(fidelity_pretrained=seen))
    assert "about 0 is best 0.456 ± 0.010" in _text(make_measured(fidelity_pretrained=seen))
    assert text.index("Two-sample test, AUC: 0.95 (other real images 0.50)") < text.index("precision")
    assert "1 200 GAN images against as many real ones" in text
    assert "many look wrong 83.0 % ± 1.0 % 91.0 % ± 1.0 %" in text
    assert "about 0 is best 0.000 ± 0.010 0.000 ± 0.010" in text, "no negative zero"
    assert "lower is better 3.25 ± 0.01 1.50 ± 0.01" in text
    assert "25.0 % 50.0 % 40 72.0 % 93.0 %" in text
    assert "one 10.0 % 20.0 % 3 none none" in text


@pytest.mark.parametrize(
    ("auc", "floor", "words"),
    [
        (0.97, 0.5, "nearly all"),
        (0.75, 0.5, "many"),
        (0.52, 0.5, "hardly"),
        (0.42, 0.5, "hardly"),
        (0.97, 0.16, "of no use"),
        (0.97, 0.7, "of no use"),
    ],
)
def test_a_floor_that_is_off_makes_the_two_sample_test_meaningless(auc, floor, words):
    found = {"measures": {"two_sample_auc": {"mean": auc}}, "floor": {"two_sample_auc": {"mean": floor}}, "images": 40}
    assert words in two_sample_words(found)


def test_under_domain_shift_the_limits_speak_of_that_shift(make_content):
    content = make_content()
    assert "another scanner" in _text(content)
    shifted = _of(content, outcomes=replace(content.evidence.outcomes, shifted=True))
    assert "another scanner" not in _text(shifted)
    assert "for this shift" in _text(shifted)


def test_every_measure_of_fidelity_and_every_disturbance_has_words(make_measured):
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    assert set(set_measures(features[:20], features[20:], 0)) == set(FIDELITY_MEASURES)
    text = _text(make_measured(robustness={"gan": {f"{name}_2": _spread(0.5) for name in NAMES}}))
    assert not any(f"{name}_2" in text or f"{name.replace('_', ' ')}, " in text for name in NAMES if "_" in name)


def test_what_was_not_measured_is_left_out(make_content, make_measured):
    assert not any(heading in _text(make_content()) for heading in HEADINGS)
    parts = ("learning_curve", "worth", "models", "per_class", "fidelity", "robustness")
    empty = _without(make_measured(**{part: {} for part in parts}), "learning_curve", "models")
    assert not any(
        heading in _text(empty) for heading in HEADINGS if heading != "How good the stated probabilities are"
    )


def test_one_replicate_has_no_deviations(make_measured):
    content, alone = make_measured(), make_measured()
    numbers = json.loads(
        json.dumps(alone.numbers), object_hook=lambda part: {k: v for k, v in part.items() if k != "std"}
    )
    assert "±" in _text(content)
    assert " ± " not in _text(replace(alone, numbers=numbers | {"replicates": 1}))


def test_pictures_are_told_to_those_who_cannot_see_them(make_measured):
    page = _Page(render_report(make_measured()))
    assert len(page.alternatives) == 9
    assert all(page.alternatives)
    told = " ".join(page.alternatives)
    assert "Without synthetic images: 60.0 % with 5, 80.0 % with 10" in told.replace("\N{NO-BREAK SPACE}", " ")
    assert "linear SVM: gan images 70.0 %" in told.replace("\N{NO-BREAK SPACE}", " ")
    assert "chosen: synthetic share 0.75" in told
    assert "script" not in page.tags


def _prepared(checks, *notes):
    return {"read": 1797, "images": 546, "notes": list(notes), "checks": checks}


def _data_section(content):
    section = render_report(content).split("<h2>The data: what was left out</h2>")[1].split("</section>")[0]
    page = _Page(section)
    return page, " ".join(page.text.split())


def test_what_was_left_out_is_told_in_one_line_each(make_content, checks):
    content = _of(make_content(), prepared=_prepared(checks, "20 files passed over: no image by its suffix .dcm"))
    page, text = _data_section(content)
    assert "Of 1 797 real images 1 251 were left out." in text
    assert "20 files passed over: no image by its suffix .dcm." in text
    assert "1 251 images: also in the test or validation set; 1 250 of them left out." in text
    assert "2 images: one colour throughout; kept." in text
    assert page.tags.count("li") == 5
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
    page, text = _data_section(_of(make_content(), prepared=_prepared(found) | {"images": 1797}, findings=[]))
    assert text.startswith("Of 1 797 real images none were left out. Nothing was passed over")
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
    assert "1 251 images: also in the test or validation set; 1 250 of them left out" in text
    assert "withheld" in text
    assert "img" not in page.tags
    assert ".png" not in text


def test_one_replicate_claims_nothing(make_content):
    text = " ".join(_Page(render_report(make_content(replicates=1))).text.split())
    assert "There is one replicate" in text
    assert "Holm" not in text
    assert "95 %" not in text.split("3. Do they")[0]


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


def test_a_control_stands_in_its_arm_s_table_as_exploration(make_content):
    entry = {"accuracy": {"mean": 0.02, "low": 0.01, "high": 0.03}}
    content = make_content()
    numbers = content.numbers | {"controls": {"gan": {"gaussian": entry}}}
    assert "exploratory +2.0 +1.0 to +3.0" in _text(replace(content, numbers=numbers))
    assert "exploratory +2.0" not in _text(content)


def test_every_generator_has_its_own_part_of_the_report(make_content, make_generator):
    generators = {name: make_generator(name, CLASSES) for name in ("gan", "gaussian")}
    generators["gaussian"] = replace(
        generators["gaussian"], privacy=generators["gaussian"].privacy | {"dropped": 60, "dropped_share": 0.2}
    )
    evidence = replace(make_content().evidence, generators=generators)
    numbers, _ = all_numbers(evidence)
    text = _text(replace(make_content(), evidence=evidence, numbers=numbers))
    assert "21 of 300 GAN images (7.0 %), 60 of 300 Gaussian images (20.0 %)" in text
    assert text.index("one GAN for all classes") < text.index("the Gaussian of each class, without a network")
    assert "Gaussian images. That is more than twice as often" in text
