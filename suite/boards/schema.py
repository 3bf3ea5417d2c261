"""Defines the schema of a board.yaml, and of the board that is stored in a result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.core.files.versioned_model import MOST_DRAWS, MOST_IMAGES, StrictModel, Whole, plain, told
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel, parse_radius
from purebench.records.outcome import WORST_CASE

SCHEMA: Final = 1
"""Version of the schema of boards."""
CURE = "write it again for this purebench, or use the purebench that it was written for"
BOARD_NAME = re.compile(r"[a-z0-9][a-z0-9-]*(@[0-9.e+-]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""Pattern of the names of attacks and defenses."""
MOST_ROWS = 1_000
MOST_JOBS = 1_000_000
LONGEST_SPEC = 2_000
LONGEST_TEXT = 20_000


def _name(value: Any) -> str:
    if not isinstance(value, str) or not BOARD_NAME.fullmatch(value):
        raise told(f"expected small letters, digits and dashes, but got {shown(value)}")
    return value


def _named(value: Any) -> Any:
    """Return the mapping, if its keys are names; its values are validated later."""
    if not isinstance(value, dict) or not value:
        raise told(f"expected a mapping of names, but got {shown(value)}")
    if len(value) > MOST_ROWS:
        raise told(f"expected at most {MOST_ROWS:,} names, but got {len(value):,}")
    for name in value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise told(f"expected names of letters, digits and . _ + -, but got {shown(name)}")
    return value


def _attack_names(value: Any) -> Any:
    if isinstance(value, dict) and WORST_CASE in value:
        raise told(f"{WORST_CASE!r} is the name of what is picked among attacks; choose another")
    return value


def _spec(value: Any) -> Spec:
    if isinstance(value, str) and len(value) > LONGEST_SPEC:
        raise told(f"expected at most {LONGEST_SPEC:,} characters, but got {len(value):,}")
    if isinstance(value, dict):
        plain(value)
    try:
        spec = Spec.parse(value)
    except PurebenchError as error:
        raise told(str(error)) from error
    except (RecursionError, MemoryError) as error:  # raised by the parser for nested brackets
        raise told("expected key=value arguments, but they are nested too deeply") from error
    plain(spec.params)
    return spec


def _gradient(value: Any) -> str:
    return value if isinstance(_spec(value), Spec) and isinstance(value, str) else str(_spec(value))


def _title(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise told(f"expected text, but got {shown(value)}")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise told(f"expected at most {LONGEST_TEXT:,} characters, but got {len(value):,}")
    return str(value)


def _radius(value: Any) -> str | float:
    """Return the radius as it is written. A long exponent would give a number that fills the memory."""
    if isinstance(value, str) and (len(value) > 40 or re.search(r"[eE][+-]?\d{4}", value)):
        raise told(f"expected a number or a fraction such as 8/255, but got {shown(value)}")
    if isinstance(value, bool):
        raise told(f"expected a number or a fraction such as 8/255, but got {shown(value)}")
    try:
        parse_radius(value)
    except PurebenchError as error:
        raise told(str(error).removeprefix("radius: ")) from error
    return value  # type: ignore[no-any-return]


def _norm(value: Any) -> str:
    try:
        return ThreatModel(value if isinstance(value, str) else shown(value), 1.0).norm
    except PurebenchError as error:
        raise told(str(error).removeprefix("norm: ")) from error


SpecField = Annotated[Spec, PlainValidator(_spec)]
"""A registered name, with or without parameters."""
Draws = Annotated[int, Field(ge=1, le=MOST_DRAWS)]
Images = Annotated[int, Field(ge=1, le=MOST_IMAGES)]


class DatasetSchema(StrictModel):
    """The images of a board; see `purebench.boards.board.DatasetChoice`."""

    use: SpecField
    images: Images
    block: Images
    seed: Whole = 0


class ThreatSchema(StrictModel):
    """Norm and radius of the threat model."""

    norm: Annotated[str, PlainValidator(_norm)]
    radius: Annotated[Any, PlainValidator(_radius)]

    @model_validator(mode="before")
    @classmethod
    def _eps(cls, values: Any) -> Any:
        """Accept `eps` as another name of the radius."""
        if not isinstance(values, dict) or "eps" not in values:
            return values
        if "radius" in values:
            raise told("expected radius or eps, which are the same, but got both; drop one")
        return {"radius" if key == "eps" else key: value for key, value in values.items()}

    @property
    def model(self) -> ThreatModel:
        """The threat model."""
        return ThreatModel(self.norm, parse_radius(self.radius))


class VerifySchema(StrictModel):
    """Settings of the verification; see `purebench.boards.board.Board`."""

    draws: Draws = 16
    fresh: Draws = 32


class SourceSchema(StrictModel):
    """The job whose adversarial images are reused; see `purebench.boards.board.Source`."""

    defense: str
    attack: str


class AttackSchema(StrictModel):
    """An attack of a board; see `purebench.boards.board.AttackChoice`."""

    use: SpecField
    gradient: Annotated[str, PlainValidator(_gradient)] = "none"
    eot: Draws = 1
    only: Literal["all", "deterministic", "random", "source"] = "all"
    source: SourceSchema | None = None


class StopSchema(StrictModel):
    """The rule by which a run may end early; see `purebench.boards.board.Stop`."""

    half_width: Annotated[float, Field(gt=0, lt=0.5)] | None = Field(
        default=None, description="a number in (0, 0.5), such as 0.02 for two points"
    )
    decided: bool = False
    max_images: Images | None = None


class BoardCore(StrictModel):
    """The parts of a board that decide the numbers of one row, which its results store.

    The fields are those of `purebench.boards.board.Board`; `verify` contains `draws` and `fresh`.
    """

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    name: Annotated[str, PlainValidator(_name)]
    dataset: DatasetSchema
    classifier: SpecField
    threat: ThreatSchema
    verify: VerifySchema = VerifySchema()
    confidence: Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1, such as 0.95")] = 0.95
    seed: Whole = 0
    cascade: bool = False
    attack_precision: Literal["float32", "bf16"] = "float32"
    attacks: Annotated[dict[str, AttackSchema], BeforeValidator(_attack_names), BeforeValidator(_named)]
    stop: StopSchema | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_says_something(cls, value: Any) -> Any:
        if value == {}:
            raise told("expected half_width, decided or max_images, but got none; leave the key out")
        return value

    @property
    def blocks(self) -> int:
        """Number of blocks of the images."""
        return -(-self.dataset.images // self.dataset.block)


class BoardSchema(BoardCore):
    """The schema of a board.yaml.

    The fields are those of `purebench.boards.board.Board`; `only_sources` names the defenses with `only_source`.
    """

    title: Annotated[str, PlainValidator(_title)] = ""
    about: Annotated[str, PlainValidator(_title)] = ""
    defenses: Annotated[dict[str, SpecField], BeforeValidator(_named)]
    only_sources: Annotated[list[Any], Field(default_factory=list, description="a list of defenses")]


def require_whole(core: BoardCore, board: Mapping[str, Any]) -> None:
    """Check that a result's board contains all keys, including those that have a default.

    Args:
        core: The parsed board.
        board: The board as plain values.

    Raises:
        PurebenchError: If a key is missing.
    """
    parts = [(board, core, {"schema_version", "stop"}), (board["dataset"], core.dataset, set())]
    parts += [(board["attacks"][name], attack, {"source"}) for name, attack in core.attacks.items()]
    parts += [(board["verify"], core.verify, set())] if "verify" in board else []
    for given, part, optional in parts:
        for key in type(part).model_fields:
            if key not in given and key not in optional:
                raise PurebenchError(f"board: expected the key {key!r}, but it is missing.")
