"""Verifies a bundle: checks its claims and concludes whether it is verified, refuted or undecided."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from pathlib import Path

from purebench.checks.verification.queries import Tell, claim_tests
from purebench.checks.verification.rebuild import rebuild
from purebench.checks.verification.repeated_attacks import Repetition, repeat_attacks
from purebench.checks.verification.settings import check_settings
from purebench.core.errors import PurebenchError
from purebench.records.provenance import versions
from purebench.results.files.bundles.bundle import Bundle, read_bundle
from purebench.results.files.verdict import StoredClaim
from purebench.results.files.verdicts import Badge, Verdict
from purebench.statistics.reproduction import ClaimTest, Conclusion, conclude

IMAGES = 20
"""Images called robust that the attacks are repeated on, by default; others of the random sample come on top."""
MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        bundle: the bundle.
        seed: the verifier's seed.
        tests: the tests of the claims.
        conclusion: the conclusion.
        repetition: the repeated attacks; None if they were not run, or if no image has a score.
        with_attacks: whether the attacks were to be repeated.
        remarks: further findings.
    """

    bundle: Bundle
    seed: int
    tests: tuple[ClaimTest, ...]
    conclusion: Conclusion
    repetition: Repetition | None
    with_attacks: bool
    remarks: tuple[str, ...]

    @property
    def badge(self) -> Badge:
        """The badge of the row."""
        if self.conclusion is Conclusion.VERIFIED:
            return Badge.VERIFIED if self.with_attacks else Badge.REPRODUCED
        return Badge.REFUTED if self.conclusion is Conclusion.REFUTED else Badge.UNDECIDED

    def verdict(self) -> Verdict:
        """Return the verdict that is recorded beside the result."""
        again = self.repetition
        return Verdict(
            badge=self.badge,
            result=self.bundle.result_hash,
            bundle=self.bundle.hash,
            seed=self.seed,
            attacked=0 if again is None else again.test.images,
            broken=[] if again is None else list(again.broken),
            claims=[StoredClaim(**asdict(test)) for test in self.tests],
            remarks=list(self.remarks),
            purebench=versions()["purebench"],
            day=datetime.datetime.now(datetime.UTC).date().isoformat(),
        )


def verify_bundle(
    path: Path,
    *,
    seed: int,
    images: int = IMAGES,
    attacks: bool = True,
    board: str | None = None,
    code: Path | None = None,
    device: str = "cpu",
    trust: bool = False,
    tell: Tell = lambda what, done, total: None,
) -> Verification:
    """Verify a bundle.

    Args:
        path: the bundle.
        seed: the verifier's seed, in 0..2^31-1; the author of the bundle must not have known it.
        images: about how many images that the bundle calls robust the attacks are repeated on, at least 1.
        attacks: whether the attacks are repeated.
        board: the board whose settings the bundle must have; None for the bundled board of its name, if there is one.
        code: the folder of the Python files that the bundle names; None for that of the bundle.
        device: `cpu`, `cuda` or `cuda:0`.
        trust: whether Python files that the bundle names may be run.
        tell: called with the progress.

    Raises:
        PurebenchError: the bundle is invalid, or cannot be verified on this machine.
    """
    if not 0 <= seed <= MOST_SEED:
        raise PurebenchError(f"--seed: expected a whole number from 0 to {MOST_SEED:,}, but got {seed:,}.")
    if code is not None and not code.is_dir():
        raise PurebenchError(f"--code: expected the folder of the bundle's Python files, but {code} is not a folder.")
    bundle = read_bundle(path)
    apart, told = check_settings(bundle, board)
    rebuilt = rebuild(bundle, code or path.parent, name=str(path), device=device, trust=trust)
    tests, remarks = claim_tests(rebuilt, seed, tell), [*([told] if told else []), *rebuilt.remarks]
    again = repeat_attacks(rebuilt, images, seed, tell) if attacks else None
    if again is not None:
        tests.append(again.test)
        remarks += again.remarks
    if attacks and again is None:
        remarks.append("no attack was repeated, because no image of the bundle has a score")
    if again is not None and again.errored:
        remarks.append(f"the repeated attacks failed on {again.errored} images, which decide nothing")
    unscored = int((bundle.result.doubtful | ~bundle.result.scored).sum())
    if unscored:
        remarks.append(f"{unscored} of {len(bundle.result.images)} images have no certain score: errored or skipped")
    conclusion = conclude(tests)
    if apart or unscored or not rebuilt.as_claimed or (attacks and again is None):
        conclusion = Conclusion.REFUTED if conclusion is Conclusion.REFUTED else Conclusion.UNDECIDED
    return Verification(bundle, seed, tuple(tests), conclusion, again, attacks, tuple(remarks))
