"""The data card: marked synthetic, the answers on top, no licence unless one is stated."""

import json
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from stages.comparison.card import render_card
from stages.comparison.numbers import all_numbers
from stages.comparison.publication import card_of_sets
from stages.comparison.wording import QUESTIONS

NASTY = "<script>alert('x')</script>|`b`"
CLASSES = [NASTY, "one", "two"]


@pytest.fixture
def make_card(make_evidence, make_generator, make_params):
    def make(quality=None, privacy=None, dataset='digits: "new"\nline', **changes):
        gan = make_generator("gan", CLASSES)
        gan = replace(gan, quality=quality or {}, privacy=privacy or gan.privacy)
        fields = {"dataset": dataset, "generators": {"gan": gan}, "classes": CLASSES, "params": make_params()}
        evidence = make_evidence(**(fields | changes))
        return render_card(evidence, all_numbers(evidence)[0])

    return make


def test_the_answers_come_first_and_say_what_each_set_was_tested_for(make_evidence, make_card):
    answers = all_numbers(make_evidence())[0]["answers"]
    first = make_card().split("## Content")[0]
    for name, question in QUESTIONS.items():
        assert f"- {question} **{answers[name]['answer']}.**" in first
    (row,) = (line for line in make_card().splitlines() if line.startswith("| `synthetic/gan.parquet`"))
    assert QUESTIONS["augment"] in row
    assert QUESTIONS["leak"] in row
    assert QUESTIONS["stand_in"] not in row, "no arm of it learns from these images alone"


def test_a_card_of_the_sets_alone_has_one_answer_and_speaks_of_no_arm(make_evidence):
    evidence = make_evidence()
    card = card_of_sets(evidence, replicates=4)
    assert "## One answer" in card
    assert QUESTIONS["leak"] in card
    assert QUESTIONS["augment"] not in card
    assert "was not tested" in card
    assert "way to train the classifier" not in card
    assert "in each of 4 replicates" in card


def test_a_licence_is_stated_only_where_the_user_states_one(make_card, make_params):
    assert "## Licence\n\nNone is stated." in make_card()
    stated = make_card(params=make_params(licence="cc0-1.0"))
    assert YAML(typ="safe").load(stated.split("---\n")[1])["license"] == "cc0-1.0"
    assert "## Licence\n\ncc0-1.0." in stated


def test_the_card_tells_of_memorising_and_does_without_what_was_not_measured(make_card, make_privacy):
    found = make_privacy(CLASSES)
    assert "The generator has memorised" in make_card(privacy=found | {"dropped_share": 0.9})
    optional = ("false_positive_rate", "false_positive_rate_blurred", "planted", "attacks", "set_level")
    bare = {name: value for name, value in found.items() if name not in optional} | {"calibration": 0}
    assert "full conformal" in make_card(privacy=bare)


def test_the_card_is_marked_synthetic_and_its_head_is_yaml(make_card, make_privacy):
    card = make_card()
    _, head, body = card.split("---\n", 2)
    front = YAML(typ="safe").load(head)
    assert {"synthetic", "gan"} <= set(front["tags"])
    assert "license" not in front
    assert front["size_categories"] == ["n<1K"]
    assert front["pretty_name"] == 'Synthetic digits: "new"\nline'
    assert front["configs"] == [{"config_name": "gan", "data_files": "synthetic/gan.parquet", "default": True}]
    assert "Every image here is synthetic" in body
    assert "| one | 9 |" in body
    assert "| steps | 600 |\n| augment policies | cutout, flip |\n| augment limit | 0.8 |" in body
    assert "<script>" not in body
    assert all(row.count("|") in (3, 4, 5, 6) for row in body.splitlines() if row.startswith("|"))
    assert json.dumps(make_privacy(CLASSES)["dropped"]) in body


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
    assert "GAN" not in alone.split("## gaussian")[1], "a Gaussian is none"


def test_the_card_says_that_a_teacher_chose_the_images(make_card, make_generator):
    gan = make_generator("gan", CLASSES)
    assert "Of every 4 images drawn" in make_card(generators={"gan": replace(gan, candidates=4)})
    assert "Of every" not in make_card(generators={"gan": gan})


def test_the_card_says_whose_guesses_the_probabilities_are(make_card, make_generator):
    gan = make_generator("gan", CLASSES)
    soft = replace(gan, section=gan.section | {"labels": "teacher"})
    assert "as a teacher gives them" in make_card(generators={"gan": soft})
    assert "probabilities" not in make_card().split("## Content")[1].split("## What was tested")[0]


def test_a_source_is_named_only_where_real_images_may_be(make_card, make_params):
    assert "drawn from, if any" in make_card()
    assert "withheld here" in make_card(params=make_params(publish_real_images=False))


def _replicates(*measures):
    return {str(number): each for number, each in enumerate(measures)}


SAMPLES = {"kid": 0.0126, "recall": 0.8, "confused": 0.0}
POOL = {"pool_share": 0.92, "pseudo_label_trust": 0.81}
LOW = {"kid": -0.0126, "pseudo_label_accuracy": 0.88}
HIGH = {"kid": 0.0378, "pseudo_label_accuracy": 1.0}


def _words(card):
    return " ".join(card.split())


def test_the_card_says_how_far_guessed_labels_were_trusted_and_how_like_real_images_samples_are(make_card):
    card = make_card(quality=_replicates(SAMPLES | POOL | LOW, SAMPLES | POOL | HIGH))
    text = _words(card)
    assert "from 648 real images of" in text
    assert ", 80 of them labelled." in text, "those that choices were made on, too"
    assert "92.0 % were unlabelled" in text
    assert "right on 94.0 % of the 30 validation images (88.0 % to 100.0 % over the replicates)" in text
    assert "counted 81.0 % of a given one" in text
    assert "| 0.013 (-0.013 to 0.038) |" in text
    assert "| 80.0 % (80.0 % to 80.0 %) |" in text
    assert "\n\n| measured |" in card, "a table needs an empty line before it"


def test_the_card_claims_no_check_where_there_was_no_validation(make_card):
    text = _words(make_card(quality=_replicates(POOL | {"confused": 0.1}), validation=0))
    assert "no validation images to check the guesses on" in text
    assert "The guesses were right" not in text
    assert "KID" not in text


def test_the_card_is_silent_about_a_pool_or_a_measure_that_was_not_there(make_card):
    without_pool = _words(make_card(quality=_replicates(SAMPLES | {"pool_share": 0.0})))
    assert "unlabelled" not in without_pool
    assert "(KID, 0 is best)" in without_pool
    assert "| measured |" not in make_card()
