"""Defines the schema of a board.yaml, and of the board that is stored in a result.

The descriptions of the fields are shown by editors, which read the JSON schema (`purebench schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from purebench.boards.effort_settings import Effort, auto_or_settings
from purebench.boards.schema_fields import (
    NAMES_SCHEMA,
    BoardName,
    Draws,
    Gradient,
    Images,
    Named,
    Norm,
    NotWorstCase,
    Radius,
    SpecField,
    Title,
)
from purebench.core.answers import LEAST_DRAWS
from purebench.core.errors import PurebenchError
from purebench.core.files.validation_errors import Expected, told
from purebench.core.files.versioned_model import StrictModel, Whole
from purebench.core.threat import ThreatModel, parse_radius

SCHEMA: Final = 1
"""Version of the schema of boards."""
CURE = "rewrite it for this version of purebench, or use the version that it was written for"
MOST_JOBS = 1_000_000


class DatasetSchema(StrictModel):
    """The images of the board."""

    use: SpecField = Field(
        description="A registered data set (fashion-mnist, cifar10, image-folder), or path/to/file.py:name."
    )
    images: Images = Field(description="Number of images to use: the first ones in the order that `seed` determines.")
    block: Images = Field(
        description="Images per job: the unit of randomness and of storage, at most the size of the data set."
    )
    seed: Whole = Field(default=0, description="Seed of the order of the images.")


def _radius_or_eps(schema: dict[str, Any]) -> None:
    """State in the JSON schema that `eps` may replace `radius`."""
    schema["properties"]["eps"] = {**schema["properties"]["radius"], "description": "The same as radius."}
    schema["required"] = ["norm"]
    schema["oneOf"] = [{"required": ["radius"]}, {"required": ["eps"]}]


class ThreatSchema(StrictModel):
    """Norm and radius of the threat model."""

    model_config = ConfigDict(json_schema_extra=_radius_or_eps)

    norm: Norm = Field(description="Norm of the perturbation.")
    radius: Radius = Field(
        description="Largest norm of a perturbation, in units of images in [0,1]: a number or fraction, such as 8/255."
    )

    @model_validator(mode="before")
    @classmethod
    def _eps(cls, values: Any) -> Any:
        """Accept `eps` as another name of the radius."""
        if not isinstance(values, dict) or "eps" not in values:
            return values
        if "radius" in values:
            raise told("expected either radius or eps, which mean the same, but got both; remove one")
        return {"radius" if key == "eps" else key: value for key, value in values.items()}

    @property
    def model(self) -> ThreatModel:
        """The threat model."""
        return ThreatModel(self.norm, parse_radius(self.radius))


class VerifySchema(StrictModel):
    """Number of draws of a random defense that decide its results."""

    draws: Draws = Field(default=16, description="Verification draws of a random defense, per image and attack.")
    fresh: Draws = Field(
        default=32, description=("Draws that measure the accuracy at the picked adversarial example of each image.")
    )


class SourceSchema(StrictModel):
    """The job whose adversarial images are reused."""

    defense: str = Field(description="Name of the defense, a key of `defenses`.")
    attack: str = Field(description="Name of the attack, a key of `attacks` above this one.")


class AttackSchema(StrictModel):
    """An attack of the board."""

    use: SpecField = Field(
        description="A registered attack, such as apgd(steps=50) or foolbox:LinfPGD, or path/to/file.py:name."
    )
    gradient: Gradient = Field(
        default="none",
        description="Gradient mode, such as exact, bpda or surrogate, or none (no gradient); see purebench list views.",
    )
    eot: Draws = Field(
        default=1, description="EOT samples: draws of a random defense that each gradient or score averages over."
    )
    only: Literal["all", "deterministic", "random", "source"] = Field(
        default="all",
        description=(
            "Defenses to attack: all, deterministic, random, or source (those whose adversarial images another "
            "attack reuses)."
        ),
    )
    source: SourceSchema | None = Field(
        default=None, description=("Job whose adversarial images are given to the attack, as for the attack transfer.")
    )
    counters: bool = Field(
        default=False,
        description=(
            "Count the wrong draws of each evaluation of a random defense by the attack, and of equally many at the "
            f"clean image; needs eot of at least {LEAST_DRAWS}."
        ),
    )
    rows: Annotated[Annotated[list[str], Field(min_length=1)] | None, Expected("a list of rows, such as [vae]")] = (
        Field(
            default=None,
            description=(
                "Rows that the attack is bespoke to, keys of `defenses`: it runs on these only, does not change ranks "
                "and robust accuracy, and is included in their best known accuracy. Leave it out for an attack that "
                "applies to all rows."
            ),
        )
    )

    spare: bool = Field(
        default=False,
        description="Do not attack images that an earlier attack broke on every draw, as in a cascade.",
    )

    @model_validator(mode="after")
    def _enough_draws(self) -> Self:
        if self.counters and self.eot < LEAST_DRAWS:
            raise told(
                f"counters: expected eot of at least {LEAST_DRAWS}, because with few draws a single wrong one is a "
                f"large share, but got {self.eot}; set eot: {LEAST_DRAWS}, or remove counters "
                "(diffhammer has draws in place of eot; set eot to their number)"
            )
        return self


class StopSchema(StrictModel):
    """A rule by which a run may end before the last image; intervals stay valid."""

    half_width: Annotated[
        Annotated[float, Field(gt=0, lt=0.5)] | None, Expected("a number in (0, 0.5), such as 0.02 for two points")
    ] = Field(default=None, description="Largest half-width of every row's interval, such as 0.02 for two points.")
    decided: bool = Field(
        default=False,
        description=(
            "Stop when all adjacent rows are statistically distinguishable, or are unlikely to become so by the "
            "last image."
        ),
    )
    max_images: Images | None = Field(default=None, description="Largest number of images to run, at least one block.")


class BoardCore(StrictModel):
    """The parts of a board that decide the numbers of one row, which its results store.

    The fields are those of `purebench.boards.board.Board`; `verify` contains `draws` and `fresh`.
    """

    schema_version: Literal[1] = Field(
        default=SCHEMA, alias="schema", description="Version of the schema; may be left out."
    )
    name: BoardName = Field(
        description="Name of the board, under which its results are stored: lower-case letters, digits and dashes."
    )
    dataset: DatasetSchema = Field(description="The images.")
    classifier: SpecField = Field(
        description="The classifier behind the purifiers: a registered name, or path/to/file.py:name."
    )
    threat: ThreatSchema = Field(description="The threat model.")
    verify: VerifySchema = Field(default=VerifySchema(), description="Draws of random defenses.")
    confidence: Annotated[float, Field(gt=0, lt=1), Expected("a number between 0 and 1, such as 0.95")] = Field(
        default=0.95, description="Confidence level of every interval."
    )
    seed: Whole = Field(default=0, description="Seed of all random numbers.")
    cascade: bool = Field(
        default=False,
        description=("Skip the remaining attacks on an image once every draw of it was wrong under one attack."),
    )
    attack_precision: Literal["float32", "tf32", "bf16"] = Field(
        default="float32", description="Arithmetic of the attacks; verification is in float32. tf32 needs a GPU."
    )
    channels_last: bool = Field(
        default=False, description="Use weights in the channels-last layout in the attacks' passes."
    )
    compile: bool = Field(
        default=False, description="Call compiled networks in the attacks' passes, where these can be compiled."
    )
    attacks: Annotated[dict[str, AttackSchema], NotWorstCase, Named] = Field(
        description="The attacks by name, in order. The one named clean gives the clean accuracy.",
        json_schema_extra=NAMES_SCHEMA,
    )
    stop: StopSchema | None = Field(default=None, description="Rule by which a run may stop before its last image.")

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_says_something(cls, value: Any) -> Any:
        if value == {}:
            raise told(
                "expected at least one of half_width, decided and max_images, but got none; add one, or remove the key"
            )
        return value

    @property
    def blocks(self) -> int:
        """Number of blocks of the images."""
        return -(-self.dataset.images // self.dataset.block)


class BoardSchema(BoardCore):
    """A leaderboard of purebench: images, classifier, threat model, attacks and defenses (docs/boards.md)."""

    title: Title = Field(default="", description="Title for display.")
    about: Title = Field(default="", description="Description of the board.")
    defenses: Annotated[dict[str, SpecField], Named] = Field(
        description="The defenses by name, one per row: registered names, or path/to/file.py:name.",
        json_schema_extra=NAMES_SCHEMA,
    )
    only_sources: Annotated[list[Any], Expected("a list of defenses")] = Field(
        default_factory=list,
        description=(
            "Defenses that are run only because attacks on other defenses reuse their adversarial images; they are "
            "not ranked."
        ),
        json_schema_extra={"items": {"type": "string"}},
    )
    controls: Annotated[dict[str, SpecField], Named] = Field(
        default_factory=dict,
        description=(
            "Control rows by name: defenses of known robust accuracy, which the attacks of the board are run on as "
            "well, to show how near they come to it (docs/controls.md). They are not ranked."
        ),
        json_schema_extra=NAMES_SCHEMA,
    )
    effort: Effort = Field(
        default=None,
        description=(
            "Attacks of rising effort on some of the images, which show whether the attacks have converged "
            "(docs/convergence.md): auto, or the settings. Without auto they change no result of the board itself."
        ),
        json_schema_extra=auto_or_settings,
    )


def require_whole(core: BoardCore, board: Mapping[str, Any]) -> None:
    """Check that a result's board contains all keys, including those that have a default.

    Args:
        core: The parsed board.
        board: The board as plain values.

    Raises:
        PurebenchError: If a key is missing.
    """
    parts = [
        (board, core, {"schema_version", "stop", "channels_last", "compile"}),
        (board["dataset"], core.dataset, set()),
    ]
    parts += [
        (board["attacks"][name], attack, {"source", "counters", "spare", "rows"})
        for name, attack in core.attacks.items()
    ]
    parts += [(board["verify"], core.verify, set())] if "verify" in board else []
    for given, part, optional in parts:
        for key in type(part).model_fields:
            if key not in given and key not in optional:
                raise PurebenchError(f"board: expected the key {key!r}, but it is missing.")
