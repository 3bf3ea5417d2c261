"""Defines the setting of a search: the purifier, the images that it is tuned on, and the attack."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from purebench.boards.board import AttackChoice, Board
from purebench.core.errors import PurebenchError
from purebench.core.files.versioned_model import Whole
from purebench.core.parameters import MOST, Count, InnerShare, PositiveShare, check_fields
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.data.dev_images import dev_spec

SEARCHED = ("schedule", "attenuation")
"""Parameters of a defense that a search sets itself."""
PAPER_RADIUS = 2.0
"""l2 radius of the paper's FGSM images at 64 pixels."""
ATTENUATION = 0.7
"""Factor by which the paper multiplies its alphas at 64 and 128 pixels."""

ATTACK = AttackChoice("attack", Spec("apgd", {"steps": 5}), "exact", 2)
"""A short attack through the whole purifier: a search runs it a hundred times."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that decides the value of a list of alphas.

    Attributes:
        defense: A defense that makes a LatentPurifier, without its schedule and attenuation.
        board: The board that the purifier is tuned for; its images are kept apart.
        classifier: The classifier behind the purifier, by default the board's.
        dataset: Data set that the images are taken from.
        skip: Number of images to leave out at its beginning.
        images: Number of images of the search.
        fresh: Number of other images, on which the best lists are evaluated again.
        threat: Threat model.
        objective: `adaptive` (attacked anew for every list) or `paper` (images made once against the reconstruction).
        attack: Attack of the objective `adaptive`.
        draws: Verification draws per image.
        attenuation: Factor on the alphas that are searched, in (0,1].
        confidence: Of the intervals, in (0,1).
        seed: Seed of images, proposals, attacks and draws.
    """

    defense: Spec
    board: Board
    classifier: Spec
    dataset: Spec
    skip: Whole
    images: Count
    fresh: Annotated[int, Field(ge=4, le=MOST)]
    threat: ThreatModel
    objective: Literal["adaptive", "paper"] = "adaptive"
    attack: AttackChoice = ATTACK
    draws: Count = 8
    attenuation: PositiveShare = ATTENUATION
    confidence: InnerShare = 0.95
    seed: Whole = 0

    def __post_init__(self) -> None:
        check_fields(self, "--")
        for name in SEARCHED:
            if name in self.defense.params:
                raise PurebenchError(
                    f"tune: expected {self.defense.name} without {name}, which the search determines, but got "
                    f"{self.defense}; remove it."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values of everything that decides a list's value on the images of the search."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("confidence", "board", "fresh")}
        specs = {name: getattr(self, name).to_dict() for name in ("defense", "classifier", "dataset")}
        attack = {**plain["attack"], "use": self.attack.use.to_dict()}
        return {**plain, **specs, "attack": attack if self.objective == "adaptive" else "fgsm, once"}

    def attenuated(self, alphas: Any) -> list[float]:
        """Return the alphas that the purifier is given."""
        return [self.attenuation * alpha for alpha in alphas]

    def spec(self, alphas: Any) -> Spec:
        """Return the spec of the defense with these alphas; its factory must take schedule and attenuation."""
        params = {**self.defense.params, "schedule": list(alphas), "attenuation": self.attenuation}
        return Spec(self.defense.name, params)


def setting_for(
    defense: str,
    board: Board,
    *,
    dataset: str | None = None,
    skip: int | None = None,
    threat: ThreatModel | None = None,
    **options: Any,
) -> Setting:
    """Make the setting of a board: its classifier, its threat, and dev images of its data set.

    Args:
        defense: Spec of the defense.
        board: The board.
        dataset: Other images; None for the dev images of the board's data set.
        skip: Number of images to leave out at the beginning; None for 0.
        threat: Another threat model; if None, the board's, or l2 with PAPER_RADIUS for the objective `paper`.
        **options: The other fields of `Setting`.

    Returns:
        The setting.

    Raises:
        PurebenchError: If the arguments do not fit each other.
    """
    own = board.dataset
    use = dev_spec(own.use, own.images, own.seed) if dataset is None else Spec.parse(dataset)
    if threat is None:
        threat = ThreatModel("l2", PAPER_RADIUS) if options.get("objective") == "paper" else board.threat
    values: dict[str, Any] = {"images": 128, "fresh": 256, "classifier": board.classifier} | options
    return Setting(
        defense=Spec.parse(defense),
        board=board,
        dataset=use,
        skip=skip or 0,
        threat=threat,
        **values,
    )
