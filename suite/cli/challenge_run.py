"""Evaluates a submission to the standing challenge of a row: checks it, tests it on fresh draws, and records it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from purebench.boards import selection
from purebench.boards.board import Board
from purebench.boards.trust import check_files
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.terminal_output import complain
from purebench.execution.context import Context, prepare
from purebench.execution.jobs.challenge_draws import ChallengeDraws
from purebench.execution.jobs.threat_check import Violation, constrain
from purebench.records.outcome import BEST_KNOWN, WORST_CASE
from purebench.records.record import Record
from purebench.results.files.adversarial import StoredExamples
from purebench.results.files.challenge_history import Bound, Decided, Submitted, identity, read_history
from purebench.results.files.challenge_submission import read_submission
from purebench.results.files.challenge_writing import append, keep_examples, kept_examples, locked
from purebench.results.files.companions import load_companions
from purebench.results.files.export import GRADES, export_results, load_results
from purebench.results.files.stored_board import from_store
from purebench.results.grading.best_known import best_known
from purebench.results.grading.gathering import declared_controls
from purebench.results.merge import merge
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate, interval, interval_method
from purebench.statistics.sequential.challenge import challenge_level

if TYPE_CHECKING:
    from purebench.boards.board import DefenseChoice


@dataclass(frozen=True)
class ChallengedRow:
    """A row with its result and its records.

    Attributes:
        board: the board with this row and the sources of its attacks.
        choice: the row.
        result: its result, with the bound of an accepted challenge.
        records: its records in the store.
        store: the store.
        results: the folder of its result file.
    """

    board: Board
    choice: DefenseChoice
    result: DefenseResult
    records: list[Record]
    store: Path
    results: Path


def find_row(board: str, row: str, store: Path, results: Path) -> ChallengedRow:
    """Find a row in a store and a folder of results.

    Args:
        board: the board's name in the store, or the path of its board.yaml.
        row: the name of the row.
        store: the store, which has the adversarial examples.
        results: the folder of results, which has the history.

    Raises:
        PurebenchError: the row is not in both, or they are of different runs.
    """
    name = selection.stored_name(board)
    found, records = from_store(store, name)
    known = _results_by_row(results)
    cure = f"run it: purebench run {board} --defense {row} --store {store} --results {results}"
    if row not in known:
        raise PurebenchError(
            f"{results}: the row {row!r} has no result; {did_you_mean(row, known)} If it is a defense of "
            f"yours or of the board, {cure}"
        )
    stored = {one.name: one for one in merge(found, records)}
    if row not in stored:
        raise PurebenchError(f"{store}: the row {row!r} is not in this store; {cure}")
    theirs = known[row]
    picks = [(one.images, one.worst_case.draws, one.worst_case.distances) for one in (stored[row], theirs)]
    if picks[0] != picks[1]:
        raise PurebenchError(f"{row}: expected equal results in {store} and {results}, but they differ; {cure}")
    if not theirs.attacked or theirs.errored or theirs.robust is None:
        raise PurebenchError(
            f"{row}: expected a robust accuracy of all images, but it is unknown; {cure} --retry-errors"
        )
    choice = next(one for one in found.shown if one.name == row)
    part = selection.with_rows(found, [choice])
    return ChallengedRow(part, choice, theirs, [one for one in records if one.defense == row], store, results)


def challenge(
    row: ChallengedRow,
    file: Path,
    *,
    author: str,
    note: str,
    device: str = "cpu",
    trust: bool = False,
    wait: float = 0.0,
) -> tuple[Submitted, Decided]:
    """Evaluate a submission and record it.

    Args:
        row: the row.
        file: an npz file with `adversarial` or `images` ([N,C,H,W] in [0,1]) and `positions` ([N], in the data set).
        author: the author.
        note: a remark.
        device: cpu, cuda or cuda:0.
        trust: whether to run Python files outside of the folder of the board without asking.
        wait: seconds to wait for another submission that is being evaluated.

    Returns:
        The submission and the decision.

    Raises:
        PurebenchError: the file is not a submission, its examples are outside of the threat model, or the defense has
            changed since its result was made; nothing is recorded then.
    """
    origin = Path(row.board.origin)
    check_files(row.board.name, row.board, (origin.resolve().parent if origin.is_file() else Path.cwd()), trust=trust)
    positions, images, digest = read_submission(file)
    context = prepare(row.board, device)
    _check_unchanged(row, context)
    places = {int(position): place for place, position in enumerate(context.order)}
    if foreign := [position for position in positions if position not in places]:
        raise PurebenchError(
            f"{file}: expected positions of the {len(places)} images of {row.board.name}, but got {foreign[0]}; they "
            "are in the file that `purebench export --format npz` writes."
        )
    rows = torch.tensor([places[position] for position in positions])
    clean = torch.as_tensor(context.images.floats())
    try:
        submitted, _ = constrain(torch.as_tensor(images), clean[rows], row.board.threat)
    except Violation as error:
        raise PurebenchError(f"{file}: {error}; the submission is not recorded.") from error
    with locked(row.results, wait):
        known = _known(row, clean)
        defense = identity(row.result)
        number = read_history(row.results).next_number(defense, row.result.name)
        event = Submitted(
            number=number,
            defense=defense,
            row=row.result.name,
            author=author,
            note=note,
            file=digest,
            images=len(positions),
            level=challenge_level(number),
            seed=secrets.randbits(62),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        append(row.results, event)
        decision = _decide(row, context, event, known, rows, submitted)
        append(row.results, decision)
        if decision.accepted and (row.results / GRADES).exists():
            _grade(row)
    return event, decision


def history_of(results: Path, row: str) -> list[tuple[Submitted, Decided | None]]:
    """Return the submissions to the defense of a row with their decisions.

    Args:
        results: the folder of results.
        row: the name of the row.

    Raises:
        PurebenchError: the row has no result there, or the history is damaged.
    """
    known = _results_by_row(results)
    if row not in known:
        raise PurebenchError(f"{results}: the row {row!r} has no result; {did_you_mean(row, known)}")
    return read_history(results).submissions(identity(known[row]))


def _results_by_row(folder: Path) -> dict[str, DefenseResult]:
    return {one.name: one for one in load_results(folder)} if folder.is_dir() else {}


def _check_unchanged(row: ChallengedRow, context: Context) -> None:
    """Raise PurebenchError if the code, weights or data of the row are not those of its records."""
    keys = {job.key for job in context.jobs() if job.defense.name == row.choice.name}
    if keys != {record.key for record in row.records}:
        raise PurebenchError(
            f"{row.choice.name}: expected the defense, attacks and data of its result, but something that decides it "
            f"has changed; run it again: purebench run {row.board.origin or row.board.name} "
            f"--defense {row.choice.name} --store {row.store} --results {row.results}"
        )


def _known(row: ChallengedRow, clean: Tensor) -> list[Tensor]:
    """Return the known examples: those that the attacks found, and those of the last accepted submission, if any."""
    label = WORST_CASE if row.result.best_known is None else BEST_KNOWN
    found = StoredExamples(row.store, row.records).read(row.board, row.choice.name, label)
    by_place = dict(zip(found.positions, found.x_adv, strict=True))
    known = [torch.stack([by_place.get(place, x) for place, x in zip(row.result.images, clean, strict=True)])]
    best = read_history(row.results).best(identity(row.result))
    if best is not None:
        known.append(torch.as_tensor(kept_examples(row.results, best.examples, row.result.images)))
    return known


def _decide(
    row: ChallengedRow, context: Context, event: Submitted, known: list[Tensor], rows: Tensor, submitted: Tensor
) -> Decided:
    """Test a submission against the better known example of each image; examples that are known already do not count.

    Args:
        row: the row.
        context: the prepared board.
        event: the submission.
        known: sets of known examples of all images, [images,C,H,W] each.
        rows: the places of the submitted examples among the images.
        submitted: the submitted examples.
    """
    result, y = row.result, torch.as_tensor(context.images.labels)
    incumbent = ChallengeDraws(context, row.choice.name, y, event.seed).strongest(known)
    new = torch.stack([(submitted != one[rows]).flatten(1).any(dim=1) for one in known]).all(dim=0)
    rows, submitted = rows[new], submitted[new]
    compared = ChallengeDraws(context, row.choice.name, y[rows], event.seed).compare(incumbent[rows], submitted)
    before = best_known(result) or result.robust
    assert before is not None
    decision = Decided(
        number=event.number,
        defense=event.defense,
        accepted=False,
        p_value=compared.p_value,
        better=compared.better,
        worse=compared.worse,
        picked=int(compared.picked.sum()),
        before=_bound(before),
    )
    if compared.p_value > event.level:
        return decision
    examples = incumbent.clone()
    picked = torch.as_tensor(compared.picked)
    examples[rows[picked]] = submitted[picked]
    scores = ChallengeDraws(context, row.choice.name, y, event.seed).score(examples)
    method = interval_method(not result.random, result.anytime)
    after = interval(scores, method, float(result.board["confidence"]))
    digest = keep_examples(row.results, examples.numpy(), result.images)
    return replace(decision, accepted=True, after=_bound(after), examples=digest)


def _grade(row: ChallengedRow) -> None:
    """Grade the rows of the folder again, because an accepted challenge changes a grade."""
    try:
        companions = load_companions(row.results, load_results(row.results))
        declared = declared_controls(row.board)
        export_results(row.results, [row.result], companions, declared=declared, origin=row.board.origin)
    except PurebenchError as error:
        complain([f"the submission is accepted and recorded, but the grades could not be written again: {error}"])


def _bound(found: Estimate) -> Bound:
    return Bound(**found.to_dict())
