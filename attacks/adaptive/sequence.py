"""Several attacks in turn: each attacks the images that the ones before it left, through a view of its own.

This is the composition of AutoAttack (Croce & Hein 2020, arXiv:2003.01690, section 6) and of the composite attacks of
Mao et al. 2021 (arXiv:2012.05434): a part may start from the best points so far instead of the image. The points of the
parts are compared on fresh draws of the defense itself, whatever views they come from.

    sequence(parts=[{'use': 'apgd(steps=20, loss=cw)', 'gradient': 'stand-in(model=trades)'},
                    {'use': 'square(queries=200)', 'start': 'found'}])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.losses import margin, mean_over_draws
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.view import View
from purebench.core import registry
from purebench.core.answers import Answer, Inapplicable
from purebench.core.compute.batching import DeviceBatch
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.registry import Spec
from purebench.core.threat import Knowledge, ThreatModel
from purebench.core.warning_codes import joined

DRAWS = 16
"""Draws at which the points of two parts are compared on a random defense."""
KEYS = ("use", "gradient", "eot", "start")
STARTS = ("image", "found")
USUAL = (
    {"use": "apgd(steps=50)", "gradient": "exact"},
    {"use": "apgd(steps=50, loss=cw)", "gradient": "bpda", "start": "found"},
)


@dataclass(frozen=True)
class Part:
    """One attack of a sequence.

    Attributes:
        use: The attack.
        gradient: The view that it uses.
        eot: EOT samples.
        found: Whether it starts from the best points so far.
    """

    use: Spec
    gradient: Spec = field(default_factory=lambda: Spec("none"))
    eot: int = 1
    found: bool = False

    @classmethod
    def parse(cls, plain: Any) -> Part:
        """Read a part as it is written on a board.

        Args:
            plain: The name of an attack, or a mapping with use, gradient, eot and start (image or found).

        Raises:
            PurebenchError: If it is neither, or a value is invalid.
        """
        given = {"use": plain} if isinstance(plain, str) else plain
        if not isinstance(given, Mapping) or "use" not in given:
            raise PurebenchError(
                "sequence: expected each of parts as a mapping with use, and optionally gradient, eot and start, but "
                f"got {plain!r}."
            )
        for key in given:
            if key not in KEYS:
                raise PurebenchError(f"sequence: the key {key!r} of a part is unknown; {did_you_mean(str(key), KEYS)}")
        eot, start = given.get("eot", 1), given.get("start", "image")
        if isinstance(eot, bool) or not isinstance(eot, int) or eot < 1:
            raise PurebenchError(f"sequence: expected eot as a whole number of at least 1, but got {eot!r}.")
        if start not in STARTS:
            raise PurebenchError(f"sequence: expected start to be image or found, but got {start!r}.")
        return cls(Spec.parse(given["use"]), Spec.parse(given.get("gradient", "none")), eot, start == "found")


@listed("several attacks in turn, on the images that are left", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Sequence(NativeAttack):
    """Attacks in turn; an image leaves when every draw of the defense is wrong at its point.

    Attributes:
        parts: The attacks, each a mapping with `use`, and optionally `gradient` (a view), `eot`, and `start`: image, or
            found to start from the best points so far (attacks that support it: apgd, pgd, square). By default
            Auto-PGD through the exact gradient, then with the margin loss through BPDA from there.
    """

    parts: list[Any] = field(default_factory=lambda: [dict(part) for part in USUAL])
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX
    own_views: ClassVar[bool] = True
    """The view of the board only compares points, so that it may be one without a gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.parts, list) or not self.parts:
            raise PurebenchError(f"sequence: expected parts as a list of attacks, but got {self.parts!r}.")
        for part in self.parts:
            parsed = Part.parse(part)
            registry.create("attacks", parsed.use)

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it, whose scores decide; the parts have views of their own.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If none of the parts applies to the defense.
        """
        found, best = x.clone(), self._judge(view, x, y)
        reasons: list[str] = []
        for part in map(Part.parse, self.parts):
            index = (best[0] > 0).nonzero().squeeze(1)
            if not len(index):
                break
            try:
                points = self._attack(part, view, found[index], x[index], y[index], threat)
            except Inapplicable as why:
                reasons.append(f"{part.use}: {why}")
                continue
            new = self._judge(view, points, y[index])
            old = self._judge(view, found[index], y[index]) if view.random else (best[0][index], best[1][index])
            better = (new[0] < old[0]) | ((new[0] == old[0]) & (new[1] > old[1]))
            found[index] = torch.where(rows(better, points), points, found[index])
            for kept, (one, other) in zip(best, zip(new, old, strict=True), strict=True):
                kept[index] = torch.where(better, one, other)
        if len(reasons) == len(self.parts):
            raise Inapplicable("; ".join(reasons))
        for reason in reasons:
            view.note(f"left out of the sequence: {reason}")
        return found

    def _attack(self, part: Part, view: View, found: Tensor, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the points of one part, inside the threat model; its passes, notes and warnings are the sequence's."""
        given = {"defense": view.defense, "eot": part.eot, "images": x, "threat": threat}
        own: View = registry.create("views", part.gradient, **given)
        own.batch, own.precision, own.compiled = DeviceBatch(view.batch.size), view.precision, view.compiled
        own.start = found if part.found else None
        try:
            answer = registry.create("attacks", part.use)(own, x, y, threat)
        finally:
            view.forwards, view.backwards = view.forwards + own.forwards, view.backwards + own.backwards
            view.warned = list(joined([*view.warned, *own.warnings]))
            for note in [*own.notes, *own.batch.notes]:
                view.note(note)
        return threat.project((answer.images if isinstance(answer, Answer) else answer).to(x), x)

    def _judge(self, view: View, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the share of right draws and the mean margin of each point on fresh draws, [N] each."""
        logits = view.scores(points, max(view.eot, DRAWS))
        right = (logits.argmax(2) == y[:, None]).float().mean(1)
        return right, mean_over_draws(margin, logits, y)
