"""Defines the key `effort` of a board.yaml: the ladder of rising effort that shows whether attacks have converged."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from purebench.boards.schema_fields import Draws, Images
from purebench.core.files.validation_errors import Expected, told
from purebench.core.files.versioned_model import StrictModel
from purebench.core.parameters import Count

AUTO = "auto"
"""Value of the key that stands for `{auto: true}` with the defaults."""


class EffortRung(StrictModel):
    """One effort of the ladder: the parameters of APGD."""

    steps: Count = Field(description="Gradients per image and run.")
    eot: Draws = Field(default=1, description="EOT samples of a random defense.")
    restarts: Count = Field(default=1, description="Number of runs.")

    @property
    def gradients(self) -> int:
        """Gradients per image on a random defense."""
        return self.steps * self.eot * self.restarts


LADDER = (
    EffortRung(steps=5, eot=2),
    EffortRung(steps=10, eot=2),
    EffortRung(steps=20, eot=4),
    EffortRung(steps=20, eot=4, restarts=2),
)
"""The default rungs: 5, 10, 20 and 40 gradients on a deterministic defense, and 10, 20, 80 and 160 on a random one."""


def _as_list(value: Any) -> Any:
    """Return a list as a tuple, which a frozen model can hold."""
    return tuple(value) if isinstance(value, list) else value


def _rising(rungs: tuple[EffortRung, ...]) -> tuple[EffortRung, ...]:
    costs = [rung.gradients for rung in rungs]
    if any(cost <= before for before, cost in pairwise(costs)):
        raise told(
            f"expected rungs of rising steps × eot × restarts, but got {', '.join(map(str, costs))}; order the rungs, "
            "and remove equal ones"
        )
    return rungs


class EffortSettings(StrictModel):
    """The ladder of rising effort, and whether the board's own attacks are doubled in effort."""

    images: Images = Field(
        default=200, description="Images of the ladder: the first ones of the board, rounded up to whole blocks."
    )
    rungs: Annotated[
        tuple[EffortRung, ...],
        Field(min_length=3, max_length=20),
        BeforeValidator(_as_list),
        AfterValidator(_rising),
        Expected("a list of 3 to 20 rungs, such as [{steps: 5}, {steps: 10}, {steps: 20}]"),
    ] = Field(
        default=LADDER,
        description="Efforts of APGD by rising cost, at least three.",
    )
    queries: Count = Field(default=100, description="Queries of Square, the attack without gradients.")
    auto: bool = Field(
        default=False,
        description=(
            "Double the effort of the board's PGD-like attacks until the accuracy has converged, on images that no "
            "attack has broken on every draw."
        ),
    )
    budget: Count = Field(
        default=20_000, description="With auto: largest number of purifier passes per image, on average over a row."
    )


def _written(value: Any) -> Any:
    return {"auto": True} if value == AUTO else value


Effort = Annotated[EffortSettings | None, BeforeValidator(_written)]
"""The key as it is written: `auto`, or a mapping."""


def auto_or_settings(schema: dict[str, Any]) -> None:
    """State in the JSON schema that the key may be `auto`."""
    schema["anyOf"].insert(0, {"const": AUTO})
