from dataclasses import dataclass
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.comparison.origin import (
    KINDS,
    Spread,
    control_pairs,
    kind_words,
    made_from,
    plain_rivals,
    spreads,
)
from stages.comparison.params import QuestionParams
from stages.downstream.params import ArmParams, Head, PseudoLabels
from stages.generators.params import AnyGenerator
from stages.imaging.params import BackboneParams

QUALITY = st.dictionaries(
    st.integers(0, 20).map(str), st.dictionaries(st.sampled_from("abc"), st.floats(-1e6, 1e6)), max_size=6
)


def test_measures_are_summed_up_over_the_replicates_that_have_them() -> None:
    quality = {"0": {"kid": 0.25, "recall": 0.5}, "1": {"kid": 0.75}}
    assert spreads(quality) == {"kid": Spread(0.5, 0.25, 0.75), "recall": Spread(0.5, 0.5, 0.5)}


@given(QUALITY)
def test_every_value_lies_within_its_spread_whatever_the_order(quality: dict[str, dict[str, float]]) -> None:
    found = spreads(quality)
    backwards = spreads(dict(reversed(quality.items())))
    assert set(found) == {name for measures in quality.values() for name in measures}
    for name, spread in found.items():
        values = [measures[name] for measures in quality.values() if name in measures]
        assert (spread.low, spread.high) == (min(values), max(values))
        assert spread.low <= spread.mean + 1e-6
        assert spread.mean <= spread.high + 1e-6
        assert backwards[name].mean == pytest.approx(spread.mean)


def test_every_kind_of_generator_has_words_of_its_own() -> None:
    kinds = [get_args(each.model_fields["kind"].annotation)[0] for each in get_args(get_args(AnyGenerator)[0])]
    assert set(KINDS) == set(kinds)
    assert len(set(KINDS.values())) == len(KINDS)
    assert kind_words("two_step") == "two step"


def test_a_set_made_elsewhere_makes_no_claim_about_what_it_learned_from() -> None:
    section = {"kind": "external", "path": "data/raw/made"}
    words = made_from(section, "pets", 10, 648, 50)
    assert "outside this pipeline (data/raw/made)" in words
    assert "Nothing here can tell" in words
    assert "648" not in words
    assert "in each of 10 replicates from 648 real images of pets, 50 of them" in made_from(
        section | {"kind": "projection"}, "pets", 10, 648, 50
    )


def arm(generator: str | None, augment: str = "classic", share: float = 0.5) -> ArmParams:
    return ArmParams(
        images=f"data/filter_memorized/{generator}" if generator else "data/prepare",
        real=True,
        labels="all",
        balancing="none",
        augment=augment,
        settings=[{"synthetic_share": share}] if generator else [{}],
    )


ARMS = {
    "classic": arm(None),
    "gan": arm("gan", "none"),
    "gan_classic": arm("gan"),
    "gan_more": arm("gan", share=0.75),
    "gaussian_classic": arm("gaussian"),
    "made_classic": arm("made"),
    "soft_classic": arm("soft"),
}


@dataclass(frozen=True)
class Section:
    kind: str
    labels: str = "class"


def test_only_arms_that_differ_in_nothing_but_the_generator_meet_a_control() -> None:
    generators = {
        "gan": Section("projection"),
        "gaussian": Section("gaussian"),
        "made": Section("external"),
        "soft": Section("projection", "teacher"),
    }
    pairs = [("gan_classic", "gaussian_classic"), ("gan_classic", "made_classic")]
    assert control_pairs(ARMS, generators) == pairs
    soft = generators | {"gaussian": Section("gaussian", "teacher")}
    assert control_pairs(ARMS, soft) == [("gan_classic", "made_classic"), ("soft_classic", "gaussian_classic")]


def test_plain_training_is_the_rival_that_differs_in_the_generated_images_alone() -> None:
    def plain(arms: dict[str, ArmParams]) -> str:
        question = QuestionParams(arms=("gan",), rivals=tuple(name for name in arms if name != "gan"))
        return plain_rivals(arms, question)["gan"]

    pool = arm(None).model_copy(update={"settings": [PseudoLabels(pool_share=0.5, teacher="ensemble")]})
    arms = {"pool": pool, "none": arm(None, "none"), "classic": arm(None), "gan": arm("gan")}
    assert plain(arms) == "classic"
    assert plain(arms | {"gan": arm("gan", "none")}) == "none"
    assert plain(arms | {"gan": arm("gan", "mixup")}) == "pool", "the first one where none is alike"
    adapted = {name: each.model_copy(update={"batch_norm": "target"}) for name, each in arms.items()}
    assert plain(arms | {"gan": adapted["gan"], "adapted": adapted["classic"]}) == "adapted"
    backbone = BackboneParams(name="toy", size=96, weights="package")
    pretrained = {name: each.model_copy(update={"backbone": backbone}) for name, each in arms.items()}
    transfer = pretrained["classic"].model_copy(update={"settings": [Head(weight_decay=0.1)]})
    assert plain(arms | {"gan": pretrained["gan"], "transfer": transfer}) == "transfer"
    weighted = {"classic": arm(None).model_copy(update={"balancing": "class_weights"})}
    assert plain(arms | weighted) == "pool"
