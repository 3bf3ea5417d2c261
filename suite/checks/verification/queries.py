"""Queries the defense of a bundle again at its adversarial and clean images, and tests the claimed accuracies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from purebench.checks.verification.rebuild import Rebuilt
from purebench.core.answers import DefenseFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.compute.devices import single_thread
from purebench.core.errors import PurebenchError
from purebench.core.seeds import Purpose, seed_of, seeded
from purebench.execution.contract.eager import eagerly
from purebench.execution.jobs.verification import verify
from purebench.records.answers import is_outcome
from purebench.results.files.verdict import CLEAN_IMAGES, ROBUST
from purebench.results.results import ANSWERED, CLEAN, DefenseResult
from purebench.statistics.reproduction import (
    ACCURACY_MARGIN,
    ClaimTest,
    agreement_p_value,
    excess_bound,
    shared_draws_p_value,
)

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Tell = Callable[[str, int, int], None]
"""tell(the current step, finished steps, all steps)."""

SHARED_DRAWS = 64
"""Fewest draws of a defense that makes one random choice for all images of a call: each is one observation."""


def claim_tests(rebuilt: Rebuilt, seed: int, tell: Tell) -> list[ClaimTest]:
    """Query the defense at the stored adversarial examples and at the clean images, forward only, and test the claims.

    Args:
        rebuilt: the rebuilt defense.
        seed: the verifier's seed.
        tell: called with the progress.

    Returns:
        One test per accuracy that the bundle claims.

    Raises:
        PurebenchError: the rebuilt defense fails on the images.
    """
    result, bundle = rebuilt.bundle.result, rebuilt.bundle
    stored = np.array(bundle.manifest.examples.stored, dtype=np.int64)
    stored = stored[result.scored[stored]]
    place = {row: i for i, row in enumerate(bundle.manifest.examples.stored)}
    examples = bundle.examples[[place[int(row)] for row in stored]]
    tests = []
    if len(stored):
        every = len(stored) == int(result.scored.sum())
        tests.append(_test(rebuilt, ROBUST, result.fresh[stored], examples, stored, every, seed, tell))
    if len(rows := _clean_rows(result)):
        clean = next(attack for attack in result.attacks if attack.name == CLEAN)
        images = rebuilt.context.images.take(rows.tolist()).floats()
        tests.append(_test(rebuilt, CLEAN_IMAGES, result.right(clean)[rows], images, rows, True, seed, tell))
    return tests


def _clean_rows(result: DefenseResult) -> Rows:
    """Return the images with an answer to the clean image; none where the clean accuracy is not claimed."""
    clean = next((attack for attack in result.attacks if attack.name == CLEAN), None)
    if clean is None or result.clean is None:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(is_outcome(clean.outcomes, *ANSWERED))


def _test(
    rebuilt: Rebuilt, name: str, claimed: Bools, images: Any, rows: Rows, every: bool, seed: int, tell: Tell
) -> ClaimTest:
    """Query the images of these rows, and test the claimed draws [N,draws] against the new ones."""
    random = rebuilt.bundle.result.random
    shared = random and rebuilt.context.facts(rebuilt.bundle.result.name).shares_draws
    draws = claimed.shape[1] if not shared else max(claimed.shape[1], SHARED_DRAWS)
    blocks = rows // rebuilt.context.board.dataset.block
    found = _query(rebuilt, name, images, rows, blocks, draws if random else 1, seed, tell)
    if shared:
        rng = np.random.default_rng(seed_of("verification", str(seed), name))
        p_value = shared_draws_p_value(claimed, found, blocks, rng)
    else:
        p_value = agreement_p_value(claimed.sum(axis=1), claimed.shape[1], found.sum(axis=1), found.shape[1])
    bound = excess_bound(claimed, found, random=random, shared=shared, every=every)
    return ClaimTest(name, float(claimed.mean()), float(found.mean()), p_value, bound, ACCURACY_MARGIN, len(rows))


def _query(
    rebuilt: Rebuilt, name: str, images: Any, rows: Rows, blocks: Rows, draws: int, seed: int, tell: Tell
) -> Bools:
    """Return whether the defense is right on each draw [N,draws], block by block, as in the evaluation."""
    context, row = rebuilt.context, rebuilt.bundle.result.name
    labels = torch.as_tensor(context.images.labels[rows])
    found = np.zeros((len(rows), draws), dtype=np.bool_)
    numbers = np.unique(blocks)
    for done, number in enumerate(numbers):
        tell(f"queries: {name}", done, len(numbers))
        those = np.flatnonzero(blocks == number)
        x, y = torch.as_tensor(images[those]).to(context.device), labels[those].to(context.device)
        defense, batch = context.pristine(row), DeviceBatch(context.device_batch(row))
        try:
            with (
                single_thread(context.device),
                eagerly(),
                seeded("verification", str(seed), name, str(number), Purpose.FRESH, device=context.device),
            ):
                found[those] = verify(defense, x, y, draws, batch).numpy()
        except PurebenchError:
            raise
        except Exception as error:  # a defense is foreign code
            kind = "" if isinstance(error, DefenseFault) else f"{type(error).__name__}: "
            raise PurebenchError(
                f"{row}: expected answers of the rebuilt defense to the images of the bundle, but it fails: "
                f"{kind}{error}; use the code and the versions that the bundle was made with."
            ) from error
    return found
