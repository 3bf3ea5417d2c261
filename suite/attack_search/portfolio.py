"""The candidates that every search tries first: a remedy for each known cause of gradient masking.

The causes are those of Athalye et al. 2018 (arXiv:1802.00420), Tramèr et al. 2020 (arXiv:2002.08347) and Croce et al.
2022 (arXiv:2202.13711): saturated logits (losses without a scale), missing or wrong gradients (BPDA, the parts of the
defense, transfer, scores, decisions), shattered gradients (smoothing, estimates), randomness (EOT).
"""

from __future__ import annotations

from collections.abc import Iterator

from purebench.attack_search.candidate import AttackCandidate, Step
from purebench.attack_search.defense_profile import DefenseProfile

EOT = 8


def portfolio(known: DefenseProfile) -> list[AttackCandidate]:
    """Return the candidates for a defense, without repetitions; the first is the usual white-box attack.

    Args:
        known: The properties of the defense.
    """
    found: dict[str, AttackCandidate] = {}
    for candidate in (*_white_box(known), *_in_its_place(known), *_without_gradients(known)):
        found.setdefault(candidate.name, candidate)
    return list(found.values())


def _apgd(view: str, eot: int, why: str, *, stop: bool = True, **params: object) -> AttackCandidate:
    whole = {"steps": 20, **params, **({} if stop else {"stop": False})}
    return AttackCandidate((Step("apgd", whole, view, eot),), why)


def _white_box(known: DefenseProfile) -> Iterator[AttackCandidate]:
    eot, main = (EOT if known.random else 1), ("exact" if known.differentiable else "bpda")
    yield _apgd(main, eot, "the usual white-box attack")
    yield _apgd(main, eot, "margin of the logits, against saturated ones", loss="cw")
    yield _apgd(main, eot, "loss without a scale, against saturated logits", loss="dlr")
    yield _apgd(main, eot, "rescaled cross-entropy, against saturated logits", loss="ce-scaled")
    if known.purifies and main != "bpda":
        yield _apgd("bpda", eot, "identity in place of the purifier's gradient", loss="cw")
    if known.purifies:
        yield _apgd("blind", 1, "the classifier alone", loss="cw")
    if known.random:
        yield _apgd(main, 4 * eot, "many draws per gradient", loss="cw", steps=10)
        if known.supports("pgd"):
            yield AttackCandidate((Step("pgd", {"steps": 30, "loss": "cw", "momentum": 0.9}, main, eot),), "momentum")
    through = "" if main == "exact" else ", through=bpda"
    noise = "gradients averaged over noise, against shattered ones"
    yield _apgd(f"smoothed(samples=8, sigma=0.05{through})", 1, noise, loss="cw")
    yield AttackCandidate((Step("apgd-t", {"steps": 10, "targets": 4}, main, eot),), "targeted attacks")
    if known.intermediate:
        yield _apgd("surrogate", eot, "a shorter purifier", loss="cw", stop=False)
        yield _apgd("noised", eot, "the noise of the purifier alone", loss="cw", stop=False)
        yield _apgd("intermediate", eot, "the intermediate states", loss="cw")


def _in_its_place(known: DefenseProfile) -> Iterator[AttackCandidate]:
    for path in known.inner:
        for loss in ("cw", "ce-scaled"):
            yield _apgd(f"inner(module={path})", 1, f"the part {path} alone", loss=loss, steps=30, stop=False)
    for view in known.stand_ins:
        yield _apgd(view, 1, "transfer from another model", loss="cw", steps=30, stop=False)


def _without_gradients(known: DefenseProfile) -> Iterator[AttackCandidate]:
    eot = 4 if known.random else 1
    if known.supports("square"):
        yield AttackCandidate((Step("square", {"queries": 200}, "none", eot),), "random search with scores alone")
        sources = [f"inner(module={path})" for path in known.inner[:1]] + list(known.stand_ins[1:])
        for view in sources:
            first = Step("apgd", {"steps": 30, "loss": "cw", "stop": False}, view)
            search = Step("square", {"queries": 200, "share": 0.1}, "none", eot, found=True)
            yield AttackCandidate((first, search), "transfer, then random search from there")
    estimate = {"steps": 20, "loss": "cw"}
    yield AttackCandidate(
        (Step("apgd", estimate, "estimated(samples=20, tiles=8)", eot),), "gradients estimated from scores"
    )
    yield AttackCandidate(
        (Step("apgd", estimate, "estimated(samples=20, sigma=0.06, tiles=16)", eot),),
        "estimated over a longer distance",
    )
    if not known.random:
        hop = {"max_iter": 3, "max_eval": 100, "init_eval": 10, "init_size": 20}
        yield AttackCandidate((Step("art:HopSkipJump", hop),), "decisions alone")
        yield AttackCandidate(
            (Step("fmn", {"steps": 40}, "exact" if known.differentiable else "bpda"),), "minimum norm"
        )
