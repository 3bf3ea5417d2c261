"""The cases of the grade: each fault and each threshold, with the letter that it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graded import (
    CONTROLS,
    A,
    B,
    C,
    Case,
    D,
    F,
    beaten,
    changed,
    control,
    converged,
    errored,
    good,
    lost,
    missed,
    result,
    sequence,
    some,
    warned,
    without,
)

from purebench.core.warning_codes import WarningCode
from purebench.results.grading.criteria.letters import Code, Letter
from purebench.results.grading.evidence import (
    ConvergenceStatus,
    Recovery,
)

CASES: dict[str, tuple[Callable[[], Case], str, Code, Letter]] = {
    "errored 0": (lambda: good(result=errored(result(), 0)), "integrity", Code.ERRORS, B),
    "errored 2 %": (lambda: good(result=errored(result(), 10)), "integrity", Code.ERRORS, C),
    "errored 2.2 %": (lambda: good(result=errored(result(), 11)), "integrity", Code.ERRORS, D),
    "errored 10 %": (lambda: good(result=errored(result(), 50)), "integrity", Code.ERRORS, D),
    "errored 10.2 %": (lambda: good(result=errored(result(), 51)), "integrity", Code.ERRORS, F),
    "unfinished": (lambda: good(result=replace(result(), complete=False)), "integrity", Code.COMPLETENESS, B),
    "gradient mode": (lambda: good(result=warned(result(), WarningCode.GRADIENT_MODE)), "integrity", Code.CONTRACT, D),
    "probabilities": (lambda: good(result=warned(result(), WarningCode.PROBABILITIES)), "integrity", Code.CONTRACT, D),
    "library": (lambda: good(result=warned(result(), WarningCode.LIBRARY)), "integrity", Code.LIBRARY, B),
    "own verdict": (
        lambda: good(result=changed(result(), apgd={"claims": (1,) * 251 + (1,) * 249})),
        "integrity",
        Code.VERDICTS,
        B,
    ),
    "in memory": (
        lambda: good(result=replace(result(), spec={"name": "in-memory:x", "params": {}})),
        "integrity",
        Code.REPEATABILITY,
        B,
    ),
    "below its truth": (
        lambda: good(controls=(*CONTROLS, control("x", below_proof=True))),
        "integrity",
        Code.TRUTHS,
        F,
    ),
    "zero gradient": (
        lambda: good(result=warned(result(), WarningCode.ZERO_GRADIENT)),
        "attack adequacy",
        Code.MASKING,
        D,
    ),
    "no controls": (lambda: good(controls=()), "attack adequacy", Code.CONTROLS, C),
    "controls 90 %": (lambda: good(controls=missed(2)), "attack adequacy", Code.CONTROLS, A),
    "controls 85 %": (lambda: good(controls=missed(3)), "attack adequacy", Code.CONTROLS, B),
    "controls 75 %": (lambda: good(controls=missed(5)), "attack adequacy", Code.CONTROLS, B),
    "controls 70 %": (lambda: good(controls=missed(6)), "attack adequacy", Code.CONTROLS, C),
    "controls 50 %": (lambda: good(controls=missed(10)), "attack adequacy", Code.CONTROLS, C),
    "controls 45 %": (lambda: good(controls=missed(11)), "attack adequacy", Code.CONTROLS, D),
    "transfer 75 %": (lambda: good(controls=missed(0, 5)), "attack adequacy", Code.WITHOUT_TRANSFER, A),
    "transfer 70 %": (lambda: good(controls=missed(0, 6)), "attack adequacy", Code.WITHOUT_TRANSFER, B),
    "transfer 50 %": (lambda: good(controls=missed(0, 10)), "attack adequacy", Code.WITHOUT_TRANSFER, B),
    "transfer 45 %": (lambda: good(controls=missed(0, 11)), "attack adequacy", Code.WITHOUT_TRANSFER, C),
    "transfer 25 %": (lambda: good(controls=missed(0, 15)), "attack adequacy", Code.WITHOUT_TRANSFER, C),
    "transfer 20 %": (lambda: good(controls=missed(0, 16)), "attack adequacy", Code.WITHOUT_TRANSFER, D),
    **{
        f"{text} 45 %, others {others}": (
            lambda more=more: good(**more),
            "attack adequacy",
            code,
            letter,
        )
        for text, code, others, more, letter in (
            ("recovered", Code.CONTROLS, "undecided", {"controls": some(9, Recovery.UNDECIDED, Recovery.RECOVERED)}, C),
            ("recovered", Code.CONTROLS, "easy", {"controls": some(9, Recovery.TOO_EASY, Recovery.RECOVERED)}, C),
            ("recovered", Code.CONTROLS, "unfinished", {"controls": CONTROLS[:9], "unscored": lost(11, "U")}, C),
            ("recovered", Code.CONTROLS, "errored", {"controls": CONTROLS[:9], "unscored": lost(11, "E")}, D),
            ("alone", Code.WITHOUT_TRANSFER, "undecided", {"controls": some(4, None, Recovery.UNDECIDED)}, C),
        )
    },
    "an errored control is not recovered": (
        lambda: good(controls=CONTROLS[:17], unscored=lost(3, "E")),
        "attack adequacy",
        Code.CONTROLS,
        B,
    ),
    "an inapplicable control is not counted": (
        lambda: good(unscored=lost(9, "I")),
        "attack adequacy",
        Code.CONTROLS,
        A,
    ),
    "undecided 10 of 20, missed 10": (
        lambda: good(controls=(*missed(20)[:11], *some(0, Recovery.UNDECIDED, Recovery.RECOVERED)[:9])),
        "attack adequacy",
        Code.CONTROLS,
        D,
    ),
    "no convergence": (lambda: good(convergence=None), "attack adequacy", Code.CONVERGENCE, C),
    "undecided": (
        lambda: good(convergence=converged(ConvergenceStatus.UNDECIDED)),
        "attack adequacy",
        Code.CONVERGENCE,
        C,
    ),
    "falling": (lambda: good(convergence=converged(ConvergenceStatus.FALLING)), "attack adequacy", Code.CONVERGENCE, D),
    "flat": (lambda: good(convergence=converged(ConvergenceStatus.FLAT)), "attack adequacy", Code.CONVERGENCE, D),
    "no gradient": (
        lambda: good(result=changed(result(), apgd={"gradient": "blind"})),
        "attack adequacy",
        Code.ADAPTIVITY,
        D,
    ),
    "bpda is a gradient": (
        lambda: good(result=changed(result(), apgd={"gradient": "bpda"})),
        "attack adequacy",
        Code.ADAPTIVITY,
        A,
    ),
    **{
        f"{view} is not the gradient of the defense": (
            lambda view=view: good(result=changed(result(), apgd={"gradient": view})),
            "attack adequacy",
            Code.ADAPTIVITY,
            D,
        )
        for view in ("stand-in(classifier=fashion-resnet)", "inner(module=classifier)", "estimated", "not-installed")
    },
    "noise is no mechanism": (
        lambda: good(result=changed(result(), square={"spec": {"name": "random-noise", "params": {}}})),
        "attack adequacy",
        Code.MECHANISMS,
        B,
    ),
    "a sequence has the mechanisms of its parts": (
        lambda: good(result=changed(without(result(), "apgd"), square=sequence("exact", "none"))),
        "attack adequacy",
        Code.MECHANISMS,
        A,
    ),
    "a sequence with substitutes only": (
        lambda: good(result=changed(without(result(), "apgd"), square=sequence("stand-in", "blind"))),
        "attack adequacy",
        Code.ADAPTIVITY,
        D,
    ),
    "the eot of a sequence is that of its parts": (
        lambda: good(result=changed(without(result(True), "apgd"), square=sequence("exact", "none", eot=10))),
        "attack adequacy",
        Code.EOT,
        A,
    ),
    **{
        f"eot {eot}": (
            lambda eot=eot: good(result=changed(result(True), apgd={"eot": eot})),
            "attack adequacy",
            Code.EOT,
            letter,
        )
        for eot, letter in ((10, A), (9, B), (4, B), (3, C), (2, C), (1, D))
    },
    "three mechanisms": (lambda: good(), "attack adequacy", Code.MECHANISMS, A),
    "two mechanisms": (lambda: good(result=without(result(), "square")), "attack adequacy", Code.MECHANISMS, B),
    "one mechanism": (
        lambda: good(result=without(result(), "square", "transfer")),
        "attack adequacy",
        Code.MECHANISMS,
        C,
    ),
    "bespoke 50 points lower": (
        lambda: good(result=beaten(result(), 150)),
        "attack adequacy",
        Code.BESPOKE,
        D,
    ),
    "bespoke 1 point lower": (lambda: good(result=beaten(result(), 5)), "attack adequacy", Code.BESPOKE, A),
    "not bespoke": (lambda: good(bespoke=False), "attack adequacy", Code.BESPOKE, B),
    **{
        f"{images} images": (
            lambda images=images: good(result=result(images=images, accuracy=0.02)),
            "precision",
            Code.IMAGES,
            letter,
        )
        for images, letter in ((500, A), (499, B), (200, B), (199, C), (30, C), (29, D), (10, D), (9, F))
        if images >= 50  # fewer images have wide intervals, see below
    },
    **{
        f"{draws} draws": (
            lambda draws=draws: good(result=result(True, draws=draws)),
            "precision",
            Code.DRAWS,
            letter,
        )
        for draws, letter in ((16, A), (15, B), (8, B), (7, C), (4, C), (3, D))
    },
}
