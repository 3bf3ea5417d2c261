"""Builds the defense of a bundle again, and checks that the images and the examples are those of its board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from purebench.boards.files.local_paths import with_files
from purebench.boards.trust import check_files
from purebench.checks.verification.code_files import code_file
from purebench.checks.verification.stated_provenance import provenance_remarks
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, prepare
from purebench.records.outcome import Outcome
from purebench.results.files.bundles.bundle import Bundle
from purebench.results.files.bundles.clean_images import check_examples, check_images


@dataclass(frozen=True)
class Rebuilt:
    """The board of a bundle, prepared on this machine.

    Attributes:
        context: the prepared board.
        bundle: the bundle.
        remarks: differences that do not prevent the verification, such as other weights.
        as_claimed: whether weights and number of parameters are those of the bundle, and all rows are there whose
            images attacks reuse.
    """

    context: Context
    bundle: Bundle
    remarks: tuple[str, ...]
    as_claimed: bool


def rebuild(bundle: Bundle, folder: Path, *, name: str, device: str, trust: bool) -> Rebuilt:
    """Load the images and build the defense of a bundle; its Python files are run only with the user's consent.

    Args:
        bundle: the bundle.
        folder: the folder in which its Python files are looked for.
        name: the bundle as the user named it, for messages.
        device: `cpu`, `cuda` or `cuda:0`.
        trust: whether the user has consented to run Python files.

    Raises:
        PurebenchError: a file is missing or differs from that of the bundle, the user does not consent, or the images
            or the adversarial examples contradict the bundle.
    """
    board = with_files(bundle.board, lambda path: code_file(path, bundle.manifest, folder))
    check_files(name, board, None, trust=trust)
    context = prepare(board, device)
    check_images(bundle, context.images, context.order, context.data)
    _check_skips(bundle)
    check_examples(bundle, context.images)
    row, remarks = bundle.result.name, []
    defense = context.defenses[row]
    if defense.random != bundle.result.random:
        kind = {True: "random", False: "deterministic"}
        raise PurebenchError(
            f"{name}: expected a defense that is {kind[bundle.result.random]}, as in the bundle, but the rebuilt one "
            f"is {kind[defense.random]}; use the code and the versions that the bundle was made with."
        )
    if not (same := context.fingerprints[row] == bundle.result.weights):
        remarks.append("the weights of the rebuilt defense differ from those of the bundle")
    claimed, size = bundle.result.parameters, sum(value.numel() for value in defense.parameters())
    if claimed != size:
        remarks.append(f"the result claims {claimed:,} parameters, but the rebuilt defense has {size:,}")
    remarks += provenance_remarks(bundle, context)
    remarks += [
        f"{other}, whose images attacks reuse, is left out: {error}" for other, error in context.left_out.items()
    ]
    return Rebuilt(context, bundle, tuple(remarks), same and claimed == size and not context.left_out)


def _check_skips(bundle: Bundle) -> None:
    """Raise PurebenchError if some images have no score because all attacks skipped them, and others have one.

    An attack is skipped on all images of a row or on none, and a cascade skips an image only after an earlier attack
    answered it. Therefore either all images of a row have a score, or none has.
    """
    outcomes = bundle.result.worst_case.outcomes
    skipped = sum(one is Outcome.SKIPPED for one in outcomes)
    if 0 < skipped < len(outcomes):
        raise PurebenchError(
            f"{bundle.result.name}: expected a score of every image of the row, but {skipped} of {len(outcomes)} "
            "images are skipped under all attacks, which no evaluation produces; the bundle is invalid."
        )
