"""Tries a defense within a time limit, probe by probe. Nothing is stored.

Each probe has an approximate number of passes of the defense, and is left out if the time that is left is too short.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from purebench.boards.board import Board
from purebench.boards.derived.dev_board import dev_board
from purebench.checks.finding import CheckStatus
from purebench.checks.quick import attack_probes, defense_probes
from purebench.checks.quick.state import Probe, QuickCheck
from purebench.core.answers import DefenseFault
from purebench.core.compute.devices import single_thread
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.data.adapt import load_images
from purebench.execution.context import prepare
from purebench.execution.jobs.faults import explain

Tell = Callable[[str, int, int], None]
"""tell(the current probe, the number of finished probes, the number of all probes)."""


NOT_RUN = "not run: the purifier returns invalid images; correct this first"


def tried(
    board: Board,
    *,
    seconds: float = 60.0,
    device: str = "cpu",
    tell: Tell = lambda what, done, total: None,
) -> list[Probe]:
    """Try the only shown defense of a board.

    Args:
        board: the board; the dev images of its data set, its classifier and its threat model are used.
        seconds: the time limit, about; a single probe that has begun is finished.
        device: `cpu`, `cuda` or `cuda:0`.
        tell: called with the progress.

    Returns:
        The results, up to a defense that gives no answer, of which nothing else can be known. If the purified
        images are invalid, the probes after the contract are not run, because they would report effects of the fault.

    Raises:
        PurebenchError: the board or the defense cannot be made.
    """
    end, (row,) = time.monotonic() + seconds, board.shown
    searched = _on_dev_images(board)
    quick = QuickCheck(prepare(searched, device), board, row, end, own_images=searched is board)
    probes = {
        defense_probes.ANSWERS: defense_probes.answers,
        defense_probes.CONTRACT: defense_probes.contract,
        defense_probes.DRAWS: defense_probes.randomness,
        defense_probes.CLEAN: defense_probes.clean,
        attack_probes.GRADIENT: attack_probes.gradient,
        attack_probes.ATTACK: attack_probes.attack,
        attack_probes.COST: attack_probes.cost,
    }
    found: list[Probe] = []
    broken = False
    with single_thread(quick.context.device):  # as in jobs, whose cost is estimated
        for name, probe in probes.items():
            tell(name, len(found), len(probes))
            if broken:
                found.append(Probe(name, CheckStatus.UNDECIDED, NOT_RUN))
                continue
            found.append(_result(name, probe, quick))
            broken = defense_probes.WRONG_IMAGES in found[-1].numbers
            if name == defense_probes.ANSWERS and found[-1].failed:
                break
    tell("done", len(found), len(found))
    return found


def _on_dev_images(board: Board) -> Board:
    """Return the board on the dev images of its data set; the board itself if it is not divided and has too few."""
    try:
        return dev_board(board)
    except MissingFiles:
        raise
    except PurebenchError:
        if load_images(board.dataset.use).split:
            raise
        return board


def _result(name: str, probe: Callable[[QuickCheck], Probe], quick: QuickCheck) -> Probe:
    """Return the result of a probe; an error of the defense is a failure."""
    try:
        return probe(quick)
    except (PurebenchError, DefenseFault) as fault:
        return Probe(name, CheckStatus.FAILS, str(fault))
    except Exception as error:
        return Probe(name, CheckStatus.FAILS, explain(error))
