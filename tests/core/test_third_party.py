"""Tests that `import robustbench` works in a new process after purebench has loaded the package."""

from __future__ import annotations

import subprocess
import sys


def test_robustbench_can_be_imported_and_uses_the_same_autoattack() -> None:
    code = (
        "from purebench.core.third_party import robustbench; robustbench(); "
        "import robustbench.eval, autoattack; from autoattack.state import EvaluationState; "
        "assert robustbench.eval.AutoAttack is autoattack.AutoAttack; print(robustbench.eval.benchmark.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "benchmark"
