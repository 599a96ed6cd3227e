"""Schema of the section `prepare` of params.yaml."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Section):
    """`path`: the file or folder that holds the source; `dvc.yaml` makes the stage depend on it."""

    path: str = Field(min_length=1)


class DigitsParams(_Source):
    """scikit-learn's digits, which come with the library."""

    kind: Literal["digits"]


def _form_of_characters(value: Any) -> str:
    return "by_class" if isinstance(value, dict) else "text"


def _each_once(characters: Any) -> Any:
    drawn = list(characters.values()) if isinstance(characters, dict) else list(characters)
    if twice := sorted({each for each in drawn if drawn.count(each) > 1}):
        raise ValueError(f"each character must be there once, but {', '.join(twice)} is there more often")
    return characters


Text = Annotated[str, Field(min_length=2, pattern=r"^\S+$")]
Character = Annotated[str, Field(min_length=1, max_length=1, pattern=r"\S")]
ClassName = Annotated[str, Field(min_length=1)]


class DrawnParams(_Source):
    """Characters drawn with the text fonts that matplotlib carries, each a class.

    characters: text, whose characters are the classes and their names, or a character for each class's name. per_class:
    images of each. seed: decides, with class and number, each image. ink: bright on dark, or dark on bright.
    least_height: of the tallest character, a share of the side. greatest_height: likewise. slant_degrees: greatest
    either way, beside the font's own. stroke: share of the side by which lines grow at most. place: share of the side
    by which a character leaves the middle at most.
    """

    kind: Literal["drawn"]
    characters: Annotated[
        Annotated[Text, Tag("text")] | Annotated[dict[ClassName, Character], Field(min_length=2), Tag("by_class")],
        Discriminator(_form_of_characters),
        AfterValidator(_each_once),
    ]
    per_class: int = Field(ge=1, le=100_000)
    seed: int = Field(ge=0, lt=2**32)
    ink: Literal["bright", "dark"]
    least_height: float = Field(ge=0.2, le=1)
    greatest_height: float = Field(ge=0.2, le=1)
    slant_degrees: float = Field(ge=0, le=45)
    stroke: float = Field(ge=0, le=0.1)
    place: float = Field(ge=0, le=0.5)

    @property
    def classes(self) -> dict[str, str]:
        """Class name -> character."""
        return self.characters if isinstance(self.characters, dict) else {each: each for each in self.characters}

    @model_validator(mode="after")
    def _height_is_a_range(self) -> Self:
        if self.least_height > self.greatest_height:
            raise ValueError(f"least_height: {self.least_height} is above greatest_height: {self.greatest_height}")
        return self


class FolderParams(_Source):
    """A folder for each class, or such trees under train/, val/ and test/."""

    kind: Literal["folder"]


class CsvParams(_Source):
    """Image files in a folder, with a table in it that tells the class of each.

    table: the CSV, relative to `path`. file_column: name of its column with the files, relative to `path` too.
    label_column: of that with the classes. group_column: of that with patients, speakers, ..., or null.
    """

    kind: Literal["csv"]
    table: str = Field(min_length=1)
    file_column: str = Field(min_length=1)
    label_column: str = Field(min_length=1)
    group_column: str | None


class TorchvisionParams(_Source):
    """A classification set of `torchvision.datasets`; `path` is its root.

    name: of its class there. download: whether it may be fetched from the internet.
    """

    kind: Literal["torchvision"]
    name: str = Field(min_length=1)
    download: bool


class ParquetParams(_Source):
    """Parquet files laid out as Hugging Face's image data sets.

    image_column: name of the column with the images. label_column: of that with the classes. group_column: of that with
    patients, speakers, ..., or null.
    """

    kind: Literal["parquet"]
    image_column: str = Field(min_length=1)
    label_column: str = Field(min_length=1)
    group_column: str | None


class AudioParams(_Source):
    """A folder of recordings for each class, turned into log-mel spectrograms.

    sample_rate: samples per second that every recording is brought to. clip_seconds: longer recordings keep their
    middle, shorter ones are padded with silence. window_seconds: length of the pieces whose spectrum is taken.
    hop_seconds: from one piece to the next. mel_bands: rows of the spectrogram. range_decibels: loudness below the
    clip's peak that is still shown.
    """

    kind: Literal["audio"]
    sample_rate: int = Field(ge=1000, le=192_000)
    clip_seconds: float = Field(gt=0, le=600)
    window_seconds: float = Field(gt=0, le=1)
    hop_seconds: float = Field(gt=0, le=1)
    mel_bands: int = Field(ge=8, le=256)
    range_decibels: float = Field(gt=0, le=200)


class WindowParams(_Section):
    """Grey values from black to white: center and width, in the units of the rescaled pixels (of CT: Hounsfield)."""

    center: float
    width: float = Field(gt=0)


Window = Literal["header", "full"] | WindowParams


class DicomParams(_Source):
    """A folder of DICOM files for each class.

    groups: what of an image must stay together: the frames of a file, or all files of a series, study or patient, by
    their headers, of which nothing but a number is kept. window: header, the file's
    own where it has one; full, all values of a frame or volume; or center and width.
    """

    kind: Literal["dicom"]
    groups: Literal["file", "series", "study", "patient"]
    window: Window


class NiftiParams(_Source):
    """A folder of NIfTI volumes for each class; their slices are images, and those of a volume stay together.

    plane: in which a volume is cut. every: each so many-th slice is taken. skip_ends: share of the slices that is left
    out at either end, where there is little to see. window: header, the file's own
    where it has one; full, all values of a frame or volume; or center and width.
    """

    kind: Literal["nifti"]
    plane: Literal["axial", "coronal", "sagittal"]
    every: int = Field(ge=1)
    skip_ends: float = Field(ge=0, lt=0.5)
    window: Window


class PlantedParams(_Source):
    """Patches of scikit-learn's two sample photographs: half as they are, half with a planted lesion, whose place is
    known.

    patch: pixels of a photograph that each shows along its side, none of them twice. seed: decides, with class and
    number, each image. least_radius: of a lesion, a share of the side. greatest_radius: likewise. contrast: brightness
    that it adds, a share of the range from black to white.
    """

    kind: Literal["planted"]
    patch: int = Field(ge=8, le=200)
    seed: int = Field(ge=0, lt=2**32)
    least_radius: float = Field(gt=0, le=0.25)
    greatest_radius: float = Field(gt=0, le=0.25)
    contrast: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _radius_is_a_range(self) -> Self:
        if self.least_radius > self.greatest_radius:
            raise ValueError(f"least_radius: {self.least_radius} is above greatest_radius: {self.greatest_radius}")
        return self


class DrawnFacesParams(_Source):
    """Faces drawn by a program, several of each person, who is their group; a face smiles or not.

    persons: how many there are. per_person: images of each. seed: decides, with class and number, each image.
    own_background: share of the images that show their person in one place and dress; all others have their own.
    """

    kind: Literal["drawn_faces"]
    persons: int = Field(ge=2, le=10_000)
    per_person: int = Field(ge=1, le=1000)
    seed: int = Field(ge=0, lt=2**32)
    own_background: float = Field(ge=0, le=1)


class NoSource(_Source):
    """There is no second source; `path` is a folder that stands for it, because DVC wants one to depend on."""

    kind: Literal["none"]


SourceParams = (
    DigitsParams
    | DrawnParams
    | DrawnFacesParams
    | PlantedParams
    | FolderParams
    | CsvParams
    | TorchvisionParams
    | ParquetParams
    | AudioParams
    | DicomParams
    | NiftiParams
)
AnySource = SourceParams | NoSource


class ShiftParams(_Section):
    """Domain shift: the test set is of another domain, the target, whose other images may be seen too.

    source: a second source, the target. simulate: or the disturbance that makes a target of the source's own images.
    pool: whether the images of every role but train are the target's, or those of the test set alone.
    """

    source: Annotated[AnySource, Field(discriminator="kind")]
    simulate: Literal["none", "inversion", "tone_curve", "scan", "edges"]
    pool: bool

    @model_validator(mode="after")
    def _one_target(self) -> "ShiftParams":
        if self.source.kind != "none" and self.simulate != "none":
            raise ValueError(
                f"simulate: {self.simulate} and a second source (kind: {self.source.kind}) exclude each other: set "
                "simulate: none, or source: {kind: none, path: data/raw/none}"
            )
        if self.pool and not self.exists:
            raise ValueError(
                "pool: true needs a target whose images can be seen: a second source, or one of simulate's disturbances"
            )
        return self

    @property
    def exists(self) -> bool:
        """Whether there is a second domain."""
        return self.source.kind != "none" or self.simulate != "none"

    @property
    def unseen(self) -> bool:
        """Whether nothing but the test set is of the second domain, so that all choices are made on the first."""
        return self.exists and not self.pool


class OtherClassesParams(_Section):
    """A further source of other classes: what they teach about images may be learned, and nothing is tested on them.

    leave_out: of its classes, by name.
    """

    source: Annotated[AnySource, Field(discriminator="kind")]
    leave_out: tuple[ClassName, ...]


class ImageParams(_Section):
    """What every image becomes, and what holds for all of them."""

    size: int = Field(ge=8, le=128)
    channels: Literal["grey", "rgb"]
    fit: Literal["pad", "crop", "stretch"]
    flip_ok: bool

    @property
    def channel_count(self) -> int:
        """1 or 3."""
        return 3 if self.channels == "rgb" else 1


class NoMasks(_Section):
    """Nothing is known of regions."""

    kind: Literal["none"]


class KnownMasks(_Section):
    """The source itself knows them."""

    kind: Literal["source"]


class BoxMasks(_Section):
    """A CSV with the columns file, left, top, right and bottom, in pixels of the file; `path` and the files in it are
    relative to the source's path. The boxes of a file are one region."""

    kind: Literal["boxes"]
    path: str = Field(min_length=1)


class ImageMasks(_Section):
    """A folder of mask images, not black in the region, each under the name of its image (with any ending) and of its
    size; `path` is relative to the source's path."""

    kind: Literal["images"]
    path: str = Field(min_length=1)


class CentreMask(_Section):
    """A square in the centre of every image. share: of its side."""

    kind: Literal["centre"]
    share: float = Field(gt=0, lt=1)


class RandomMasks(_Section):
    """A random box in every image. least: of its sides, a share of the image's. greatest: likewise."""

    kind: Literal["random"]
    least: float = Field(gt=0, lt=1)
    greatest: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _sides_are_a_range(self) -> Self:
        if self.least > self.greatest:
            raise ValueError(f"least: {self.least} is above greatest: {self.greatest}")
        return self


MasksParams = NoMasks | KnownMasks | BoxMasks | ImageMasks | CentreMask | RandomMasks


class NoGroups(_Section):
    """Every image stands for itself (or, with `parquet`, for its `group_column`)."""

    kind: Literal["none"]


class CsvGroups(_Section):
    """A CSV with the columns `file` and `group`; `path` and the files in it are relative to the source's path."""

    kind: Literal["csv"]
    path: str = Field(min_length=1)


def _has_one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"must have exactly one (group) in brackets, has {groups}")
    return pattern


class PatternGroups(_Section):
    """A regular expression, searched in each file's path relative to the source; its one bracket is the group."""

    kind: Literal["pattern"]
    pattern: Annotated[str, AfterValidator(_has_one_group)]


def _form_of_pool(value: Any) -> str:
    """Names the alternative by the key that is there, so that errors speak of that one alone."""
    return "count" if isinstance(value, PoolCount) or (isinstance(value, dict) and "count" in value) else "share"


class PoolShare(_Section):
    """Share of the images without a role that becomes the unlabelled pool."""

    share: float = Field(ge=0, le=1)


class PoolCount(_Section):
    """Number of images of the unlabelled pool."""

    count: int = Field(ge=0)


def _form_of_labels(value: Any) -> str:
    return "by_class" if isinstance(value, dict) else "all" if isinstance(value, str) else "number"


def _form_of_validation(value: Any) -> str:
    return "by_class" if isinstance(value, dict) else "number"


OTHERS = "others"  # in a mapping by class: all classes that it does not name
Labels = Annotated[int, Field(ge=1)]
LabelsPerClass = Annotated[
    Annotated[Labels, Tag("number")]
    | Annotated[Literal["all"], Tag("all")]
    | Annotated[dict[str, Labels], Tag("by_class")],
    Discriminator(_form_of_labels),
]
ValidationPerClass = Annotated[
    Annotated[Labels, Tag("number")] | Annotated[dict[str, Annotated[int, Field(ge=0)]], Tag("by_class")],
    Discriminator(_form_of_validation),
]


class PrepareParams(_Section):
    """Source, image properties, the sizes of the roles, and what becomes of bad images; docs in params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    replicates: int = Field(ge=1)
    source: Annotated[SourceParams, Field(discriminator="kind")]
    shift: ShiftParams
    other_classes: OtherClassesParams
    leave_out: tuple[ClassName, ...]
    image: ImageParams
    masks: Annotated[MasksParams, Field(discriminator="kind")]
    groups: Annotated[NoGroups | CsvGroups | PatternGroups, Field(discriminator="kind")]
    test_share: float = Field(gt=0, lt=1)
    labels_per_class: LabelsPerClass
    imbalance_factor: float = Field(ge=1, allow_inf_nan=False)
    validation_per_class: ValidationPerClass
    calibration: int = Field(ge=1)
    unlabelled: Annotated[
        Annotated[PoolShare, Tag("share")] | Annotated[PoolCount, Tag("count")], Discriminator(_form_of_pool)
    ]
    near_duplicate_distance: float = Field(ge=0, lt=1)
    on_leak: Literal["error", "drop", "warn"]
    on_bad_image: Literal["error", "skip"]

    @model_validator(mode="after")
    def _other_classes_have_one_domain(self) -> Self:
        if self.other_classes.source.kind != "none" and self.shift.exists:
            raise ValueError(
                f"other_classes (kind: {self.other_classes.source.kind}) and a second domain (shift) exclude each "
                "other: set other_classes.source, or shift.source and shift.simulate, to none"
            )
        return self

    def validation_of(self, name: str) -> int:
        """The most validation images that the class may have."""
        return of_class(self.validation_per_class, name)


def of_class(wanted: int | dict[str, int], name: str) -> int:
    """The class's own number, where classes have one each; KeyError where it has none."""
    return wanted if isinstance(wanted, int) else wanted[name if name in wanted else OTHERS]
