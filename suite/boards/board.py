"""What a board is: frozen dataclasses, and the plain values that a board.yaml holds (`parse` reads them)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel

SOURCE = "source"
FOR = ("all", "deterministic", "random", SOURCE)
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
    deterministic or random defenses, or `source`: only rows whose adversarial images another attack reuses; source:
    whose adversarial images the attack is given, None for no one's.
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
class Stop:
    """When a run ends before the board's last image; looked at after every block, and intervals stay valid.

    half_width: every row's interval is at most so long to either side, a fraction in (0, 0.5). decided: every two
    neighbours by robust accuracy are told apart, or would hardly be by the last image. Of both, both must hold.
    max_images: at most so many images are run, in whole blocks; None for the board's.
    """

    half_width: float | None = None
    decided: bool = False
    max_images: int | None = None

    @property
    def early(self) -> bool:
        """Whether results decide where the run ends, so that its intervals must hold at any time."""
        return self.half_width is not None or self.decided

    @property
    def text(self) -> str:
        """The rule in words."""
        rules = [
            f"every interval is ± {100 * self.half_width:g} points or shorter" if self.half_width is not None else "",
            "every two neighbours are told apart, or would hardly be by the last image" if self.decided else "",
        ]
        return "; ".join(rule for rule in rules if rule)

    def to_dict(self) -> dict[str, Any]:
        """The keys of a board.yaml that are not as by default."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


@dataclass(frozen=True)
class Board:
    """A leaderboard: images, classifier, threat, attacks, defenses, and how answers are verified.

    draws: verification draws of a random defense, each image and attack; fresh: those that score the picked adversarial
    example of each image; confidence: of every interval; seed: of everything;
    cascade: an image that was wrong on every verification draw under one attack is spared the attacks after it, whose
    numbers are then conditional; attack_precision: arithmetic of the attacks, float32 or bf16 (verification: float32);
    stop: when a run may end before its last image, None for never; origin: how the user named it, a bundled board or
    the path of a board.yaml, empty where that is not known.
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
    fresh: int = 32
    confidence: float = 0.95
    seed: int = 0
    cascade: bool = False
    attack_precision: str = "float32"
    stop: Stop | None = None
    radius_text: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)

    @property
    def blocks(self) -> int:
        """How many blocks the images fall into."""
        return -(-self.dataset.images // self.dataset.block)

    @property
    def most_blocks(self) -> int:
        """How many blocks are run at most: `stop.max_images` in whole blocks."""
        most = None if self.stop is None else self.stop.max_images
        return self.blocks if most is None or most >= self.dataset.images else max(1, most // self.dataset.block)

    def images_of(self, blocks: int) -> int:
        """How many images the first blocks have."""
        return min(blocks * self.dataset.block, self.dataset.images)

    def reuses(self, defense: str, attack: str) -> bool:
        """Whether an attack of the board reuses the adversarial images of this attack on this defense."""
        return any(other.source == Source(defense, attack) for other in self.attacks)

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
            "verify": {"draws": self.draws, "fresh": self.fresh},
            "confidence": self.confidence,
            "seed": self.seed,
            "cascade": self.cascade,
            "attack_precision": self.attack_precision,
            "attacks": {attack.name: _plain_attack(attack) for attack in self.attacks},
            "defenses": {defense.name: defense.use.plain() for defense in self.defenses},
            **({"stop": self.stop.to_dict()} if self.stop else {}),
            **({"only_sources": sources} if sources else {}),
        }


def _plain_attack(attack: AttackChoice) -> dict[str, Any]:
    plain = {"use": attack.use.plain(), "gradient": attack.gradient, "eot": attack.eot, "only": attack.only}
    return plain if attack.source is None else {**plain, "source": asdict(attack.source)}
