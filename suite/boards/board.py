"""Defines a board as frozen dataclasses, and converts it to the plain values of a board.yaml (`parse` reads them)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from purebench.boards.effort_settings import EffortSettings
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel

SOURCE = "source"
FOR = ("all", "deterministic", "random", SOURCE)
PRECISIONS = ("float32", "tf32", "bf16")


@dataclass(frozen=True)
class DatasetChoice:
    """The images of a board.

    Attributes:
        use: A registered data set.
        images: Number of images that are used, the first ones in the order set by `seed`.
        block: Images per block.
        seed: Seed of the order.
    """

    use: Spec
    images: int
    block: int
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """The job whose adversarial images an attack reuses: a defense and an attack of the same board.

    Attributes:
        defense: Name of the defense.
        attack: Name of the attack.
    """

    defense: str
    attack: str


@dataclass(frozen=True)
class AttackChoice:
    """An attack of a board: a registered attack under a view.

    Attributes:
        name: Its name on the board.
        use: The registered attack.
        gradient: A registered view (exact, bpda, blind, or none for attacks that need no gradient) as written in the
            file, with or without parameters.
        eot: EOT samples, the draws that a gradient or score averages over; used on random defenses only.
        only: The defenses that it attacks: all, deterministic or random ones, or `source`: only rows whose adversarial
            images another attack reuses.
        source: The job whose adversarial images the attack gets; None for no job.
        counters: Whether the wrong draws of the attack's looks are counted on random defenses, and those of equally
            many looks at the clean image.
        spare: Whether images that an earlier attack broke on every verification draw are not attacked, as in a cascade.
        rows: The rows that it is bespoke to: it runs on these only, and does not change their robust accuracy and rank;
            empty for an attack of the common suite.
    """

    name: str
    use: Spec
    gradient: str = "none"
    eot: int = 1
    only: str = "all"
    source: Source | None = None
    counters: bool = False
    spare: bool = False
    rows: tuple[str, ...] = ()

    def same_as(self, other: AttackChoice) -> bool:
        """Return whether two attacks differ at most in their names and in the rows that they run on."""
        mine, theirs = (
            (one.use.name, dict(one.use.params), Spec.parse(one.gradient), one.eot, one.source) for one in (self, other)
        )
        return mine == theirs

    def for_row(self, defense: str) -> bool:
        """Return whether it runs on this row, as far as the rows that it is bespoke to decide."""
        return not self.rows or defense in self.rows


@dataclass(frozen=True)
class DefenseChoice:
    """A defense of a board.

    Attributes:
        name: Its name on the board.
        use: A registered purifier or defense.
        only_source: Run only as far as attacks on other rows reuse its adversarial images, and not shown.
    """

    name: str
    use: Spec
    only_source: bool = False


@dataclass(frozen=True)
class Stop:
    """A rule that ends a run before the board's last image; evaluated after every block, and intervals stay valid.

    If both `half_width` and `decided` are set, both must hold.

    Attributes:
        half_width: Largest half-width of every row's interval, a fraction in (0, 0.5).
        decided: Every two neighbours by robust accuracy are distinguished, or are unlikely to be by the last image.
        max_images: Largest number of images to run, in whole blocks; None for the board's.
    """

    half_width: float | None = None
    decided: bool = False
    max_images: int | None = None

    @property
    def early(self) -> bool:
        """True if results decide where the run ends, so that its intervals must be valid at any time."""
        return self.half_width is not None or self.decided

    @property
    def text(self) -> str:
        """The rule in words."""
        rules = [
            f"every interval is ± {100 * self.half_width:g} points or shorter" if self.half_width is not None else "",
            "all adjacent rows are statistically distinguishable, or are unlikely to become so by the last image"
            if self.decided
            else "",
        ]
        return "; ".join(rule for rule in rules if rule)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of a board.yaml that differ from the defaults."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


@dataclass(frozen=True)
class Board:
    """A leaderboard: images, classifier, threat model, attacks, defenses, and verification.

    Attributes:
        name: Name of the board.
        title: Title for display.
        about: Description.
        dataset: The images.
        classifier: A registered classifier.
        threat: The threat model.
        attacks: The attacks, in order.
        defenses: The defenses, one per row.
        draws: Verification draws of a random defense, per image and attack.
        fresh: Draws that score the picked adversarial example of each image.
        confidence: Confidence level of every interval.
        seed: Seed of all random numbers.
        cascade: Whether an image that was wrong on every verification draw under one attack is spared the attacks after
            it, whose numbers are then conditional.
        attack_precision: Arithmetic of the attacks, float32, tf32 (on GPUs) or bf16; verification is in float32.
        channels_last: Whether the attacks' passes use weights in the channels-last layout.
        compile: Whether the attacks' passes call compiled networks, where these can be compiled.
        stop: When a run may end before its last image; None for never.
        controls: Defenses of known robust accuracy; the attacks are run on them by a board of its own (see
            `controls_board`).
        radius_text: The radius as it was written, such as 8/255; empty if that is not known.
        origin: The board as the user named it, a bundled board or the path of a board.yaml; empty if that is not known.
        effort: The ladder of rising effort; None for none. It is run as a board of its own (`effort_board`).
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
    channels_last: bool = False
    compile: bool = False
    stop: Stop | None = None
    controls: tuple[DefenseChoice, ...] = field(default=(), compare=False)
    radius_text: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)
    effort: EffortSettings | None = field(default=None, compare=False)

    @property
    def blocks(self) -> int:
        """Number of blocks of the images."""
        return -(-self.dataset.images // self.dataset.block)

    @property
    def most_blocks(self) -> int:
        """Largest number of blocks that are run: `stop.max_images` in whole blocks."""
        most = None if self.stop is None else self.stop.max_images
        return self.blocks if most is None or most >= self.dataset.images else max(1, most // self.dataset.block)

    def images_of(self, blocks: int) -> int:
        """Return the number of images in the first `blocks` blocks."""
        return min(blocks * self.dataset.block, self.dataset.images)

    def reuses(self, defense: str, attack: str) -> bool:
        """Return whether an attack of the board reuses the adversarial images of this attack on this defense."""
        return any(other.source == Source(defense, attack) for other in self.attacks)

    def has_bespoke(self, defense: str) -> bool:
        """Return whether an attack of the board is bespoke to this row."""
        return any(defense in attack.rows for attack in self.attacks)

    @property
    def shown(self) -> tuple[DefenseChoice, ...]:
        """The defenses that are ranked."""
        return tuple(defense for defense in self.defenses if not defense.only_source)

    def to_dict(self) -> dict[str, Any]:
        """Return the board as plain values in the form of a board.yaml; `parse_board` converts them back."""
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
            **({"channels_last": True} if self.channels_last else {}),
            **({"compile": True} if self.compile else {}),
            "attacks": {attack.name: _plain_attack(attack) for attack in self.attacks},
            "defenses": {defense.name: defense.use.plain() for defense in self.defenses},
            **({"stop": self.stop.to_dict()} if self.stop else {}),
            **({"only_sources": sources} if sources else {}),
            **({"controls": {control.name: control.use.plain() for control in self.controls}} if self.controls else {}),
            **({"effort": self.effort.model_dump(mode="json", exclude_defaults=True)} if self.effort else {}),
        }


def _plain_attack(attack: AttackChoice) -> dict[str, Any]:
    plain = {"use": attack.use.plain(), "gradient": attack.gradient, "eot": attack.eot, "only": attack.only}
    plain |= {"counters": True} if attack.counters else {}
    plain |= {"spare": True} if attack.spare else {}
    plain |= {"rows": list(attack.rows)} if attack.rows else {}
    return plain if attack.source is None else {**plain, "source": asdict(attack.source)}
