"""The `robustness` fixture: assertions such as `robustness.at_least(defense, 0.4)`, decided on few images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from purebench.api import Asked
from purebench.boards import selection
from purebench.boards.board import Board, DefenseChoice
from purebench.checks.attack_variants import Effort
from purebench.checks.evaluation import honest
from purebench.checks.finding import CheckStatus
from purebench.core.errors import PurebenchError, require_fraction
from purebench.core.registry import Spec
from purebench.execution.board_run import JobProgress
from purebench.execution.in_memory import checked, label, lent
from purebench.execution.incremental import Runner
from purebench.testing.baseline import read_baseline
from purebench.testing.claim import Claim
from purebench.testing.claim_evaluation import find, limits, looked, require_attacked
from purebench.testing.failure_report import Evidence, check_command, errored_lines, explain, near, stopped, table
from purebench.testing.question import (
    Question,
    against,
    clean_at_least,
    grade_lines,
    letter_of,
    robust_at_least,
    robust_at_most,
    robust_not_worse,
    robust_not_worse_than_baseline,
)
from purebench.testing.settings import Settings


def silent() -> AbstractContextManager[JobProgress]:
    """Return a context whose progress function ignores all jobs."""
    return nullcontext(lambda done, total, record: None)


def board_text(settings: Settings) -> str:
    """Return the board as the user named it."""
    return settings.board.name if isinstance(settings.board, Board) else near(settings.board)


class Robustness:
    """Claims about defenses, each decided at its confidence on as few images as possible.

    A defense is a row of the board, a spec such as "median" or "path/to/file.py:name", or an object: a `Purifier` (put
    before the board's classifier), a `Defense`, a module or a callable from images to logits. Results of defenses with
    a name are kept in the store; objects are evaluated anew each time, because nothing identifies them.

    Args:
        settings: Settings of all claims.
        settle: Called with each claim once it is decided.
        progress: Makes a context whose function is called as jobs end.
    """

    def __init__(
        self,
        settings: Settings,
        settle: Callable[[Claim], None] = lambda claim: None,
        progress: Callable[[], AbstractContextManager[JobProgress]] = silent,
    ):
        self.settings, self.settle, self.progress = settings, settle, progress

    def at_least(self, defense: Asked, accuracy: float, **changes: object) -> Claim:
        """Claim that the robust accuracy is at least a given fraction, as far as the attacks of the board can tell.

        A claim that holds by its interval is undecided if the grade of the evaluation is a D or an F, as it is if there
        are signs of gradient masking (see docs/grade.md).

        Args:
            defense: A row of the board, a spec or an object.
            accuracy: The claimed fraction, in [0,1].
            **changes: Fields of `Settings` to change for this claim.

        Returns:
            The claim with its result.
        """
        __tracebackhide__ = True
        require_fraction("accuracy", accuracy)
        return self._settled(self._claim([defense], robust_at_least(accuracy), changes))

    def at_most(self, defense: Asked, accuracy: float, **changes: object) -> Claim:
        """Claim that the robust accuracy is at most a given fraction, which attacks can prove.

        Args:
            defense: A row of the board, a spec or an object.
            accuracy: The claimed fraction, in [0,1].
            **changes: Fields of `Settings` to change for this claim.

        Returns:
            The claim with its result.
        """
        __tracebackhide__ = True
        require_fraction("accuracy", accuracy)
        return self._settled(self._claim([defense], robust_at_most(accuracy), changes))

    def clean_at_least(self, defense: Asked, accuracy: float, **changes: object) -> Claim:
        """Claim that the accuracy without an attack is at least a given fraction.

        Args:
            defense: A row of the board, a spec or an object.
            accuracy: The claimed fraction, in [0,1].
            **changes: Fields of `Settings` to change for this claim.

        Returns:
            The claim with its result.
        """
        __tracebackhide__ = True
        require_fraction("accuracy", accuracy)
        return self._settled(self._claim([defense], clean_at_least(accuracy), changes))

    def not_worse_than(self, defense: Asked, other: Asked | Path, *, margin: float = 0.01, **changes: object) -> Claim:
        """Claim that the robust accuracy is at most `margin` below that of another defense, on the same images.

        Args:
            defense: A row of the board, a spec or an object.
            other: The defense to compare with, or the path of a result file such as "baseline.json": an earlier result
                on the same board, which `purebench run --results` wrote. At most its images are evaluated.
            margin: Largest difference that is accepted, a fraction.
            **changes: Fields of `Settings` to change for this claim.

        Returns:
            The claim with its result.

        Raises:
            PurebenchError: The result file is of another board, of other images or of attacks of other code.
        """
        __tracebackhide__ = True
        require_fraction("margin", margin)
        if isinstance(other, Path) or (isinstance(other, str) and other.endswith(".json")):
            settings = self.settings.but(changes)
            text = str(defense) if isinstance(defense, str | Spec) else "DEFENSE"
            baseline = read_baseline(Path(other), find(settings.board), defense=text, shown=board_text(settings))
            most = min(len(baseline.scores), settings.max_images or len(baseline.scores))
            question = robust_not_worse_than_baseline(baseline, margin)
            return self._settled(self._claim([defense], question, {**changes, "max_images": most}))
        return self._settled(self._claim([defense, other], robust_not_worse(margin), changes))

    def honest(self, defense: Asked, *, effort: Effort | None = None, **changes: object) -> Claim:
        """Claim that the evaluation can be trusted (see docs/checks.md).

        Args:
            defense: A row of the board, a spec or an object.
            effort: Steps, draws, queries and tolerance of the checks; None for the defaults.
            **changes: Fields of `Settings` to change for this claim.

        Returns:
            The claim with its result.

        Raises:
            PurebenchError: If effort is not an `Effort`.
        """
        __tracebackhide__ = True
        settings, effort = self.settings.but(changes), Effort() if effort is None else effort
        if not isinstance(effort, Effort):
            raise PurebenchError(f"effort: expected an Effort(steps=…, eot=…), but got {effort!r}.")
        board = find(settings.board)
        with self._evidence(settings, board, [defense]) as (side,):
            trust = honest(
                board, side.row, side.run, effort=effort, confidence=settings.confidence, limits=limits(settings)
            )
            side = side.with_results(*trust.seen)
            again = check_command(side, effort, trust.images) if side.asked else ""
            lines = [] if trust.result is CheckStatus.HOLDS else explain([side], None, settings.images, again=again)
            lines += stopped(settings, board, trust.images) if trust.result is CheckStatus.UNDECIDED else []
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

    def _claim(self, asked: Sequence[Asked], question: Question, changes: Mapping[str, object]) -> Claim:
        """Evaluate more images until the question is decided; of one defense, or of the first against the second."""
        __tracebackhide__ = True
        settings = self.settings.but(changes)
        board = find(settings.board) if question.only is None else question.only(find(settings.board))
        with self._evidence(settings, board, asked) as sides:
            sides, decision = looked(
                sides,
                board,
                limits(settings),
                lambda scores: question.decide(scores, settings.confidence),
                question.check,
                question.unchanged,
                question.bespoke,
            )
            if question.only is None:
                require_attacked(sides)
            names, images = [side.row.name for side in sides], len(sides[0].found.images)
            text = f"{names[0]} on {board.name}: {question.what} {question.claimed.format(other=names[-1])}"
            result = CheckStatus.FAILS if decision is None else decision.result
            estimate = None if decision is None else decision.estimate
            lines = stopped(settings, board, images) if result is CheckStatus.UNDECIDED else []
            grade = sides[0].grade
            same = question.unchanged(sides[0].found)
            reasons = against(grade) if question.supported and not same else ()
            if result is CheckStatus.HOLDS and reasons:
                result = CheckStatus.UNDECIDED
            if result is CheckStatus.HOLDS:
                by = f"{board.name} ({images} images)"
                lines = [f"  unchanged  its code, weights and answers are those of {question.against}"] if same else []
                lines += [f"  meaning    {question.meaning.format(by=by)}"] if question.meaning else []
            else:
                other = question.against or "".join(names[1:])
                of = f"{names[0]} minus {other}: " if other else ""
                unknown = [] if decision is None else errored_lines(sides, decision)
                lines = [*explain(sides, estimate, settings.images, of=of), *unknown, *grade_lines(reasons), *lines]
        return Claim(
            text,
            result,
            estimate,
            images,
            "\n".join([f"{text}: {result}", *lines]),
            sides[0].strongest,
            warnings=sides[0].warnings,
            grade=letter_of(grade) if question.only is None else None,
            undecided=settings.undecided,
        )

    def _settled(self, claim: Claim) -> Claim:
        __tracebackhide__ = True
        self.settle(claim)
        return claim

    @contextmanager
    def _evidence(self, settings: Settings, board: Board, asked: Sequence[Asked]) -> Iterator[Sequence[Evidence]]:
        """Yield the rows and stores of defenses, before anything is evaluated; objects exist inside the block only.

        A store has one writer at a time: one store per defense lets tests of different defenses run side by side, while
        tests of the same defense wait for each other and reuse the results.
        """
        with ExitStack() as stack:
            progress = stack.enter_context(self.progress())
            sides, named = [], board_text(settings)
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
                sides.append(Evidence(row, text, named, Runner(store, settings.device, progress=progress)))
            yield sides
