"""Probes that attack: a step along the gradient, a short attack, and the cost of the whole board."""

from __future__ import annotations

from dataclasses import replace

import torch

from purebench.attacks.gradient.losses import margin
from purebench.attacks.views.view_module import NO_GRADIENT
from purebench.boards.board import AttackChoice, Board, DefenseChoice
from purebench.boards.jobs import Job
from purebench.boards.selection import with_rows
from purebench.checks.defense_checks import BY_CHANCE, CURE, NO_GRADIENT_CURE, beside
from purebench.checks.finding import CheckStatus
from purebench.checks.quick.state import Probe, QuickCheck, late
from purebench.core import registry
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.files.text import duration
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.execution.context import prepare
from purebench.execution.jobs.job import run_job
from purebench.execution.planning.cost_estimate import forecast

GRADIENT, ATTACK, COST = "gradient", "short attack", "cost of the board"
PROBED = 16
"""Images of the gradient probe."""
STEPS = (1e-2, 1e-3)
"""Lengths of the steps along the gradient's sign, in units of [0,1] per pixel; long ones cross kinks, short ones suffer
from rounding."""
RISES = 0.75
"""Share of the images on which the loss must rise along the gradient; along a random direction it is about a half."""
EFFORTS = ((8, 4), (8, 2), (8, 1), (4, 1), (2, 1), (1, 1))
"""Images and EOT samples of the short attack; the first that fit the time are taken."""
ATTACK_STEPS = 10
PROBE_OF_BOARD = 15.0
"""Approximate seconds that the cost estimate of a board takes, in addition to the passes of the defense."""
STAND_IN = "stand-in"
"""Name of the fast row from which the board's cost is estimated."""


def mode_of(defense: Defense) -> str:
    """Return the strongest gradient mode that the defense declares."""
    return "exact" if defense.purifier is None or defense.purifier.differentiable else "bpda"


def gradient(quick: QuickCheck) -> Probe:
    """Look for a gradient that is finite and not zero, and step along it; one seed for all passes."""
    if not quick.fits(passes := PROBED * (3.0 + len(STEPS))):
        return late(GRADIENT, quick, passes)
    x, y = quick.images(PROBED)
    x, mode = beside(x), mode_of(quick.defense)
    view = registry.create("views", Spec(mode), defense=quick.context.pristine(quick.row.name), eot=1)
    view.batch = quick.batch()
    with seeded("try", "gradient", device=x.device):
        try:
            look = view.look(x, y, margin)
        except PurebenchError as error:
            if str(error) != NO_GRADIENT:
                raise
            quick.no_gradient = True
            return Probe(GRADIENT, CheckStatus.FAILS, f"no gradient reaches the images; {NO_GRADIENT_CURE}")
    slope, rises = look.gradient, torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step in STEPS:
        with seeded("try", "gradient", device=x.device):
            after = view.scores((x + step * slope.sign()).clamp(0, 1), 1)[:, 0]
        rises |= margin(after, y) > look.loss
    there = slope.flatten(1).any(1)
    flat, bad, raised, known = int((~there).sum()), view.not_finite, int((rises & there).sum()), int(there.sum())
    numbers = {"mode": mode, "images": len(x), "zero": flat - bad, "not_finite": bad, "loss_rises": raised}
    told = f"gradient mode {mode}: finite and not zero on {known} of {len(x)} images"
    if flat > BY_CHANCE * len(x):
        return Probe(GRADIENT, CheckStatus.FAILS, told + (CURE if mode == "exact" else ""), numbers)
    told += f"; a small step along the gradient increases the loss on {raised} of {known} images"
    if raised > RISES * known:
        return Probe(GRADIENT, CheckStatus.HOLDS, told, numbers)
    if mode == "exact":
        return Probe(
            GRADIENT,
            CheckStatus.FAILS,
            f"{told}, so it is not the gradient of the defense; check for rounding, detach and custom backward passes",
            numbers,
        )
    return Probe(
        GRADIENT,
        CheckStatus.UNDECIDED,
        f"{told}; a surrogate closer to the purifier would give a stronger attack",
        numbers,
    )


def attack(quick: QuickCheck) -> Probe:
    """Run APGD on a few images that are classified correctly without an attack, and verify what it finds."""
    wanted = [row for row, right in enumerate(quick.right) if right][: EFFORTS[0][0]]
    if not quick.right:
        return Probe(ATTACK, CheckStatus.UNDECIDED, "not run: it needs the clean accuracy, which was not measured")
    if not wanted:
        return Probe(ATTACK, CheckStatus.UNDECIDED, "not run: no image is classified correctly without an attack")
    if quick.no_gradient:
        return Probe(ATTACK, CheckStatus.UNDECIDED, "not run: no gradient reaches the images")
    random, board, mode = quick.defense.random, quick.context.board, mode_of(quick.defense)
    verify = board.draws if random else 4
    efforts = [(min(n, len(wanted)), eot if random else 1) for n, eot in EFFORTS]
    passes = {effort: effort[0] * (3.0 * (ATTACK_STEPS + 2) * effort[1] + verify) for effort in efforts}
    if (fitting := next((effort for effort in efforts if quick.fits(passes[effort])), None)) is None:
        return late(ATTACK, quick, min(passes.values()))
    count, eot = fitting
    rows, dataset = wanted[:count], replace(board.dataset, images=count, block=count)
    few = replace(
        quick.context,
        board=replace(board, dataset=dataset),
        images=quick.context.images.take(rows),
        order=quick.context.order[rows],
    )
    attack = AttackChoice("apgd", Spec("apgd", {"steps": ATTACK_STEPS}), mode, eot)
    record = run_job(Job("try", "try", quick.row, attack, 0), few).record
    if record.errored:
        return Probe(ATTACK, CheckStatus.FAILS, record.reason, {"errored": len(record.errored_rows)})
    broken = record.broken
    samples = f", {eot} EOT sample{'s' if eot > 1 else ''}" if random else ""
    told = f"{broken} of {count} images broken by APGD ({mode}, {ATTACK_STEPS} steps{samples}) at {_radius(board)}"
    told += "".join(f"; {sentence}" for sentence in record.warning_sentences)
    return Probe(ATTACK, None, told, {"broken": broken, "images": count, "eot": eot, "mode": mode})


def _radius(board: Board) -> str:
    return f"{board.threat.norm} {board.radius_text or f'{board.threat.radius:g}'}"


def cost(quick: QuickCheck) -> Probe:
    """Estimate the seconds that the board takes for this defense, from those of a fast row of its kind."""
    if quick.left < PROBE_OF_BOARD or not quick.fits(100):
        return Probe(
            COST, CheckStatus.UNDECIDED, "not run: too little time is left; increase --seconds, or use purebench plan"
        )
    board, row = quick.board, quick.row
    fast = Spec("gaussian-noise", {"sigma": 0.1}) if quick.defense.random else Spec("none")
    rows = [row] if row.use == fast else [row, DefenseChoice(STAND_IN, fast)]
    context = prepare(with_rows(board, rows), str(quick.context.device))
    prices = [price for price in forecast(context, quick.left / 4) if price.defense == row.name and not price.skipped]
    if mode_of(quick.defense) != "exact":
        without = {attack.name for attack in board.attacks if Spec.parse(attack.gradient).name == "exact"}
        prices = [price for price in prices if price.attack not in without]
    images = board.images_of(board.most_blocks)
    seconds = images * sum(price.seconds for price in prices)
    passes = sum(price.forwards + 2 * price.backwards for price in prices)
    told = f"{board.name}, {images} images: about {duration(seconds)} on one core, right within a factor of three"
    return Probe(COST, None, told, {"seconds": seconds, "images": images, "passes_an_image": passes})
