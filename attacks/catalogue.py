"""Tables of the libraries' attacks with norms, required knowledge and kind; plain data, so listing imports no library.

The tables cover the evasion attacks of ART 1.20 and of Foolbox 3.3.4, and AutoAttack's package. An attack that a
library has but that cannot be run here on an image classifier in PyTorch is listed too, with the reason. The native
attacks describe themselves (see entry.py).
"""

from __future__ import annotations

from purebench.attacks.entry import ALL, ANY, DECISION, NONE, SCORE, WHITE, AttackEntry
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.norms.norm_facts import NORM_NAMES
from purebench.core.threat import Knowledge


def bounded(name: str, norms: str, knowledge: Knowledge, note: str = "", *, also: str = "") -> AttackEntry:
    """Return the entry of an attack that keeps to the radius.

    Args:
        name: Name without the library's prefix.
        norms: Supported norms, separated by spaces.
        knowledge: What it uses of the defense.
        note: A short description.
        also: Aliases, separated by spaces.
    """
    return AttackEntry(
        name=name,
        norms=tuple(norms.split()),
        knowledge=knowledge,
        bounded=True,
        note=note,
        aliases=tuple(also.split()),
    )


def minimum(name: str, norms: str, knowledge: Knowledge, note: str = "", *, needs: str = "") -> AttackEntry:
    """Return the entry of an attack that looks for the nearest adversarial example.

    Args:
        name: Name without the library's prefix.
        norms: Supported norms, separated by spaces, or `ANY`.
        knowledge: What it uses of the defense.
        note: A short description.
        needs: A package that must be installed for it.
    """
    own = norms == ANY
    measured = NORM_NAMES if own else tuple(norms.split())
    return AttackEntry(name=name, norms=measured, own=own, knowledge=knowledge, note=note, needs=needs)


def left_out(reason: str, names: str) -> list[AttackEntry]:
    """Return entries of attacks that cannot be run.

    Args:
        reason: Why they cannot be run.
        names: Their names, separated by spaces.
    """
    return [AttackEntry(name=name, left_out=reason) for name in names.split()]


def table(*rows: AttackEntry | list[AttackEntry]) -> dict[str, AttackEntry]:
    """Return the entries by name, in alphabetical order."""
    entries = [entry for row in rows for entry in (row if isinstance(row, list) else [row])]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name.lower())}


AUTOATTACK = table(
    bounded("standard", ALL, WHITE, "apgd-ce, apgd-t, fab-t and square in turn; deterministic defenses"),
    bounded("plus", ALL, WHITE, "all six parts; deterministic defenses"),
    bounded("rand", ALL, WHITE, "apgd-ce and apgd-dlr with EOT 20; random defenses"),
    bounded("apgd-ce", ALL, WHITE, "Auto-PGD on the cross-entropy"),
    bounded("apgd-dlr", ALL, WHITE, "Auto-PGD on the difference of logits ratio"),
    bounded("apgd-t", ALL, WHITE, "Auto-PGD on the targeted difference of logits ratio"),
    bounded("fab", ALL, WHITE, "fast adaptive boundary; deterministic defenses"),
    bounded("fab-t", ALL, WHITE, "fast adaptive boundary towards each likely class; deterministic defenses"),
    bounded("square", ALL, SCORE, "Square; deterministic defenses"),
)

ART = table(
    bounded("AutoAttack", ALL, WHITE, "two Auto-PGD, DeepFool and (except in l1) Square in turn"),
    bounded("AutoConjugateGradient", ALL, WHITE, "conjugate directions, Auto-PGD's steps"),
    bounded("AutoProjectedGradientDescent", ALL, WHITE),
    bounded("BasicIterativeMethod", "linf", WHITE),
    minimum("BoundaryAttack", "l2", DECISION, "random walk along the decision boundary"),
    minimum("BrendelBethgeAttack", ALL, WHITE, "gradient steps along the decision boundary", needs="numba"),
    minimum("CarliniL0Method", ANY, WHITE, "changes few pixels"),
    minimum("CarliniL2Method", "l2", WHITE),
    minimum("CarliniLInfMethod", "linf", WHITE),
    minimum(
        "CompositeAdversarialAttackPyTorch", ANY, WHITE, "changes hue, rotation, contrast …; 3 channels", needs="kornia"
    ),
    minimum("DeepFool", "l2", WHITE),
    minimum("ElasticNet", "l1", WHITE, "Carlini & Wagner's loss with an l1 term"),
    bounded("FastGradientMethod", ALL, WHITE),
    bounded("FeatureAdversariesNumpy", "linf", SCORE, "towards another image's logits, by finite differences"),
    bounded("FeatureAdversariesPyTorch", "linf", WHITE, "towards another image's logits"),
    minimum("GeoDA", ALL, DECISION, "estimates normals of the decision boundary from queries"),
    minimum("HopSkipJump", "linf l2", DECISION, "estimates the gradient at the decision boundary from queries"),
    bounded("MomentumIterativeMethod", ALL, WHITE),
    minimum("NewtonFool", "l2", WHITE),
    minimum("PixelAttack", ANY, SCORE, "changes few pixels, by differential evolution"),
    bounded("ProjectedGradientDescent", ALL, WHITE),
    bounded("ProjectedGradientDescentNumpy", ALL, WHITE),
    bounded("ProjectedGradientDescentPyTorch", ALL, WHITE),
    bounded("RescalingAutoConjugateGradient", ALL, WHITE, "conjugate directions, rescaled"),
    minimum("SaliencyMapMethod", ANY, WHITE, "changes few pixels (JSMA), towards the runner-up class"),
    minimum("ShadowAttack", ANY, WHITE, "smooth and nearly grey perturbations of any size"),
    minimum("SignOPTAttack", "l2", DECISION, "searches the shortest direction to the decision boundary"),
    minimum("SimBA", "l2", SCORE, "steps along the cosine basis that lower the score"),
    minimum("SpatialTransformation", ANY, DECISION, "rotations and translations"),
    bounded("SquareAttack", "linf l2", SCORE, "ART's implementation has no effect in l1"),
    bounded(
        "TargetedUniversalPerturbation", ALL, WHITE, "one perturbation for all images, towards their runner-up classes"
    ),
    minimum("ThresholdAttack", "linf", SCORE, "differential evolution"),
    bounded("UniversalPerturbation", ALL, WHITE, "one perturbation for all images"),
    bounded("VirtualAdversarialMethod", "l2", SCORE, "direction of the steepest divergence, by finite differences"),
    minimum("Wasserstein", ANY, WHITE, "moves brightness between pixels; has an eps of its own"),
    minimum("ZooAttack", "l2", SCORE, "Carlini & Wagner by finite differences"),
    left_out(
        "draws a visible patch, which no norm bounds",
        "AdversarialPatch AdversarialPatchNumpy AdversarialPatchPyTorch AdversarialPatchTensorFlowV2",
    ),
    left_out("attacks object detectors", "DPatch RobustDPatch OverloadPyTorch SNAL"),
    left_out("attacks object trackers", "AdversarialTexturePyTorch"),
    left_out("attacks speech recognisers", "CarliniWagnerASR ImperceptibleASR ImperceptibleASRPyTorch"),
    left_out("attacks classifiers of videos", "FrameSaliencyAttack OverTheAirFlickeringPyTorch"),
    left_out("attacks decision trees", "DecisionTreeAttack"),
    left_out("attacks Gaussian processes", "HighConfidenceLowUncertainty"),
    left_out("attacks malware detectors", "MalwareGDTensorFlow"),
    left_out("attacks tabular data, with weights for the columns", "LowProFool"),
    left_out("is for TensorFlow", "FeatureAdversariesTensorFlowV2 ProjectedGradientDescentTensorFlowV2"),
    left_out(
        "makes stickers for physical objects, from a mask and a target photo",
        "GRAPHITEBlackbox GRAPHITEWhiteboxPyTorch",
    ),
    left_out("simulates a laser beam, and its parameters are Python objects", "LaserAttack"),
)

FOOLBOX = table(
    minimum("BinarySearchContrastReductionAttack", ALL, DECISION, "blends the image with grey"),
    minimum("BoundaryAttack", "l2", DECISION, "random walk along the decision boundary"),
    minimum("DatasetAttack", ALL, DECISION, "blends the image with another image of the block"),
    minimum("DDNAttack", "l2", WHITE, "decoupled direction and norm"),
    minimum("EADAttack", "l1", WHITE, "Carlini & Wagner's loss with an l1 term"),
    minimum("GaussianBlurAttack", ALL, DECISION),
    bounded("GenAttack", "linf", SCORE, "genetic search, towards the runner-up class"),
    minimum("HopSkipJumpAttack", "linf l2", DECISION, "estimates the gradient at the decision boundary from queries"),
    minimum("InversionAttack", ALL, NONE, "the negative of the image"),
    minimum("L0BrendelBethgeAttack", ANY, WHITE, "changes few values", needs="numba"),
    minimum("L0FMNAttack", ANY, WHITE, "changes few values"),
    bounded("L1AdamBasicIterativeAttack", "l1", WHITE),
    bounded("L1AdamProjectedGradientDescentAttack", "l1", WHITE, also="L1AdamPGD"),
    bounded("L1BasicIterativeAttack", "l1", WHITE),
    minimum("L1BrendelBethgeAttack", "l1", WHITE, "gradient steps along the decision boundary", needs="numba"),
    bounded("L1FastGradientAttack", "l1", WHITE),
    minimum("L1FMNAttack", "l1", WHITE, "fast minimum norm"),
    bounded("L1MomentumIterativeFastGradientMethod", "l1", WHITE),
    bounded("L1ProjectedGradientDescentAttack", "l1", WHITE, also="L1PGD"),
    bounded("L2AdamBasicIterativeAttack", "l2", WHITE),
    bounded("L2AdamProjectedGradientDescentAttack", "l2", WHITE, also="L2AdamPGD"),
    bounded("L2AdditiveGaussianNoiseAttack", "l2", NONE),
    bounded("L2AdditiveUniformNoiseAttack", "l2", NONE),
    bounded("L2BasicIterativeAttack", "l2", WHITE),
    minimum("L2BrendelBethgeAttack", "l2", WHITE, "gradient steps along the decision boundary", needs="numba"),
    minimum("L2CarliniWagnerAttack", "l2", WHITE),
    bounded("L2ClippingAwareAdditiveGaussianNoiseAttack", "l2", NONE),
    bounded("L2ClippingAwareAdditiveUniformNoiseAttack", "l2", NONE),
    bounded("L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack", "l2", DECISION),
    bounded("L2ClippingAwareRepeatedAdditiveUniformNoiseAttack", "l2", DECISION),
    bounded("L2ContrastReductionAttack", "l2", NONE, "blends the image with grey"),
    minimum("L2DeepFoolAttack", "l2", WHITE),
    bounded("L2FastGradientAttack", "l2", WHITE, also="FGM"),
    minimum("L2FMNAttack", "l2", WHITE, "fast minimum norm, with a corrected projection"),
    bounded("L2MomentumIterativeFastGradientMethod", "l2", WHITE),
    bounded("L2ProjectedGradientDescentAttack", "l2", WHITE, also="L2PGD"),
    bounded("L2RepeatedAdditiveGaussianNoiseAttack", "l2", DECISION),
    bounded("L2RepeatedAdditiveUniformNoiseAttack", "l2", DECISION),
    minimum("LinearSearchBlendedUniformNoiseAttack", ALL, DECISION),
    minimum("LinearSearchContrastReductionAttack", ALL, DECISION, "blends the image with grey"),
    bounded("LinfAdamBasicIterativeAttack", "linf", WHITE),
    bounded("LinfAdamProjectedGradientDescentAttack", "linf", WHITE, also="LinfAdamPGD AdamPGD"),
    bounded("LinfAdditiveUniformNoiseAttack", "linf", NONE),
    bounded("LinfBasicIterativeAttack", "linf", WHITE),
    minimum("LinfDeepFoolAttack", "linf", WHITE),
    bounded("LinfFastGradientAttack", "linf", WHITE, also="FGSM"),
    minimum("LInfFMNAttack", "linf", WHITE, "fast minimum norm"),
    minimum("LinfinityBrendelBethgeAttack", "linf", WHITE, "gradient steps along the decision boundary", needs="numba"),
    bounded("LinfMomentumIterativeFastGradientMethod", "linf", WHITE, also="MIFGSM"),
    bounded("LinfProjectedGradientDescentAttack", "linf", WHITE, also="LinfPGD PGD"),
    bounded("LinfRepeatedAdditiveUniformNoiseAttack", "linf", DECISION),
    minimum("NewtonFoolAttack", "l2", WHITE),
    minimum("PointwiseAttack", "l2 l1", DECISION, "resets values one by one to those of the image"),
    minimum("SaltAndPepperNoiseAttack", "l2", DECISION),
    bounded("SparseL1DescentAttack", "l1", WHITE),
    minimum("SpatialAttack", ANY, DECISION, "rotations and translations"),
    bounded("VirtualAdversarialAttack", "l2", WHITE, "direction of the steepest divergence"),
    left_out("only refines images that other attacks found", "BinarizationRefinementAttack"),
)

LIBRARIES = {"art": ART, "foolbox": FOOLBOX, "autoattack": AUTOATTACK}
"""The catalogues of the libraries, by prefix."""


def find(library: str, name: str) -> AttackEntry:
    """Return the entry of an attack of a library.

    Args:
        library: Prefix of the library: art, foolbox or autoattack.
        name: Name of the attack's class, or an alias of it.

    Raises:
        PurebenchError: If the name is unknown (the message suggests the nearest names), or if the attack is left out
            (the message gives the reason).
    """
    entries = LIBRARIES[library].values()
    names = {known: entry for entry in entries for known in (entry.name, *entry.aliases)}
    entry = names.get(name)
    if entry is None:
        runs = [known for known, entry in names.items() if not entry.left_out]
        raise PurebenchError(f"{library}: the attack {name!r} is unknown; {did_you_mean(name, runs)}")
    if entry.left_out:
        raise PurebenchError(f"{library}:{name} is not supported, because it {entry.left_out}; use another attack.")
    return entry


def check_norm(library: str, entry: AttackEntry, norm: str) -> None:
    """Check that an attack supports a norm.

    Args:
        library: Prefix of the library, for the error message.
        entry: The attack.
        norm: Norm of the threat model.

    Raises:
        PurebenchError: If the attack does not support the norm.
    """
    if norm not in entry.norms:
        supported = " or ".join(entry.norms)
        raise PurebenchError(
            f"{library}:{entry.name}: expected the norm {supported}, but the board's is {norm}; use another attack."
        )


def missing(library: str, entry: AttackEntry) -> str:
    """Return the error message for an attack whose package is not installed."""
    package = entry.needs
    return f"{library}:{entry.name}: expected the package {package}, but it is not installed; pip install {package}"
