"""What a board is: frozen dataclasses, and the plain values that a board.yaml holds (`board_file` reads them)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from purebench.registry import Spec
from purebench.threat import ThreatModel

FOR = ("all", "deterministic", "random")
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class DatasetChoice:
    """Which images: a registered dataset, the first `images` of it, in blocks of `block`, in an order set by `seed`."""

    use: Spec
    images: int
    block: int
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """The job whose adversarial images an attack reuses: a defense and an attack of the same board, by name."""

    defense: str
    attack: str


@dataclass(frozen=True)
class AttackChoice:
    """An attack of a board: a registered attack under a view.

    gradient: a registered view (exact, bpda, blind, or none for attacks that need no gradient), as one writes it, with
    parameters or without; eot: draws that a gradient or score averages over, used on random defenses only; only: all,
    deterministic or random defenses; source: whose adversarial images the attack is given, None for no one's.
    """

    name: str
    use: Spec
    gradient: str = "none"
    eot: int = 1
    only: str = "all"
    source: Source | None = None


@dataclass(frozen=True)
class DefenseChoice:
    """A defense of a board: a registered purifier or defense under the name it has there.

    only_source: run only as far as attacks on other rows reuse its adversarial images, and not shown.
    """

    name: str
    use: Spec
    only_source: bool = False


@dataclass(frozen=True)
class Board:
    """A leaderboard: images, classifier, threat, attacks, defenses, and how answers are verified.

    draws: verification draws of a random defense, each image; confidence: of every interval; seed: of everything;
    cascade: an image that was wrong on every verification draw under one attack is spared the attacks after it, whose
    numbers are then conditional; attack_precision: arithmetic of the attacks, float32 or bf16 (verification: float32).
    """

    name: str
    title: str
    about: str
    dataset: DatasetChoice
    classifier: Spec
    threat: ThreatModel
    attacks: tuple[AttackChoice, ...]
    defenses: tuple[DefenseChoice, ...]
    draws: int = 16
    confidence: float = 0.95
    seed: int = 0
    cascade: bool = False
    attack_precision: str = "float32"
    radius_text: str = field(default="", compare=False)

    @property
    def blocks(self) -> int:
        """How many blocks the images fall into."""
        return -(-self.dataset.images // self.dataset.block)

    @property
    def shown(self) -> tuple[DefenseChoice, ...]:
        """The defenses that are ranked."""
        return tuple(defense for defense in self.defenses if not defense.only_source)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the form of a board.yaml: `parse_board` gives the same board back."""
        sources = [defense.name for defense in self.defenses if defense.only_source]
        return {
            "name": self.name,
            "title": self.title,
            "about": self.about,
            "dataset": {**asdict(self.dataset), "use": self.dataset.use.plain()},
            "classifier": self.classifier.plain(),
            "threat": {"norm": self.threat.norm, "radius": self.radius_text or self.threat.radius},
            "verify": {"draws": self.draws},
            "confidence": self.confidence,
            "seed": self.seed,
            "cascade": self.cascade,
            "attack_precision": self.attack_precision,
            "attacks": {attack.name: _plain_attack(attack) for attack in self.attacks},
            "defenses": {defense.name: defense.use.plain() for defense in self.defenses},
            **({"only_sources": sources} if sources else {}),
        }


def _plain_attack(attack: AttackChoice) -> dict[str, Any]:
    plain = {"use": attack.use.plain(), "gradient": attack.gradient, "eot": attack.eot, "only": attack.only}
    return plain if attack.source is None else {**plain, "source": asdict(attack.source)}
