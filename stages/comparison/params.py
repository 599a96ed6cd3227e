"""Schema of the sections `evaluate` and `gate` of params.yaml."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from stages.imaging.params import BackboneParams

Disturbance = Literal["gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg", "fgsm", "pgd"]
SENSITIVITY = "sensitivity_at_specificity"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SensitivityParams(_Section):
    """Sensitivity for the class `of` at the specificity stated, see `ranking.sensitivity_at_specificity`."""

    sensitivity_at_specificity: float = Field(gt=0, lt=1)
    of: str = Field(min_length=1)


def _kind(measure: Any) -> str:
    """Names the alternative, so that errors speak of that one alone."""
    return "sensitivity" if isinstance(measure, dict | SensitivityParams) else "name"


Measure = Annotated[
    Annotated[Literal["accuracy", "balanced_accuracy", "macro_f1", "auroc"], Tag("name")]
    | Annotated[SensitivityParams, Tag("sensitivity")],
    Discriminator(_kind),
]


class QuestionParams(_Section):
    """Contrasts of one question, named before any result is seen: every arm against every rival. Without arms it is not
    asked."""

    arms: tuple[str, ...]
    rivals: tuple[str, ...] = Field(min_length=1)

    @property
    def named(self) -> tuple[str, ...]:
        """All arms that take part, those in question first."""
        return self.arms + self.rivals

    @model_validator(mode="after")
    def _each_arm_once(self) -> Self:
        twice = sorted({name for name in self.named if self.named.count(name) > 1})
        if twice:
            raise ValueError(f"arms and rivals must differ and be named once, but {', '.join(twice)} is repeated")
        return self


class GateParams(_Section):
    """What `python -m stages.gate` demands of the metrics; null demands nothing. Shares lie between 0 and 1.

    augment, stand_in, leak: the least good outcome that is accepted, in the order in which they stand here; any other
    fails. least_gain: of the best arm of `augment` over the first rival, in the mean. greatest_copy_rate: share of the
    generated images that are dropped as copies. least_detection: of each kind of planted copy named.
    greatest_attack_auc: of every attack on what is published, and one minus it at least. greatest_epsilon: of every
    set that is published, which must keep a privacy budget then.
    """

    augment: Literal["helps", "no_better", "undecided"] | None
    stand_in: Literal["stands_in", "undecided"] | None
    leak: Literal["no_sign", "cannot_tell"] | None
    least_gain: float | None = Field(ge=-1, le=1)
    greatest_copy_rate: float | None = Field(ge=0, le=1)
    least_detection: dict[str, Annotated[float, Field(ge=0, le=1)]]
    greatest_attack_auc: float | None = Field(ge=0.5, le=1)
    greatest_epsilon: float | None = Field(gt=0)


class EvaluateParams(_Section):
    """How predictions are scored, compared and shown. Shares lie between 0 and 1."""

    seed: int = Field(ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"]
    measure: Measure
    augment: QuestionParams
    stand_in: QuestionParams
    learning_curve: tuple[str, ...]
    robustness: tuple[Disturbance, ...]
    backbone: BackboneParams | None
    confidence: float = Field(gt=0.5, lt=1)
    margin: float = Field(gt=0, lt=1)
    bootstrap: int = Field(ge=100, le=100_000)
    leak_margin: float = Field(gt=0, lt=0.5)
    publish_real_images: bool
    publish_leaking: bool
    examples_per_class: int = Field(ge=1, le=16)
    nearest_pairs: int = Field(ge=1, le=48)
    licence: Annotated[str, Field(min_length=1)] | None

    @property
    def questions(self) -> dict[str, QuestionParams]:
        """Those of augment and stand_in that are asked."""
        both = {"augment": self.augment, "stand_in": self.stand_in}
        return {name: question for name, question in both.items() if question.arms}

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms in question, each once."""
        return tuple(dict.fromkeys(arm for each in self.questions.values() for arm in each.arms))

    @property
    def rivals(self) -> tuple[str, ...]:
        """The rivals of the questions asked, each once."""
        return tuple(dict.fromkeys(rival for each in self.questions.values() for rival in each.rivals))

    @property
    def reference(self) -> str:
        """The first rival, with which every other arm is compared too, as exploration."""
        return self.rivals[0]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every arm of a question against each of its rivals."""
        return [(arm, rival) for each in self.questions.values() for arm in each.arms for rival in each.rivals]

    @property
    def measure_key(self) -> str:
        """The key of the measure in metrics/evaluate.json."""
        return self.measure if isinstance(self.measure, str) else SENSITIVITY

    @field_validator("learning_curve")
    @classmethod
    def _a_curve_needs_two(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if len(arms) == 1 or len(set(arms)) < len(arms):
            raise ValueError("a learning curve takes two arms or more, each named once, or none: []")
        return arms

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if not self.questions:
            raise ValueError("augment.arms and stand_in.arms are both empty: name an arm in one of them")
        return self
