"""purebench: how robust is a defended image classifier against an attacker who knows the defense?

Nothing heavy is imported here, so that ``import purebench`` and the command line answer at once. From Python,
``purebench.evaluate(defense, board="fashion-quick")`` gives a report that a notebook shows as a table.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purebench.api import evaluate as evaluate
    from purebench.core.errors import PurebenchError as PurebenchError
    from purebench.report import Report as Report

__version__ = "0.5.0"

LAZY = {"evaluate": "api", "Report": "report", "PurebenchError": "errors"}
"""Names that are imported when they are first asked for, and the modules that they come from."""


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'purebench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"purebench.{LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
