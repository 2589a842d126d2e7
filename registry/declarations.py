"""What people declare: the bodies of POST requests, validated once, stored and read again by the workers."""

import re
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from registry.tables import ComparisonState, WorkerWish
from registry.tables.catalogue import NAME_PATTERN
from sat_engine.spec import MAX_SIDE


def require_no_nul(text: str) -> str:
    """The text, which PostgreSQL must be able to hold."""
    if "\0" in text:
        raise ValueError("text must not hold the character U+0000; leave it out")
    return text


def require_number(value: object) -> object:
    """The value, which JSON calls a number: neither true nor "7"."""
    if isinstance(value, bool | str):
        raise ValueError("send a number")  # noqa: TRY004  pydantic hears of ValueErrors
    return value


def without_null(schema: dict[str, Any]) -> None:
    """Take null out of a field's JSON schema: the field may be left out, but not sent as null."""
    schema["anyOf"] = [each for each in schema["anyOf"] if each != {"type": "null"}]
    schema.pop("default", None)


# the same rule for readers of the OpenAPI document
WithoutNul = Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=20_000), AfterValidator(require_no_nul), WithoutNul]
# A card is some pages; what is longer belongs elsewhere.
Card = Annotated[str, StringConstraints(max_length=100_000), AfterValidator(require_no_nul), WithoutNul]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(require_no_nul), WithoutNul]
UrlText = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(require_no_nul), WithoutNul]
Reference = Annotated[
    str,
    StringConstraints(pattern=r"^(@[0-9a-f]{8,64}|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$"),
    Field(examples=["resnet-a"]),
]
# what an integer column holds
MOST = 2**31 - 1
# beyond it, many a program's JSON numbers are no longer exact
MOST_EXACT = 2**53 - 1
Positive = Annotated[int, Field(gt=0, le=MOST)]
Whole = Annotated[int, Field(ge=-MOST, le=MOST)]
ArgumentValue = (
    bool | Whole | Annotated[float, Field(ge=-1e9, le=1e9)] | Word | Annotated[list[Whole], Field(max_length=16)] | None
)
# ImageNet-21k has 21,841 classes; more than this is a mistake.
MAX_CLASSES = 100_000
# A long list is read up to its first fault: a sentence about each of its items helps nobody.
Classes = Annotated[
    list[Word],
    Field(min_length=2, max_length=MAX_CLASSES, fail_fast=True, json_schema_extra={"uniqueItems": True}),
]
# Members of one JSON object: several times as many as any declaration has.
MAX_FIELDS = 64


class Declaration(BaseModel):
    """Base of all: unknown fields are refused by name, unless they are very many; numbers must be finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _not_crowded(cls, value: object) -> object:
        for each in (value, *value.values()) if isinstance(value, dict) else ():
            if isinstance(each, dict) and len(each) > MAX_FIELDS:
                raise ValueError(f"an object has {len(each)} fields; at most {MAX_FIELDS} are read")
        return value


def _values_a_channel(channels: int) -> dict[str, Any]:
    """JSON schema of an input of so many channels; 3 are meant where they are left out."""
    length = {"minItems": channels, "maxItems": channels}
    named = {} if channels == 3 else {"required": ["channels"]}  # noqa: PLR2004  the default
    return {"properties": {"channels": {"const": channels}, "mean": length, "std": length}, **named}


class InputDeclaration(Declaration):
    """What a network is fed: square side in pixels, channels, and the normalisation of a [0, 1] pixel."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_values_a_channel(3), _values_a_channel(1)]})

    # the bounds first: behind a validator they would not be in the JSON schema
    size: Annotated[int, Field(ge=4, le=MAX_SIDE), BeforeValidator(require_number)]
    channels: Literal[1, 3] = 3
    mean: Annotated[list[Annotated[float, Field(strict=True, ge=-1e3, le=1e3)]], Field(min_length=1, max_length=3)]
    std: Annotated[list[Annotated[float, Field(strict=True, ge=1e-6, le=1e3)]], Field(min_length=1, max_length=3)]

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need one value for each of the {self.channels} channels")
        return self


class ModelDeclaration(Declaration):
    """The `metadata` of POST /models."""

    model_config = ConfigDict(
        json_schema_extra={
            # `classes` or `task`, not both
            "anyOf": [{"properties": {"classes": {"type": "null"}}}, {"properties": {"task": {"type": "null"}}}],
            "examples": [
                {
                    "name": "resnet-a",
                    "architecture": "resnet18",
                    "input": {"size": 224, "channels": 3, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
                    "task": "imagenet-1k",
                    "tags": ["baseline"],
                }
            ],
        }
    )

    name: Name
    architecture: Word
    model_args: Annotated[dict[Word, ArgumentValue], Field(max_length=16)] = {}
    pretrained: Word | None = Field(default=None, description="A tag of the catalogue; its weights are fetched.")
    input: InputDeclaration | None = Field(default=None, description="Left out: what the catalogue says.")
    classes: Classes | None = Field(default=None, description="What the network's outputs stand for, in order.")
    task: Name | None = Field(default=None, description="The outputs are that task's classes, in its order.")
    weights: Literal["raw", "ema"] = "raw"
    description: Text = ""
    tags: Annotated[list[Word], Field(max_length=64)] = []
    license: Word | None = None
    card: Card = Field(default="", description="The model card, Markdown.")
    source: Word | None = Field(
        default=None, description="Instead of a file: `<root>/<path>` below a root of the operator's SAT_SOURCES."
    )
    upload: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = Field(
        default=None, description="Instead of a file: the id of a complete upload (POST /uploads)."
    )
    expected_accuracy: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    supersedes: Reference | None = None
    last_rung: Annotated[Literal[0, 1], BeforeValidator(require_number)] = Field(
        default=1, description="0: measure on the first images only, until it is raised."
    )

    @model_validator(mode="after")
    def _classes_or_task(self) -> Self:
        if self.classes is not None and self.task is not None:
            raise ValueError("give `classes` or `task`, not both")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("`classes` repeats a name; each output stands for one class")
        return self


class PlannedModel(ModelDeclaration):
    """One of the models of POST /plan: what POST /models would get, and the size of the file."""

    checkpoint_bytes: Annotated[int, Field(ge=0, le=MOST_EXACT), BeforeValidator(require_number)] | None = Field(
        default=None, description="Left out: 4 bytes a parameter."
    )
    checkpoint_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Of the file, so that a name that is taken can be told from the same model."
    )


# A plan reads no files, but each declaration is checked.
MAX_PLANNED = 10_000


class PlanDeclaration(Declaration):
    """The body of POST /plan."""

    models: Annotated[list[PlannedModel], Field(min_length=1, max_length=MAX_PLANNED, fail_fast=True)]


class PartsDeclaration(Declaration):
    """How many images each of the three parts holds."""

    attack: Positive
    select: Annotated[int, Field(ge=0, le=MOST)]
    report: Annotated[int, Field(ge=0, le=MOST)]


class ImageSetDeclaration(Declaration):
    """The `metadata` of POST /image-sets."""

    name: Name
    classes: Classes
    task: Name | None = Field(default=None, description="Name of the task if it is new; left out: the image set's.")
    parts: PartsDeclaration | None = Field(default=None, description="Left out: 70 %, 15 % and 15 % of the images.")
    prefix: Positive | None = Field(default=None, description="Images of rung 0; left out: 500, or all if fewer.")
    seed: Annotated[int, Field(ge=0, le=MOST_EXACT)] = 0
    description: Text = ""

    @model_validator(mode="after")
    def _no_class_twice(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("`classes` repeats a name")
        return self


# Bounded: "1e999999999" is short, and an integer of a gigabyte.
_FRACTION = re.compile(r"-?[0-9]{1,20}(/[0-9]{1,20}|(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?)")


def _read_fraction(value: object) -> object:
    text = str(value)
    if isinstance(value, bool) or not _FRACTION.fullmatch(text) or re.search(r"/0+$", text):
        raise ValueError('use a number or a fraction such as "8/255"')
    return str(Fraction(text))


# A JSON number is taken, too.
FractionText = Annotated[
    str,
    BeforeValidator(_read_fraction),
    Field(
        json_schema_extra={
            "pattern": r"^-?[0-9]{1,20}(/[1-9][0-9]{0,19}|(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?)$",
            "examples": ["8/255"],
        }
    ),
]


class ProtocolDeclaration(Declaration):
    """The body of POST /protocols; what is left out is as the attack was published.

    Further fields are the attack's own options (GET /protocols/attacks lists them); the engine refuses others by name.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"name": "gentle", "attack": "mi-fgsm", "epsilon": "4/255", "momentum": 1}]},
    )

    name: Name
    attack: Word = "pgd"
    epsilon: FractionText = "8/255"
    step_size: FractionText | None = Field(default=None, description="Of a [0, 1] pixel.")
    steps: Annotated[int, Field(ge=0, le=10_000)] | None = None
    start: Word | None = None
    loss: Word | None = None
    seed: Annotated[int, Field(ge=0, le=MOST_EXACT)] | None = None
    description: Text = ""


class ComparisonDeclaration(Declaration):
    """The body of POST /comparisons; it starts nothing until its state is `measuring`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image_set": "digits", "protocol": "pgd"}]})

    image_set: Name
    protocol: Name
    state: ComparisonState = ComparisonState.PAUSED
    default: bool | None = Field(default=None, description="Left out: the first comparison becomes the default.")


class ComparisonChange(Declaration):
    """The body of PATCH /comparisons/<image_set>/<protocol>."""

    state: ComparisonState | None = None
    default: Literal[True] | None = None


class WorkerChange(Declaration):
    """The body of PATCH /workers/<id>."""

    wish: WorkerWish
