"""What a test claims of a defense, `robustness.at_least(defense, 0.4)` and the like, on as few images as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from purebench.api import Asked
from purebench.boards import selection
from purebench.boards.board import AttackChoice, Board, DefenseChoice
from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.boards.replay import command
from purebench.checks.attack_variants import Effort
from purebench.checks.evaluation import honest
from purebench.checks.finding import Finding, Result
from purebench.core.errors import PurebenchError, require_fraction
from purebench.core.registry import Spec
from purebench.core.warning_codes import ResultWarning
from purebench.execution.board_run import Progress
from purebench.execution.in_memory import checked, label, lent
from purebench.execution.incremental import Limits, Run, found_by, steps
from purebench.results.results import CLEAN
from purebench.results.scores import Floats, per_image
from purebench.statistics import Estimate
from purebench.testing.decision import Decision, at_least, not_worse
from purebench.testing.failure_report import Evidence, explain, near, table
from purebench.testing.settings import Settings


@dataclass(frozen=True)
class Claim:
    """A claim that was looked at. message: all there is to say of it, for whom it surprises.

    estimate: of the accuracy or difference claimed, None where nothing is known. images: that were asked. strongest:
    the attack that left least, if any. findings: of `honest`. warnings: why its accuracy may be too high.
    """

    text: str
    result: Result
    estimate: Estimate | None
    images: int
    message: str
    strongest: str | None = None
    findings: Sequence[Finding] = ()
    warnings: Sequence[ResultWarning] = ()
    undecided: str = field(default="fail", compare=False)


def silent() -> AbstractContextManager[Progress]:
    """Tells nobody of the jobs that end."""
    return nullcontext(lambda done, total, record: None)


class Robustness:
    """Claims about defenses: each is decided at its confidence on as few images as that takes.

    A defense is a row of the board, a spec such as "median" or "path/to/file.py:name", or an object: a `Purifier` (put
    before the board's classifier), a `Defense`, a module or a callable from images to logits. What was found of those
    with a name is kept in the store; objects are asked anew, because nothing says who they are.
    """

    def __init__(
        self,
        settings: Settings,
        settle: Callable[[Claim], None] = lambda claim: None,
        progress: Callable[[], AbstractContextManager[Progress]] = silent,
    ):
        self.settings, self.settle, self.progress = settings, settle, progress

    def at_least(self, defense: Asked, accuracy: float, **changes: object) -> Claim:
        """Claims that the robust accuracy is at least this fraction; `changes` of the `Settings` for this claim."""
        __tracebackhide__ = True
        require_fraction("accuracy", accuracy)
        return self._settled(self._claim([defense], "robust accuracy", accuracy, changes))

    def clean_at_least(self, defense: Asked, accuracy: float, **changes: object) -> Claim:
        """Claims that the accuracy without an attack is at least this fraction."""
        __tracebackhide__ = True
        require_fraction("accuracy", accuracy)
        return self._settled(self._claim([defense], "clean accuracy", accuracy, changes, clean_only))

    def not_worse_than(self, defense: Asked, other: Asked, *, margin: float = 0.01, **changes: object) -> Claim:
        """Claims that the robust accuracy is at most `margin` below that of another defense, on the same images."""
        __tracebackhide__ = True
        require_fraction("margin", margin)
        return self._settled(self._claim([defense, other], "robust accuracy", margin, changes))

    def honest(self, defense: Asked, *, effort: Effort | None = None, **changes: object) -> Claim:
        """Claims that the evaluation can be trusted (see docs/checks.md); effort: how closely the checks look."""
        __tracebackhide__ = True
        settings, effort = self.settings.but(changes), Effort() if effort is None else effort
        if not isinstance(effort, Effort):
            raise PurebenchError(f"effort: expected an Effort(steps=…, draws=…), but got {effort!r}.")
        board = find(settings.board)
        with self._evidence(settings, board, [defense]) as (side,):
            trust = honest(
                board, side.row, side.run, effort=effort, confidence=settings.confidence, limits=limits(settings)
            )
            side = side.after(*trust.seen)
            again = check_command(side, effort, trust.images) if side.asked else ""
            lines = [] if trust.result is Result.HOLDS else explain([side], None, settings.images, again=again)
            lines += stopped(settings, board, trust.images) if trust.result is Result.UNDECIDED else []
        text = f"{side.row.name} on {board.name}: its evaluation can be trusted"
        claim = Claim(
            text,
            trust.result,
            None,
            trust.images,
            "\n".join([f"{text}: {trust.result}, {trust.images} images", *table(trust.findings), *lines]),
            side.strongest,
            findings=trust.findings,
            undecided=settings.undecided,
        )
        return self._settled(claim)

    def _claim(
        self,
        asked: Sequence[Asked],
        what: str,
        number: float,
        changes: Mapping[str, object],
        only: Callable[[Board], Board] | None = None,
    ) -> Claim:
        """Asks for more images until the claim is decided; of one defense, or of the first against the second."""
        __tracebackhide__ = True
        settings = self.settings.but(changes)
        confidence = settings.confidence

        def decide(scores: Sequence[Floats]) -> Decision:
            if len(scores) == 1:
                return at_least(scores[0], number, confidence)
            first, other = scores
            return not_worse(first, other, number, confidence)

        board = find(settings.board) if only is None else only(find(settings.board))
        with self._evidence(settings, board, asked) as sides:
            sides, decision = looked(sides, board, limits(settings), decide)
            if only is None:
                require_attacked(sides)
            names = [side.row.name for side in sides]
            points = "1 point" if number == 0.01 else f"{100 * number:g} points"
            claimed = f"at most {points} below that of {names[1]}" if names[1:] else f"≥ {100 * number:g} %"
            text = f"{names[0]} on {board.name}: {what} {claimed}"
            result = Result.FAILS if decision is None else decision.result
            estimate = None if decision is None else decision.estimate
            of = f"{names[0]} minus {names[1]}: " if names[1:] else ""
            lines = [] if result is Result.HOLDS else explain(sides, estimate, settings.images, of=of)
            lines += stopped(settings, board, len(sides[0].found.images)) if result is Result.UNDECIDED else []
        return Claim(
            text,
            result,
            estimate,
            len(sides[0].found.images),
            "\n".join([f"{text}: {result}", *lines]),
            sides[0].strongest,
            warnings=[warning for side in sides[:1] for warning in side.warnings],
            undecided=settings.undecided,
        )

    def _settled(self, claim: Claim) -> Claim:
        __tracebackhide__ = True
        self.settle(claim)
        return claim

    @contextmanager
    def _evidence(self, settings: Settings, board: Board, asked: Sequence[Asked]) -> Iterator[Sequence[Evidence]]:
        """Rows and stores for defenses, before anything is found; objects are there inside the block only.

        A store has one writer at a time: one for each defense lets tests of different ones run side by side, while
        those of the same wait for each other and reuse what was found.
        """
        with ExitStack() as stack:
            progress = stack.enter_context(self.progress())
            sides, named = [], board.name if isinstance(settings.board, Board) else near(settings.board)
            for place, one in enumerate(asked):
                if isinstance(one, str | Spec):
                    row, text = selection.row(board, str(one)), str(one)
                    store = settings.store / f"{board.name}--{row.name}.sqlite"
                else:
                    name = f"{label(one)}{place or ''}"
                    spec = stack.enter_context(lent({name: checked(one)}))[name]
                    row, text = DefenseChoice(name, spec), ""
                    store = Path(stack.enter_context(TemporaryDirectory())) / "records.sqlite"
                row = replace(row, only_source=False)
                sides.append(Evidence(row, text, named, Run(store, settings.device, progress=progress)))
            yield sides


def looked(
    sides: Sequence[Evidence], board: Board, most: Limits, decide: Callable[[Sequence[Floats]], Decision]
) -> tuple[Sequence[Evidence], Decision | None]:
    """What is found on more and more images until it decides; None where a defense fails to answer at all."""
    decision = None
    for part in steps(board, most):
        sides = [side.after(*found_by(side.run, selection.with_rows(part, [side.row]))) for side in sides]
        if any(side.found.failed for side in sides):
            return sides, None
        # whether images that ERRORED are wrong or right, of either side, must not matter
        worst, best = (
            decide([per_image(side.found, errored=value) for side, value in zip(sides, errored, strict=False)])
            for errored in ((0.0, 1.0), (1.0, 0.0))
        )
        decision = worst if worst.result is best.result else replace(worst, result=Result.UNDECIDED)
        if decision.result is not Result.UNDECIDED:
            break
    return sides, decision


def require_attacked(sides: Sequence[Evidence]) -> None:
    """Raises PurebenchError where no attack applied, because a clean accuracy is no robust one."""
    for side in sides:
        attacks = {attack.name for attack in side.found.attacks} - {CLEAN}
        if not side.found.failed and not (attacks and side.found.attacked):
            raise PurebenchError(
                f"{side.row.name}: expected an attack on {side.board} that applies to it, but there is none; take a "
                "board with an attack through BPDA, or with one that needs no gradient, such as square."
            )


def find(board: str | Path | Board) -> Board:
    """The board, read from its file where it is a name or a path; claims have their own rule of stopping.

    Raises PurebenchError for what is none.
    """
    found = board if isinstance(board, Board) else load_board(find_board(str(board)))
    return replace(found, stop=None)


def limits(settings: Settings) -> Limits:
    """Where a claim stops undecided."""
    return Limits(settings.max_images, settings.budget)


def stopped(settings: Settings, board: Board, images: int) -> list[str]:
    """Why no more images were taken, and what would decide."""
    if images >= board.dataset.images:
        return ["  stopped    the board has no more images; one with more may decide"]
    if settings.max_images is not None and images >= settings.max_images:
        return [f"  stopped    at max_images = {settings.max_images}; more may decide"]
    why = "an attack failed" if settings.budget is None else f"a budget of {settings.budget:g} minutes was spent"
    return [f"  stopped    {why}; more images may decide"]


def check_command(side: Evidence, effort: Effort, images: int) -> str:
    """The command line that says the same."""
    return command(
        "check",
        side.asked,
        board=side.board,
        store=near(side.run.store),
        max_images=images,
        **{name: value for name, value in vars(effort).items() if value != getattr(Effort(), name)},
        device=None if side.run.device == "cpu" else side.run.device,
    )


def clean_only(board: Board) -> Board:
    """The board without attacks; its own clean job, where it has one, so that it is not run twice."""
    own = [attack for attack in board.attacks if attack.name == CLEAN]
    return replace(board, attacks=tuple(own or [AttackChoice(CLEAN, Spec("clean"))]))
