"""Tests that the pytest plugin has no effect on sessions without claims and is imported quickly."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


def test_a_session_without_claims_imports_no_large_dependencies_and_prints_no_table(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_it():\n    assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)\n")
    done = pytester.runpytest_subprocess("-p", "no:xdist")
    done.assert_outcomes(passed=1)
    assert "robustness" not in done.stdout.str()


def test_importing_the_plugin_takes_less_than_fifty_milliseconds() -> None:
    code = (
        "import time, pytest\nbegan = time.process_time()\nimport purebench.testing.pytest_plugin\n"
        "print(time.process_time() - began)"
    )
    run = [sys.executable, "-c", code]
    spent = [float(subprocess.run(run, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    assert min(spent) < 0.05
