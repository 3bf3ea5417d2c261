"""What a search is about: the purifier, the images it is tuned on, and the attack it is tuned against."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from purebench.boards.board import AttackChoice, Board
from purebench.core.errors import PurebenchError, nearest
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.latents.tuning.images import held_out

OBJECTIVES = ("adaptive", "paper")
SEARCHED = ("schedule", "attenuation")
"""Parameters of a defense that a search sets by itself."""
PAPER_RADIUS = 2.0
"""l2 radius of the paper's FGSM images at 64 pixels."""
ATTENUATION = 0.7
"""What the paper multiplies its alphas by at 64 and 128 pixels."""

ATTACK = AttackChoice("attack", Spec("apgd", {"steps": 5}), "exact", 2)
"""A short attack through the whole purifier: a search asks it a hundred times."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that decides the value of a list of alphas.

    defense: whatever makes a LatentPurifier, without its schedule and attenuation. board: its classifier stands behind
    the purifier, and its images are kept apart. dataset, skip: where images are taken from, after the first so many.
    images: on which the search goes; fresh: as many others, on which the best are asked again. objective: `adaptive`
    (attacked anew for every list) or `paper` (images made once against the reconstruction). attack: of `adaptive`.
    draws: verification draws an image. attenuation: factor on the alphas that are searched.
    """

    defense: Spec
    board: Board
    classifier: Spec
    dataset: Spec
    skip: int
    images: int
    fresh: int
    threat: ThreatModel
    objective: str = "adaptive"
    attack: AttackChoice = ATTACK
    draws: int = 8
    attenuation: float = ATTENUATION
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise PurebenchError(f"--objective: {self.objective!r} is unknown; {nearest(self.objective, OBJECTIVES)}")
        for name in SEARCHED:
            if name in self.defense.params:
                raise PurebenchError(
                    f"tune: expected {self.defense.name} without its {name}, which the search sets, but got "
                    f"{self.defense}; leave it out."
                )
        if not 0 < self.attenuation <= 1:
            raise PurebenchError(f"--attenuation: expected a number in (0,1], but got {self.attenuation}.")
        for name, least in (("images", 1), ("fresh", 4), ("draws", 1)):
            if getattr(self, name) < least:
                raise PurebenchError(f"--{name}: expected at least {least}, but got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values of all that decides a list's value on the images of the search."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("confidence", "board", "fresh")}
        specs = {name: getattr(self, name).to_dict() for name in ("defense", "classifier", "dataset")}
        attack = {**plain["attack"], "use": self.attack.use.to_dict()}
        return {**plain, **specs, "attack": attack if self.objective == "adaptive" else "fgsm, once"}

    def attenuated(self, alphas: Any) -> list[float]:
        """What the purifier is given."""
        return [self.attenuation * alpha for alpha in alphas]

    def spec(self, alphas: Any) -> Spec:
        """The defense with these alphas, as a board names it; of factories that take schedule and attenuation."""
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
    """The setting that a board suggests: its classifier, its threat, and held-out images of its dataset.

    dataset, skip: other images. threat: another; of the objective `paper`, l2 with PAPER_RADIUS if None. options: the
    other fields of `Setting`. Raises PurebenchError for what does not fit.
    """
    if dataset is None:
        use, after = held_out(board)
    else:
        use, after = Spec.parse(dataset), 0
    if threat is None:
        threat = ThreatModel("l2", PAPER_RADIUS) if options.get("objective") == "paper" else board.threat
    values: dict[str, Any] = {"images": 128, "fresh": 256, "classifier": board.classifier} | options
    return Setting(
        defense=Spec.parse(defense),
        board=board,
        dataset=use,
        skip=after if skip is None else skip,
        threat=threat,
        **values,
    )
