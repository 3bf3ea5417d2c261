"""Imports robustbench and AutoAttack's package; no other module of purebench may import them directly.

robustbench 1.1.1 imports `autoattack`, but depends on `pyautoattack`, the same code under another name.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType

MODULES = (
    "autopgd_base",
    "fab_base",
    "fab_projections",
    "fab_pt",
    "square",
    "state",
    "checks",
    "other_utils",
    "autoattack",
)


def autoattack() -> ModuleType:
    """Import AutoAttack's package (Croce & Hein 2020), and register it as `autoattack`."""
    if "autoattack" not in sys.modules:
        try:
            return importlib.import_module("autoattack")
        except ModuleNotFoundError:
            package = importlib.import_module("pyautoattack")
        sys.modules["autoattack"] = package
        for name in MODULES:
            sys.modules[f"autoattack.{name}"] = importlib.import_module(f"pyautoattack.{name}")
    return sys.modules["autoattack"]


def robustbench() -> ModuleType:
    """Import RobustBench (Croce et al. 2021, arXiv:2010.09670)."""
    autoattack()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("robustbench")
