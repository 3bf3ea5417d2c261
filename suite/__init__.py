"""Evaluation of the adversarial robustness of defended image classifiers.

The attacker knows the defense. Everything that the documentation shows is importable from here, or from
`purebench.attacks`. Modules are imported when one of their names is first used, so that ``import purebench`` and the
command line start quickly. ``purebench.evaluate(defense, board="fashion-quick")`` returns a report that a notebook
displays as a table.
"""

from typing import TYPE_CHECKING, Any

from purebench.core.source import moved_modules

if TYPE_CHECKING:
    from purebench.api import evaluate
    from purebench.boards.board import AttackChoice, Board
    from purebench.boards.parse import load_board
    from purebench.checks.attack_variants import Effort
    from purebench.core.defense import Certifier, Defense, Function, Purifier, frozen, keep_random_layers_on
    from purebench.core.errors import PurebenchError
    from purebench.core.norms.norms import NORMS
    from purebench.core.registry import Spec, create, register
    from purebench.core.threat import Knowledge, ThreatModel
    from purebench.core.warning_codes import WarningCode
    from purebench.data.image_set import ImageSet
    from purebench.report import Report
    from purebench.results.files.adversarial import AdversarialExamples
    from purebench.results.files.export import load_results
    from purebench.statistics import Estimate

__version__ = "0.5.0"

__all__ = [
    "NORMS",
    "AdversarialExamples",
    "AttackChoice",
    "Board",
    "Certifier",
    "Defense",
    "Effort",
    "Estimate",
    "Function",
    "ImageSet",
    "Knowledge",
    "PurebenchError",
    "Purifier",
    "Report",
    "Spec",
    "ThreatModel",
    "WarningCode",
    "create",
    "evaluate",
    "frozen",
    "keep_random_layers_on",
    "load_board",
    "load_results",
    "register",
]

_PLACES = {
    "api": ("evaluate",),
    "boards.board": ("AttackChoice", "Board"),
    "boards.parse": ("load_board",),
    "checks.attack_variants": ("Effort",),
    "core.defense": ("Certifier", "Defense", "Function", "Purifier", "frozen", "keep_random_layers_on"),
    "core.errors": ("PurebenchError",),
    "core.norms.norms": ("NORMS",),
    "core.registry": ("Spec", "create", "register"),
    "core.threat": ("Knowledge", "ThreatModel"),
    "core.warning_codes": ("WarningCode",),
    "data.image_set": ("ImageSet",),
    "report": ("Report",),
    "results.files.adversarial": ("AdversarialExamples",),
    "results.files.export": ("load_results",),
    "statistics": ("Estimate",),
}
"""The modules of the public names; each is imported when one of its names is first used."""

moved_modules.install()


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"purebench.{module}"), name)
    raise AttributeError(f"module 'purebench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
