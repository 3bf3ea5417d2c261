"""Tests which files of code count as installed: also those of an environment other than the running one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from purebench.core.source.distributions import is_library


@pytest.mark.parametrize(
    ("file", "library"),
    [
        (json.__file__, True),
        (np.__file__, True),
        ("/another/environment/lib/python3.11/site-packages/torch/nn/modules/linear.py", True),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", True),
        (__file__, False),
        (str(Path.home() / "project" / "mine.py"), False),
    ],
)
def test_code_of_python_and_of_installed_packages_is_a_library(file: str, library: bool) -> None:
    assert is_library(file) is library
